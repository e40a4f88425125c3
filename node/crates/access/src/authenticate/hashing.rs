//! Where passwords are hashed: off the async threads, and only so many at once.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;
use weir_model::Reason;

/// The door to the hashing threads. A hash that has begun is finished, also when its client is gone, and
/// keeps its place until then.
///
/// The queue holds `waiting_max` clients; whoever comes when it is full is told that the server is busy.
pub(crate) struct Hashing {
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_max: usize,
}

/// A client in the queue.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Hashing {
    /// `at_once_max` = 0 takes the number of cores.
    pub(crate) fn new(at_once_max: usize, waiting_max: usize) -> Hashing {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let places = if at_once_max == 0 { cores } else { at_once_max };
        let places = Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
        Hashing { places, waiting: AtomicUsize::new(0), waiting_max }
    }

    /// Runs what costs CPU on a thread made for that.
    ///
    /// # Errors
    /// [`Reason::Busy`] when too many wait, [`Reason::Internal`] when the work panicked.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Reason> {
        let place = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => place,
            Err(_) => {
                let _waiting = self.queue()?;
                Arc::clone(&self.places).acquire_owned().await.map_err(|_| Reason::Unavailable)?
            }
        };
        let done = tokio::task::spawn_blocking(move || {
            let _place = place;
            work()
        });
        done.await.map_err(|_| Reason::Internal)
    }

    fn queue(&self) -> Result<Waiting<'_>, Reason> {
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        let waiting = Waiting(&self.waiting);
        if before < self.waiting_max { Ok(waiting) } else { Err(Reason::Busy) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_client_too_many_is_told_that_the_server_is_busy() {
        let hashing = Arc::new(Hashing::new(1, 1));
        let (go_on, blocked) = mpsc::channel::<()>();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let first = tokio::spawn({
            let hashing = Arc::clone(&hashing);
            async move {
                let work = move || {
                    let _ = begun.send(());
                    let _ = blocked.recv();
                    1
                };
                hashing.run(work).await
            }
        });
        has_begun.await.unwrap();
        let mut second = Box::pin(hashing.run(|| 2));
        assert!((&mut second).now_or_never().is_none());
        assert_eq!(hashing.run(|| 3).await, Err(Reason::Busy));
        go_on.send(()).unwrap();
        assert_eq!(second.await, Ok(2));
        assert_eq!(first.await.unwrap(), Ok(1));
        assert_eq!(hashing.run(|| 4).await, Ok(4));
    }

    #[tokio::test]
    async fn a_client_that_goes_away_frees_its_place_in_the_queue() {
        let hashing = Hashing::new(1, 1);
        let held = Arc::clone(&hashing.places).try_acquire_owned().unwrap();
        for _ in 0..3 {
            let mut waits = Box::pin(hashing.run(|| ()));
            assert!((&mut waits).now_or_never().is_none());
        }
        drop(held);
        assert_eq!(hashing.run(|| 1).await, Ok(1));
    }
}
