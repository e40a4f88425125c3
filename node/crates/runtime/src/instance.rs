//! One instance of a program: its memory, its exports, and how it is started.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use wasmtime::Store;
use weir_model::UnixMillis;

use crate::bindings::{command, merging, middleware, middleware_wasi, reducer};
use crate::engine::Class;
use crate::guest::{Account, Guest, Memory, Served, Wasi};
use crate::limits::{Limits, Settings};
use crate::outcome::{Failure, Trap};
use crate::program::{Linked, Program};

/// One instance. Serves one call at a time; after a trap it is of no use any more.
pub(crate) struct Instance {
    pub store: Store<Guest>,
    pub exports: Exports,
    pub calls: u64,
    _alive: Alive,
}

pub(crate) enum Exports {
    Command(command::Command),
    Reducer(reducer::Reducer),
    Merging(merging::MergingReducer),
    Middleware(middleware::Middleware),
    MiddlewareWasi(middleware_wasi::Middleware),
}

/// Where instances come from and where they are counted.
pub(crate) struct Source {
    pub class: Arc<Class>,
    pub account: Arc<Account>,
    pub program: Arc<Program>,
    pub settings: Arc<Settings>,
    /// CPU time that a start function has.
    pub start_timeout: Duration,
    pub alive: Arc<AtomicUsize>,
}

/// Counts an instance for as long as it lives, in its pool and in its class.
struct Alive {
    of_pool: Arc<AtomicUsize>,
    of_class: Arc<Class>,
}

impl Source {
    /// A fresh instance, on a fiber: its start function may take its time without holding up other tasks.
    pub async fn start(&self) -> Result<Instance, Failure> {
        let time = self.start_timeout.max(self.settings.limits.wall_time);
        let started = tokio::time::timeout(time, self.start_untimed()).await;
        started.unwrap_or_else(|_| {
            let text = format!("did not start in {} ms by the clock on the wall", time.as_millis());
            Err(Failure::Trapped { kind: Trap::Time, text })
        })
    }

    async fn start_untimed(&self) -> Result<Instance, Failure> {
        let alive = Alive::begin(self)?;
        let mut store = self.store();
        let exports = match &self.program.linked {
            Linked::Command(pre) => pre.instantiate_async(&mut store).await.map(Exports::Command),
            Linked::Reducer(pre) => pre.instantiate_async(&mut store).await.map(Exports::Reducer),
            Linked::Merging(pre) => pre.instantiate_async(&mut store).await.map(Exports::Merging),
            Linked::MiddlewareWasi(pre) => {
                pre.instantiate_async(&mut store).await.map(Exports::MiddlewareWasi)
            }
            Linked::Middleware(pre) => pre.instantiate(&mut store).map(Exports::Middleware),
        };
        started(alive, exports, store)
    }

    /// A fresh instance of what needs no fiber.
    pub fn start_here(&self) -> Result<Instance, Failure> {
        let alive = Alive::begin(self)?;
        let mut store = self.store();
        let exports = match &self.program.linked {
            Linked::Middleware(pre) => pre.instantiate(&mut store).map(Exports::Middleware),
            _ => Err(wasmtime::format_err!("only middleware without WASI starts without a fiber")),
        };
        started(alive, exports, store)
    }

    fn store(&self) -> Store<Guest> {
        let limits = &self.settings.limits;
        let memory = Memory::new(&self.account, limits.memory_bytes.min(self.class.memory_bytes_max));
        let mut guest = Guest {
            settings: Arc::clone(&self.settings),
            memory,
            served: Served::default(),
            wasi: self.program.has_wasi().then(|| Box::new(Wasi::new())),
            is_yielding: !matches!(self.program.linked, Linked::Middleware(_)),
        };
        guest.begin(UnixMillis::default(), None, self.start_timeout.max(limits.time));
        let mut store = Store::new(&self.class.engine, guest);
        store.limiter(|guest| &mut guest.memory);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut store| Ok(store.data_mut().tick()));
        store.set_hostcall_fuel(copied_bytes_max(limits));
        store
    }
}

fn started(
    alive: Alive,
    exports: wasmtime::Result<Exports>,
    store: Store<Guest>,
) -> Result<Instance, Failure> {
    let exports = exports.map_err(|error| failure(&error, store.data()))?;
    Ok(Instance { store, exports, calls: 0, _alive: alive })
}

/// What a guest may have the host copy at once: everything it has once over, so that only a list that names the same
/// bytes again and again goes beyond.
fn copied_bytes_max(limits: &Limits) -> usize {
    const PER_OUTPUT: usize = 512;
    let outputs = limits.outputs_max.saturating_mul(PER_OUTPUT).saturating_add(limits.output_bytes_max);
    outputs.max(limits.memory_bytes)
}

impl Instance {
    /// Whether it may serve another call.
    pub fn is_fit(&self) -> bool {
        let guest = self.store.data();
        let calls_max = guest.limits().calls_per_instance;
        (calls_max == 0 || self.calls < calls_max) && !guest.memory.is_above_half()
    }
}

impl Alive {
    fn begin(source: &Source) -> Result<Alive, Failure> {
        if !source.class.begin_instance() {
            return Err(Failure::Busy);
        }
        source.alive.fetch_add(1, Relaxed);
        Ok(Alive { of_pool: Arc::clone(&source.alive), of_class: Arc::clone(&source.class) })
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.of_pool.fetch_sub(1, Relaxed);
        self.of_class.end_instance();
    }
}

/// Longest text of a trap in bytes: its message and the innermost frames.
const TEXT_BYTES_MAX: usize = 2_048;

/// What wasmtime says when a guest has the host copy too much; it has no type of its own.
const COPIED_TOO_MUCH: &str = "fuel allocated for hostcalls has been exhausted";

/// What an error of a start or a call means.
pub(crate) fn failure(error: &wasmtime::Error, guest: &Guest) -> Failure {
    if error.is::<wasmtime::PoolConcurrencyLimitError>() {
        return Failure::Busy;
    }
    let text = text(error);
    let kind = match error.downcast_ref::<wasmtime::Trap>() {
        Some(wasmtime::Trap::Interrupt) => Trap::Time,
        Some(wasmtime::Trap::StackOverflow) => Trap::Stack,
        _ if guest.memory.was_denied() => Trap::Memory,
        Some(wasmtime::Trap::UnreachableCodeReached) => Trap::Unreachable,
        None if text.contains(COPIED_TOO_MUCH) => return Failure::TooMuchOutput { outputs: 0, bytes: 0 },
        _ => Trap::Other,
    };
    Failure::Trapped { kind, text }
}

fn text(error: &wasmtime::Error) -> String {
    let mut text = format!("{error:#}");
    let end = (0..=TEXT_BYTES_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.truncate(end.unwrap_or(0));
    text
}
