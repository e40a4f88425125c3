//! The threads a store on Redis runs on: whatever keeps the node's own busy, its lease is renewed in time.

use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::task::JoinHandle;

/// Most threads; fewer on a machine with fewer cores, but always two.
const THREADS_MAX: usize = 4;

/// How long what is under way may take when a store is dropped that was not closed.
const FINISH_MAX: Duration = Duration::from_secs(10);

/// Threads that are the store's own.
pub(super) struct Runtime {
    /// Taken when it ends.
    inner: Option<tokio::runtime::Runtime>,
    handle: Handle,
}

impl Runtime {
    pub fn start() -> std::io::Result<Runtime> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(cores.clamp(2, THREADS_MAX)).thread_name("weir-redis").enable_all();
        let inner = builder.build()?;
        let handle = inner.handle().clone();
        Ok(Runtime { inner: Some(inner), handle })
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Ends the threads once `tasks` have ended, which nobody waits for.
    pub fn end_after(&mut self, tasks: Vec<JoinHandle<()>>) {
        let Some(inner) = self.inner.take() else { return };
        if tasks.is_empty() {
            return inner.shutdown_background();
        }
        let ending = move || {
            let finished =
                async { tokio::time::timeout(FINISH_MAX, futures_util::future::join_all(tasks)).await };
            // What takes longer is given up.
            let _ = inner.block_on(finished);
        };
        // A machine that has no thread left for it ends everything at once.
        let _ = std::thread::Builder::new().name("weir-redis-end".to_owned()).spawn(ending);
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.end_after(Vec::new());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn what_is_under_way_is_finished_although_nobody_waits_for_it() {
        let mut runtime = Runtime::start().expect("threads");
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let (done, finished) = std::sync::mpsc::channel();
        let task = runtime.handle().spawn(async move {
            let _ = gone.await;
            let _ = done.send(());
        });
        runtime.end_after(vec![task]);
        drop(runtime);
        go.send(()).expect("it still waits");
        finished.recv().expect("it was finished");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_busy_caller_does_not_keep_the_store_from_its_work() {
        let runtime = Runtime::start().expect("threads");
        let is_done = Arc::new(AtomicBool::new(false));
        let seen = is_done.clone();
        runtime.handle().spawn(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            seen.store(true, Ordering::Release);
        });
        // Never lets its own runtime have a turn.
        while !is_done.load(Ordering::Acquire) {
            std::hint::spin_loop();
        }
    }
}
