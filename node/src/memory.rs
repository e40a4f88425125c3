//! Freed memory goes back to the system when the node is short of it.
//!
//! The allocator keeps what a thread has freed for that thread. Under pressure every worker is asked
//! to let go, which it does the next time it has nothing to do.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// How often it was asked.
static ASKED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static DONE: Cell<u64> = const { Cell::new(0) };
}

/// Asks all workers of the current runtime.
pub fn give_back() {
    ASKED.fetch_add(1, Ordering::Relaxed);
    let workers = tokio::runtime::Handle::current().metrics().num_workers();
    for _ in 0..workers {
        // Wakes a worker that sleeps, so that it comes by its parking place.
        tokio::spawn(tokio::task::yield_now());
    }
}

/// What a worker does before it sleeps.
pub fn on_park() {
    let asked = ASKED.load(Ordering::Relaxed);
    if DONE.replace(asked) != asked {
        collect();
    }
}

#[allow(unsafe_code)]
fn collect() {
    // SAFETY: may be called by any thread at any time; it touches that thread's own heap.
    unsafe { libmimalloc_sys::mi_collect(true) }
}
