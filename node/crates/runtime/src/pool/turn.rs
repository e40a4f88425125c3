//! One call's turn on one instance: set up, timed, taken down.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::SemaphorePermit;
use weir_model::UnixMillis;

use super::Pool;
use crate::call::Host;
use crate::instance::{Instance, failure};
use crate::limits::Isolation;
use crate::outcome::{Failure, Invocation, Trap};
use crate::ticker::Running;

/// One call's turn. Dropped before its end, its instance goes too: nobody knows what state it is in.
pub(super) struct Turn<'p> {
    pool: &'p Pool,
    pub instance: Instance,
    began: Instant,
    _running: Running<'p>,
    _permit: SemaphorePermit<'p>,
}

/// What a call came to: an answer of the handler, read, or an error of wasmtime.
pub(super) type Answer<T> = wasmtime::Result<Result<T, Failure>>;

impl<'p> Turn<'p> {
    pub fn new(pool: &'p Pool, permit: SemaphorePermit<'p>, instance: Instance) -> Turn<'p> {
        let running = pool.runtime.run();
        Turn { pool, instance, began: Instant::now(), _running: running, _permit: permit }
    }

    /// Tells the instance what it serves.
    pub fn begin(&mut self, now: UnixMillis, seed: Option<(u64, u64)>) {
        let store = &mut self.instance.store;
        let time = store.data().limits().time;
        store.set_epoch_deadline(1);
        store.data_mut().begin(now, seed, time);
    }

    /// Lets the handler read what is kept under `key`.
    pub fn give(&mut self, host: &Arc<dyn Host>, key: &[u8]) {
        let served = &mut self.instance.store.data_mut().served;
        served.host = Some(Arc::clone(host));
        served.key.extend_from_slice(key);
    }

    /// The handler has answered, or broken off.
    pub fn end<T>(mut self, answer: Answer<T>) -> Invocation<T> {
        let guest = self.instance.store.data_mut();
        let (result, is_broken) = match answer {
            Ok(result) => (result, false),
            Err(error) => (Err(self.pool.explain(&error, guest)), true),
        };
        let mut invocation = ended(result, self.began.elapsed());
        guest.end(&mut invocation);
        self.pool.runtime.count(&invocation.result);
        self.instance.calls += 1;
        let is_kept = self.pool.limits().isolation == Isolation::Reused;
        if is_kept && !is_broken && self.instance.is_fit() {
            let Turn { pool, instance, .. } = self;
            pool.idle.put(instance);
        }
        invocation
    }
}

impl Pool {
    fn explain(&self, error: &wasmtime::Error, guest: &crate::guest::Guest) -> Failure {
        match error.is::<TookTooLong>() {
            true => Failure::Trapped { kind: Trap::Time, text: error.to_string() },
            false => failure(error, guest),
        }
    }

    /// A call that did not come to an instance.
    pub(super) fn not_called<T>(&self, failure: Failure) -> Invocation<T> {
        let invocation = ended(Err(failure), Duration::ZERO);
        self.runtime.count(&invocation.result);
        invocation
    }
}

fn ended<T>(result: Result<T, Failure>, took: Duration) -> Invocation<T> {
    Invocation { result, writes: Vec::new(), log: Vec::new(), log_dropped: 0, took }
}

/// The time on the wall is over.
#[derive(Debug, thiserror::Error)]
#[error("took longer than {} ms by the clock on the wall", .0.as_millis())]
struct TookTooLong(Duration);

/// A call, cut off at its time on the wall.
pub(super) async fn within<T>(
    time: Duration,
    call: impl Future<Output = wasmtime::Result<T>>,
) -> wasmtime::Result<T> {
    match tokio::time::timeout(time, call).await {
        Ok(answer) => answer,
        Err(_) => Err(TookTooLong(time).into()),
    }
}

/// A call that is polled to its end here: for middleware whose WASI imports need a fiber.
pub(super) fn within_here<T>(
    time: Duration,
    call: impl Future<Output = wasmtime::Result<T>>,
) -> wasmtime::Result<T> {
    let mut call = std::pin::pin!(call);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let began = Instant::now();
    loop {
        if let std::task::Poll::Ready(answer) = call.as_mut().poll(&mut context) {
            return answer;
        }
        if began.elapsed() > time {
            return Err(TookTooLong(time).into());
        }
        std::thread::yield_now();
    }
}

/// The caller asks for what the program's world does not have.
pub(super) fn wrong_world<T>() -> wasmtime::Result<T> {
    Err(wasmtime::format_err!("the program is of another world"))
}
