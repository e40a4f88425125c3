//! Notices that files and keys changed, and loads them anew while clients stay.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::access::Access;
use crate::load::Part;

/// Files that are being written are left to settle: two looks this far apart must see the same.
const SETTLE_TIME: Duration = Duration::from_millis(100);

/// Looks after which a file that never settles is read regardless.
const SETTLE_LOOKS_MAX: u32 = 20;

/// How soon an address that could not be reached is tried again.
const FETCH_AGAIN_AFTER: Duration = Duration::from_secs(15);

/// How often tokens with unknown keys may bring a fetch forward: they may be anybody's.
const FETCH_PAUSE: Duration = Duration::from_secs(30);

/// Why the watcher woke up.
enum Woken {
    ToLook,
    ToFetch,
    UnknownKey,
}

impl Access {
    /// Loads what changed, for as long as it is polled: files every `reload_seconds`, keys of an address
    /// every `jwks_refresh_seconds`. What cannot be loaded stays as it was and is reported once.
    pub async fn watch(self: Arc<Self>) {
        let Some(source) = &self.source else { return };
        let unknown_key = source.state().unknown_key();
        let look_every = Duration::from_secs(source.config.reload_seconds);
        let fetches = source.config.jwt.jwks_url.is_some();
        let mut fetched_at = Instant::now();
        // Deadlines, so that no stream of other reasons to wake up puts them off.
        let mut look_at = fetched_at + look_every;
        // What the first fetch, at start, missed is tried again soon.
        let mut fetch_at =
            fetched_at + if source.state().has_fetched() { self.refresh_time() } else { SETTLE_TIME };
        loop {
            let woken = tokio::select! {
                () = sleep_until(look_at), if !look_every.is_zero() => Woken::ToLook,
                () = sleep_until(fetch_at), if fetches => Woken::ToFetch,
                () = unknown_key.notified(), if fetches => Woken::UnknownKey,
                else => return,
            };
            match woken {
                Woken::ToLook => {
                    self.load_changed().await;
                    look_at = Instant::now() + look_every;
                }
                Woken::UnknownKey if fetched_at.elapsed() < FETCH_PAUSE => {
                    fetch_at = fetch_at.min(fetched_at + FETCH_PAUSE);
                }
                Woken::ToFetch | Woken::UnknownKey => {
                    let done = matches!(self.load_again(vec![Part::JwksUrl]).await, Ok(failures) if failures.is_empty());
                    fetched_at = Instant::now();
                    fetch_at = fetched_at + if done { self.refresh_time() } else { FETCH_AGAIN_AFTER };
                }
            }
        }
    }

    fn refresh_time(&self) -> Duration {
        let seconds = self.source.as_ref().map_or(0, |source| source.config.jwt.jwks_refresh_seconds);
        Duration::from_secs(seconds.max(1))
    }

    async fn load_changed(self: &Arc<Self>) {
        let access = Arc::clone(self);
        let changed = tokio::task::spawn_blocking(move || access.changed_parts()).await.unwrap_or_default();
        if changed.is_empty() {
            return;
        }
        self.settle().await;
        // What failed is counted and reported; what was there stays.
        let _ = self.load_again(changed).await;
    }

    /// Waits until nobody writes any more.
    async fn settle(self: &Arc<Self>) {
        let look = || {
            let access = Arc::clone(self);
            tokio::task::spawn_blocking(move || access.looks())
        };
        let mut before = look().await.unwrap_or_default();
        for _ in 0..SETTLE_LOOKS_MAX {
            sleep(SETTLE_TIME).await;
            let now = look().await.unwrap_or_default();
            if now == before {
                return;
            }
            before = now;
        }
    }
}
