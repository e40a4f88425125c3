//! Slow subscribers: who takes less than is sent to it, ranked over a window.
//!
//! Nothing is counted on the way of a message: once a second whoever has something waiting is looked
//! at, beside the census, and what stood out is kept until the window ends.

use std::cmp::Reverse;
use std::sync::{Arc, Weak};

use hashbrown::HashMap;
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::session::Session;

/// Sessions that are told apart in one window; beyond, more are counted as slow and not ranked.
const TRACKED_MAX: usize = 1024;

/// One slow subscriber of a window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlowSubscriber {
    pub client: Arc<str>,
    /// Seconds its outbox was above the high mark (`outbox_bytes_high`).
    pub above_high_seconds: f64,
    /// Bytes that waited for it when it was last looked at.
    pub waiting_bytes: usize,
    /// Copies its outbox dropped.
    pub dropped: u64,
}

/// The slowest of a window, in this order: longest above the high mark, most bytes, most copies lost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ranking {
    pub window_seconds: f64,
    /// How many are above the high mark now, ranked or not.
    pub slow_now: usize,
    pub subscribers: Vec<SlowSubscriber>,
}

/// What was seen in the present window.
pub struct Slow(Mutex<Window>);

struct Window {
    began_ms: u64,
    sampled_ms: u64,
    slow_now: usize,
    tracked: HashMap<usize, Tracked>,
}

struct Tracked {
    /// Keeps the address it is found by from being given to another.
    session: Weak<Session>,
    slow_ms: u64,
    waiting_bytes: usize,
    dropped: u64,
}

/// One look at everybody.
pub struct Sample<'a> {
    window: MutexGuard<'a, Window>,
    bytes_high: usize,
    elapsed_ms: u64,
    slow_now: usize,
}

impl Default for Slow {
    fn default() -> Slow {
        let now = clock::now_ms();
        Slow(Mutex::new(Window { began_ms: now, sampled_ms: now, slow_now: 0, tracked: HashMap::new() }))
    }
}

impl Slow {
    /// Begins a look; `bytes_high` is the high mark of outboxes.
    pub fn sample(&self, bytes_high: usize) -> Sample<'_> {
        self.sample_at(bytes_high, clock::now_ms())
    }

    fn sample_at(&self, bytes_high: usize, now_ms: u64) -> Sample<'_> {
        let mut window = self.0.lock();
        let elapsed_ms = now_ms.saturating_sub(std::mem::replace(&mut window.sampled_ms, now_ms));
        Sample { window, bytes_high, elapsed_ms, slow_now: 0 }
    }

    /// How many were above the high mark at the last look.
    pub fn now(&self) -> usize {
        self.0.lock().slow_now
    }

    /// The `max` slowest of the window so far, which goes on.
    pub fn peek(&self, max: usize) -> Ranking {
        let window = self.0.lock();
        let mut all: Vec<&Tracked> = window.tracked.values().collect();
        all.sort_by_key(|t| Reverse((t.slow_ms, t.waiting_bytes, t.dropped)));
        let subscribers = all.into_iter().filter_map(Tracked::told).take(max).collect();
        let window_seconds = clock::now_ms().saturating_sub(window.began_ms) as f64 / 1000.0;
        Ranking { window_seconds, slow_now: window.slow_now, subscribers }
    }

    /// Ends the window: its `max` slowest.
    pub fn rank(&self, max: usize) -> Ranking {
        self.rank_at(max, clock::now_ms())
    }

    fn rank_at(&self, max: usize, now_ms: u64) -> Ranking {
        let mut window = self.0.lock();
        let began_ms = std::mem::replace(&mut window.began_ms, now_ms);
        let tracked = std::mem::take(&mut window.tracked);
        let slow_now = window.slow_now;
        drop(window);
        let mut all: Vec<Tracked> = tracked.into_values().collect();
        all.sort_by_key(|t| Reverse((t.slow_ms, t.waiting_bytes, t.dropped)));
        let subscribers = all.iter().filter_map(Tracked::told).take(max).collect();
        let window_seconds = now_ms.saturating_sub(began_ms) as f64 / 1000.0;
        Ranking { window_seconds, slow_now, subscribers }
    }
}

impl Sample<'_> {
    /// Looks at a session with a connection.
    pub fn look(&mut self, session: &Arc<Session>) {
        let (waiting_bytes, dropped) = (session.outbox.waiting_bytes(), session.outbox.take_dropped());
        let is_slow = waiting_bytes > self.bytes_high;
        self.slow_now += usize::from(is_slow);
        let address = Arc::as_ptr(session) as usize;
        let known = self.window.tracked.contains_key(&address);
        let stands_out = (is_slow || dropped > 0) && self.window.tracked.len() < TRACKED_MAX;
        if !known && !stands_out {
            return;
        }
        let elapsed_ms = self.elapsed_ms;
        let tracked = self.window.tracked.entry(address).or_insert_with(|| Tracked {
            session: Arc::downgrade(session),
            slow_ms: 0,
            waiting_bytes: 0,
            dropped: 0,
        });
        tracked.slow_ms += if is_slow { elapsed_ms } else { 0 };
        tracked.waiting_bytes = waiting_bytes;
        tracked.dropped += u64::from(dropped);
    }

    /// Everybody was looked at: how many are slow now.
    pub fn finish(mut self) -> usize {
        self.window.slow_now = self.slow_now;
        self.slow_now
    }
}

impl Tracked {
    /// `None` = its session is over.
    fn told(&self) -> Option<SlowSubscriber> {
        Some(SlowSubscriber {
            client: self.session.upgrade()?.client_id().clone(),
            above_high_seconds: self.slow_ms as f64 / 1000.0,
            waiting_bytes: self.waiting_bytes,
            dropped: self.dropped,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::{Form, Marks, Publish};
    use crate::ledger::Ledger;
    use crate::outbox::{Limits, Run, RunFrames};
    use weir_store::{SessionKey, SessionKind};

    /// Frames of any length; the first is all there is.
    struct Whole;
    impl Form for Whole {
        fn protocol(&self) -> &'static str {
            "mqtt"
        }
        fn encode(&self, _: &mut Vec<u8>, _: &Publish<'_>, _: Marks<'_>) {}
        fn frame_len(&self, frames: &[u8]) -> usize {
            frames.len()
        }
        fn topic<'a>(&self, _: &'a [u8]) -> Option<std::borrow::Cow<'a, str>> {
            None
        }
    }

    const LIMITS: Limits = Limits { bytes_max: 100, bytes_high: 20, messages_max: 2, stalled_ms: 100 };

    fn session(name: &str) -> Arc<Session> {
        let key = SessionKey { realm: "r".into(), kind: SessionKind::Client, name: name.into() };
        let session = Session::new(key, None, None);
        session.attach(1, 0, 0);
        session
    }

    fn push(session: &Session, bytes: usize) {
        let frames = vec![0; bytes];
        let client = session.client_id();
        let run = Run { form: &Whole, frames: RunFrames::Copy(&frames), messages: 1, client, topic: "t" };
        session.outbox.push_frames(&run, &LIMITS, &Ledger::default());
    }

    fn look(slow: &Slow, now_ms: u64, sessions: &[&Arc<Session>]) -> usize {
        let mut sample = slow.sample_at(LIMITS.bytes_high, now_ms);
        sessions.iter().for_each(|session| sample.look(session));
        sample.finish()
    }

    #[test]
    fn the_longest_above_the_high_mark_is_the_slowest() {
        let (slow, a, b, quick) = (Slow::default(), session("a"), session("b"), session("quick"));
        let start = clock::now_ms();
        look(&slow, start, &[]);
        push(&b, 50);
        push(&quick, 5);
        assert_eq!(look(&slow, start + 1000, &[&a, &b, &quick]), 1);
        push(&a, 90);
        assert_eq!(look(&slow, start + 2000, &[&a, &b, &quick]), 2);
        let ranking = slow.rank_at(10, start + 2000);
        let told: Vec<_> = ranking.subscribers.iter().map(|s| (&*s.client, s.above_high_seconds)).collect();
        assert_eq!(told, [("b", 2.0), ("a", 1.0)]);
        assert_eq!(ranking.slow_now, 2);
    }

    #[test]
    fn who_lost_copies_is_told_even_if_it_has_caught_up() {
        let (slow, a) = (Slow::default(), session("a"));
        push(&a, 60);
        push(&a, 60);
        a.outbox.take_frames(&LIMITS);
        look(&slow, clock::now_ms(), &[&a]);
        let ranking = slow.rank(10);
        assert_eq!((ranking.subscribers[0].dropped, ranking.slow_now), (1, 0));
        look(&slow, clock::now_ms(), &[&a]);
        assert!(slow.rank(10).subscribers.is_empty(), "a new window begins");
    }

    #[test]
    fn any_number_of_slow_ones_is_counted_and_a_bounded_one_ranked() {
        let slow = Slow::default();
        let sessions: Vec<_> = (0..TRACKED_MAX + 10).map(|n| session(&n.to_string())).collect();
        sessions.iter().for_each(|session| push(session, 50));
        let all: Vec<_> = sessions.iter().collect();
        assert_eq!(look(&slow, clock::now_ms(), &all), TRACKED_MAX + 10);
        assert_eq!(slow.0.lock().tracked.len(), TRACKED_MAX);
        assert_eq!(slow.rank(3).subscribers.len(), 3);
    }
}
