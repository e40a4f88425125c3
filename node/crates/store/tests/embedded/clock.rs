//! The wall clock is set back or forth by a day while the store runs, and between two runs.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use weir_model::{Position, UnixMillis};
use weir_store::suite::{
    ask_one, client, delay, detach, due, enqueue, message, open, resuming, retain, will,
};
use weir_store::{Config, Due, Open, Outcome, SessionOp, Store, WallClock, suite};

const DAY: u64 = 24 * 3600 * 1000;
const START: u64 = 100 * DAY;

/// A clock that tests set.
#[derive(Clone)]
struct Set(Arc<AtomicU64>);

impl Set {
    fn new() -> Set {
        Set(Arc::new(AtomicU64::new(START)))
    }

    fn to(&self, ms: u64) {
        self.0.store(ms, Ordering::SeqCst);
    }

    fn clock(&self) -> WallClock {
        let clock = self.0.clone();
        Arc::new(move || UnixMillis(clock.load(Ordering::SeqCst)))
    }

    fn open(&self, url: &str, dir: &Path) -> Arc<dyn Store> {
        let config: Config = suite::config(url);
        weir_store::open_with_clock(&config, dir, self.clock()).unwrap().0
    }
}

/// Runs a promise against both backends.
fn each(promise: fn(&Set, &dyn Fn() -> Arc<dyn Store>)) {
    for url in ["memory", "embedded"] {
        let (set, dir) = (Set::new(), tempfile::tempdir().unwrap());
        promise(&set, &|| set.open(url, dir.path()));
    }
}

#[test]
fn positions_rise_whichever_way_the_clock_is_set() {
    each(|set, make| {
        let store = make();
        let mut last = Position::default();
        for now in [START, START - DAY, START - DAY + 1, START + DAY, START, START + 1] {
            set.to(now);
            for _ in 0..2 {
                let next = retain(&*store, "t", Some("x"));
                assert!(next > last, "{next} after {last} at {now}");
                last = next;
            }
        }
    });
}

#[test]
fn positions_rise_over_a_restart_with_the_clock_set_back() {
    let (set, dir) = (Set::new(), tempfile::tempdir().unwrap());
    let store = set.open("embedded", dir.path());
    let last = retain(&*store, "t", Some("x"));
    retain(&*store, "t", None);
    drop(store);
    set.to(START - DAY);
    assert!(retain(&*set.open("embedded", dir.path()), "t", Some("x")) > last);
}

/// A session detached by the clock its broker sees is resumed within its expiry by that clock.
#[test]
fn a_session_left_after_the_clock_was_set_back_is_resumed() {
    each(|set, make| {
        let (store, key) = (make(), client("a"));
        let fence = open(&*store, &key, resuming()).fence;
        ask_one(&*store, &key, enqueue(fence.generation, message("m", 10))).unwrap();
        let now = START - DAY;
        set.to(now);
        let left = detach(now, 0, Some(now + 60_000), None);
        ask_one(&*store, &key, SessionOp::Detach { fence, detach: left }).unwrap();
        set.to(now + 59_999);
        assert!(due(&*store, now + 59_999).is_empty());
        let opened = open(&*store, &key, resuming());
        assert!(opened.present);
        assert_eq!(opened.queue.messages, 1);
    });
}

#[test]
fn a_session_left_before_the_clock_was_set_back_lives_on() {
    each(|set, make| {
        let (store, key) = (make(), client("a"));
        let fence = open(&*store, &key, resuming()).fence;
        let left = detach(START, 0, Some(START + 60_000), None);
        ask_one(&*store, &key, SessionOp::Detach { fence, detach: left }).unwrap();
        set.to(START - DAY);
        assert!(due(&*store, START - DAY).is_empty());
        assert!(open(&*store, &key, resuming()).present);
    });
}

/// By the wall clock it is over: nobody can tell this day from one that passed while all slept.
#[test]
fn a_session_is_over_by_the_clock_that_was_set_forth_and_its_will_fires_once() {
    each(|set, make| {
        let (store, key) = (make(), client("a"));
        let with_will = Open { will: Some(will("w", 30)), ..resuming() };
        let fence = open(&*store, &key, with_will).fence;
        let left = detach(START, 0, Some(START + 60_000), Some(START + 30_000));
        ask_one(&*store, &key, SessionOp::Detach { fence, detach: left }).unwrap();
        set.to(START + DAY);
        let due = due(&*store, START + DAY);
        assert!(matches!(due.as_slice(), [Due::Will { .. }, Due::Expiry { .. }]), "{due:?}");
        let fire =
            || ask_one(&*store, &key, SessionOp::FireWill { generation: fence.generation, fence: None });
        let (Ok(Outcome::Fired(Some(first))), again) = (fire(), fire()) else { panic!("not fired") };
        set.to(START);
        assert_eq!(again, Ok(Outcome::Fired(Some(first.clone()))));
        let opened = open(&*store, &key, resuming());
        assert_ne!(opened.fence, fence);
        assert_eq!(fire(), Ok(Outcome::Fired(Some(first))), "under the same id");
    });
}

#[test]
fn ids_and_fences_are_never_given_twice_whichever_way_the_clock_is_set() {
    each(|set, make| {
        let (store, mut ids, mut fences) = (make(), Vec::new(), Vec::new());
        for now in [START, START - DAY, START + DAY, START, START - DAY] {
            set.to(now);
            delay(&*store, 1, None, "m").unwrap();
            fences.push(open(&*store, &client("a"), resuming()).fence.fence);
        }
        for due in due(&*store, 1) {
            let Due::Delayed { entry, .. } = due else { panic!("not a delayed message") };
            ids.push(entry.id);
        }
        assert_eq!(ids.len(), 5);
        assert!(ids.is_sorted_by(|a, b| a < b) && fences.is_sorted_by(|a, b| a < b));
    });
}
