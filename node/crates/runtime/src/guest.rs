//! What stands behind one instance while it runs: its memory's account, the call it serves, what that call has left.

mod imports;
mod memory;
mod wasi;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wasmtime::UpdateDeadline;
use weir_model::UnixMillis;

pub(crate) use memory::{Account, Memory};
pub(crate) use wasi::Wasi;

use crate::call::Host;
use crate::limits::{Limits, Settings};
use crate::outcome::{Invocation, LogLine};

/// The data of an instance's store.
pub(crate) struct Guest {
    pub settings: Arc<Settings>,
    pub memory: Memory,
    pub served: Served,
    /// Only for guests that import WASI.
    pub wasi: Option<Box<Wasi>>,
    /// Whether a tick of the clock gives way to other tasks. Without a fiber it cannot.
    pub is_yielding: bool,
}

/// The call that an instance serves.
#[derive(Default)]
pub(crate) struct Served {
    /// Milliseconds of CPU time that are left.
    pub ticks_left: u64,
    pub now: UnixMillis,
    /// Where random comes from when it must be the same at every replay.
    pub seed: Option<(u64, u64)>,
    /// How many blocks of random the call has drawn.
    pub drawn: u64,
    pub key: Vec<u8>,
    pub host: Option<Arc<dyn Host>>,
    pub writes: BTreeMap<Box<str>, Option<Bytes>>,
    pub kv_ops: u32,
    pub kv_bytes: usize,
    pub log: Vec<LogLine>,
    pub log_bytes: usize,
    pub log_dropped: u32,
}

impl Guest {
    pub fn limits(&self) -> &Limits {
        &self.settings.limits
    }

    /// Begins a call of at most `time` of CPU: nothing of the one before is left.
    pub fn begin(&mut self, now: UnixMillis, seed: Option<(u64, u64)>, time: Duration) {
        let mut key = std::mem::take(&mut self.served.key);
        key.clear();
        // The first tick may come at once, and the last one is where it ends.
        let ticks_left = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1).saturating_add(1);
        self.served = Served { ticks_left, now, seed, key, ..Served::default() };
        self.memory.begin();
        if let Some(wasi) = &self.wasi {
            wasi.begin(now, seed);
        }
    }

    /// Ends a call: what it has left goes into `invocation`; its writes only if it has a result.
    pub fn end<T>(&mut self, invocation: &mut Invocation<T>) {
        let served = &mut self.served;
        served.host = None;
        invocation.log = std::mem::take(&mut served.log);
        invocation.log_dropped = served.log_dropped;
        let writes = std::mem::take(&mut served.writes);
        if invocation.result.is_ok() {
            invocation.writes = writes.into_iter().collect();
        }
    }

    /// A millisecond has gone by.
    pub fn tick(&mut self) -> UpdateDeadline {
        match self.served.ticks_left.checked_sub(1) {
            None | Some(0) => UpdateDeadline::Interrupt,
            Some(left) => {
                self.served.ticks_left = left;
                if self.is_yielding { UpdateDeadline::Yield(1) } else { UpdateDeadline::Continue(1) }
            }
        }
    }
}
