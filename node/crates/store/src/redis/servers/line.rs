//! One connection slot to a primary: connects when asked, one attempt at a time, with back-off between attempts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use tokio::sync::Mutex;

/// A connection that breaks sooner counts as a failed attempt, so that nobody connects and breaks without a pause.
const HELD: Duration = Duration::from_secs(1);

/// Back-off between attempts: doubled with every failure, up to its limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct BackOff {
    pub first: Duration,
    pub max: Duration,
}

/// The slot. `T` is the connection.
pub(super) struct Line<T> {
    back_off: BackOff,
    current: RwLock<Option<(T, u64)>>,
    attempts: Mutex<Attempts>,
}

struct Attempts {
    failed: u32,
    made: u64,
    since: Option<Instant>,
    not_before: Instant,
    cause: Arc<str>,
}

/// Not now: the last attempt failed or the next one is too early.
#[derive(Debug, Clone)]
pub(super) struct NotNow {
    pub cause: Arc<str>,
    pub retry_in: Duration,
}

impl<T: Clone> Line<T> {
    pub fn new(back_off: BackOff) -> Line<T> {
        let attempts =
            Attempts { failed: 0, made: 0, since: None, not_before: Instant::now(), cause: Arc::from("") };
        Line { back_off, current: RwLock::new(None), attempts: Mutex::new(attempts) }
    }

    /// The connection, if it is up.
    pub fn current(&self) -> Option<T> {
        self.current.read().as_ref().map(|(connection, _)| connection.clone())
    }

    /// The connection; `connect` makes it, told its number, when there is none and no back-off runs.
    /// Callers that come while one connects wait for the same attempt.
    pub async fn get<E: std::fmt::Display>(
        &self,
        connect: impl AsyncFnOnce(u64) -> Result<T, E>,
    ) -> Result<T, NotNow> {
        if let Some(connection) = self.current() {
            return Ok(connection);
        }
        let mut attempts = self.attempts.lock().await;
        if let Some(connection) = self.current() {
            return Ok(connection);
        }
        attempts.note_break(self.back_off);
        let early = attempts.not_before.saturating_duration_since(Instant::now());
        if !early.is_zero() {
            return Err(NotNow { cause: attempts.cause.clone(), retry_in: early });
        }
        attempts.made += 1;
        match connect(attempts.made).await {
            Ok(connection) => {
                attempts.since = Some(Instant::now());
                *self.current.write() = Some((connection.clone(), attempts.made));
                Ok(connection)
            }
            Err(error) => {
                attempts.cause = error.to_string().into();
                let retry_in = attempts.fail(self.back_off);
                Err(NotNow { cause: attempts.cause.clone(), retry_in })
            }
        }
    }

    /// The connection of this number is of no use any more. Says whether it was the current one.
    pub fn drop_connection(&self, number: u64) -> bool {
        let mut current = self.current.write();
        let is_current = current.as_ref().is_some_and(|(_, made)| *made == number);
        if is_current {
            *current = None;
        }
        is_current
    }
}

impl Attempts {
    /// There was a connection, and it is gone.
    fn note_break(&mut self, back_off: BackOff) {
        match self.since.take() {
            Some(since) if since.elapsed() < HELD => {
                self.cause = "the connection broke soon after it was made".into();
                self.fail(back_off);
            }
            Some(_) => self.failed = 0,
            None => {}
        }
    }

    fn fail(&mut self, back_off: BackOff) -> Duration {
        let doubled = back_off.first.saturating_mul(1 << self.failed.min(16));
        self.failed = self.failed.saturating_add(1);
        let wait = doubled.min(back_off.max);
        self.not_before = Instant::now() + wait;
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line<u64> {
        Line::new(BackOff { first: Duration::from_secs(60), max: Duration::from_secs(90) })
    }

    #[tokio::test]
    async fn callers_that_come_together_share_one_attempt() {
        let line = line();
        let connect = async |number| {
            tokio::task::yield_now().await;
            Ok::<_, String>(number)
        };
        let (one, other) = tokio::join!(line.get(connect), line.get(connect));
        assert_eq!((one.unwrap(), other.unwrap()), (1, 1));
    }

    #[tokio::test]
    async fn after_a_failure_nobody_tries_again_before_the_back_off_is_over() {
        let line = line();
        let failed = line.get(async |_| Err("refused")).await.unwrap_err();
        assert_eq!((&*failed.cause, failed.retry_in), ("refused", Duration::from_secs(60)));
        let second = line.get(async |number| Ok::<_, String>(number)).await.unwrap_err();
        assert_eq!(&*second.cause, "refused");
    }

    #[tokio::test]
    async fn a_connection_that_breaks_at_once_is_not_made_again_at_once() {
        let line = line();
        let first = line.get(async |number| Ok::<_, String>(number)).await.unwrap();
        line.drop_connection(first);
        let refused = line.get(async |number| Ok::<_, String>(number)).await.unwrap_err();
        assert!(refused.cause.contains("broke soon"), "{}", refused.cause);
    }

    #[tokio::test]
    async fn a_report_about_an_earlier_connection_drops_nothing() {
        let line = Line::new(BackOff { first: Duration::ZERO, max: Duration::ZERO });
        let first = line.get(async |number| Ok::<_, String>(number)).await.unwrap();
        assert!(line.drop_connection(first));
        let second = line.get(async |number| Ok::<_, String>(number)).await.unwrap();
        assert!(!line.drop_connection(first));
        assert_eq!(line.current(), Some(second));
    }
}
