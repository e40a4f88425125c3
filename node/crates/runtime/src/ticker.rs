//! The clock of running handlers: a tick each millisecond while any of them runs, none while none does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use wasmtime::Engine;

/// CPU time is counted in these.
const TICK: Duration = Duration::from_millis(1);

/// Ticks without a call after which the thread goes to sleep.
const IDLE_TICKS: u32 = 100;

/// The thread that ticks; ends with its owner.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
    handle: Option<JoinHandle<()>>,
}

struct Shared {
    running: AtomicUsize,
    /// Calls so far: tells a clock that wakes between two short calls that it is needed.
    begun: AtomicU64,
    is_asleep: AtomicBool,
    is_over: AtomicBool,
}

/// A call is running while this lives.
pub(crate) struct Running<'a>(&'a Shared);

impl Ticker {
    pub fn start(engines: Vec<Engine>) -> std::io::Result<Ticker> {
        let shared = Arc::new(Shared {
            running: AtomicUsize::new(0),
            begun: AtomicU64::new(0),
            is_asleep: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        });
        let seen = Arc::clone(&shared);
        let handle =
            thread::Builder::new().name("weir-ticks".to_owned()).spawn(move || seen.tick(&engines))?;
        Ok(Ticker { shared, thread: handle.thread().clone(), handle: Some(handle) })
    }

    /// A call begins. Costs two atomic additions, and a wake-up after an idle time.
    pub fn run(&self) -> Running<'_> {
        // Either the sleeper sees this number, or we see that it sleeps: both are SeqCst.
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        self.shared.begun.fetch_add(1, Ordering::Relaxed);
        if self.shared.is_asleep.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
        Running(&self.shared)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    fn tick(&self, engines: &[Engine]) {
        let mut idle = 0;
        let mut begun = 0;
        while !self.is_over.load(Ordering::SeqCst) {
            thread::sleep(TICK);
            engines.iter().for_each(Engine::increment_epoch);
            let now_begun = self.begun.load(Ordering::Relaxed);
            let is_needed = now_begun != begun || self.running.load(Ordering::SeqCst) > 0;
            begun = now_begun;
            idle = if is_needed { 0 } else { idle + 1 };
            if idle >= IDLE_TICKS {
                self.sleep();
                idle = 0;
            }
        }
    }

    /// Until a call begins, or all is over.
    fn sleep(&self) {
        self.is_asleep.store(true, Ordering::SeqCst);
        let begun = self.begun.load(Ordering::SeqCst);
        let is_idle =
            || self.running.load(Ordering::SeqCst) == 0 && self.begun.load(Ordering::SeqCst) == begun;
        while is_idle() && !self.is_over.load(Ordering::SeqCst) {
            thread::park();
        }
        self.is_asleep.store(false, Ordering::SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.thread.unpark();
        if let Some(handle) = self.handle.take() {
            // A panic of that thread has nothing to tell: it holds no state.
            let _ = handle.join();
        }
    }
}
