//! A publisher in mid-stream: what it was answered must be what the queue holds, whatever happened meanwhile.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use weir_store::{Config, Outcome, Page, Refusal, RowState, SessionKey, Store, suite};
use weir_testkit::eventually;

use crate::suite::{fresh, open};

/// Answers that may be outstanding.
const WINDOW: usize = 200;

/// How large each message is.
const BYTES: usize = 64;

/// Submits numbered messages to one queue until it is told to end.
pub struct Flow {
    store: Arc<dyn Store>,
    key: SessionKey,
    ends: Arc<AtomicBool>,
    answered: Arc<std::sync::atomic::AtomicU64>,
    publisher: JoinHandle<Vec<(u64, Result<Outcome, Refusal>)>>,
}

/// A store with queues without bounds, whose errors of Redis are counted.
pub fn store(url: &str, change: impl FnOnce(&mut Config)) -> Arc<dyn Store> {
    recorder();
    let mut config =
        fresh(Config { queue_messages_max: u64::MAX, queue_bytes_max: u64::MAX, ..suite::config("redis") });
    config.redis.memory_high_percent = 0;
    // What is under way when a lease ends is refused, which is another promise.
    config.redis.lease_ms = 60_000;
    change(&mut config);
    open(&config, url, suite::node("a", 1))
}

/// How often Redis answered with an error of this kind.
pub fn counted(kind: &str) -> u64 {
    let label = format!("weir_store_redis_errors_total{{kind=\"{kind}\"}} ");
    let text = recorder().render();
    text.lines().find_map(|line| line.strip_prefix(&label)).map_or(0, |count| count.parse().unwrap())
}

/// The same, printed.
pub fn seen(kind: &str) -> u64 {
    let count = counted(kind);
    eprintln!("redis errors of kind {kind}: {count}");
    count
}

/// How many batches were asked for again after they had been applied.
pub fn repeated() -> u64 {
    let text = recorder().render();
    let count = text.lines().find_map(|line| line.strip_prefix("weir_store_redis_batches_repeated_total "));
    count.map_or(0, |count| count.parse().unwrap())
}

/// Waits until Redis has answered with an error of this kind.
pub fn until_seen(kind: &str) {
    eventually(kind, || (counted(kind) > 0).then_some(()));
}

pub fn recorder() -> &'static PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    RECORDER.get_or_init(|| PrometheusBuilder::new().install_recorder().expect("the only recorder"))
}

impl Flow {
    pub fn start(store: &Arc<dyn Store>) -> Flow {
        let key = suite::client("flow");
        let generation = suite::open(&**store, &key, suite::resuming()).fence.generation;
        let ends = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let publisher = {
            let (store, key, ends, answered) = (store.clone(), key.clone(), ends.clone(), answered.clone());
            std::thread::spawn(move || publish(&*store, &key, generation, &ends, &answered))
        };
        Flow { store: store.clone(), key, ends, answered, publisher }
    }

    /// Waits until so many more were answered.
    pub fn until_more(&self, more: u64) {
        let reached = self.answered.load(Ordering::Relaxed) + more;
        eventually("the stream to go on", || {
            (self.answered.load(Ordering::Relaxed) >= reached).then_some(())
        });
    }

    /// Ends it: every message is answered; those that were taken are in the queue, once each, in order, under the
    /// numbers of the answers. Says what the others were answered.
    pub fn end(self) -> Vec<Refusal> {
        self.ends.store(true, Ordering::Relaxed);
        let answers = self.publisher.join().expect("the publisher ends");
        let mut refused = Vec::new();
        let mut taken = Vec::new();
        for (turn, answer) in answers {
            match answer {
                Ok(Outcome::Enqueued { number, .. }) => taken.push((number, turn)),
                Ok(other) => panic!("{turn} was answered {other:?}"),
                Err(refusal) => refused.push(refusal),
            }
        }
        assert!(taken.is_sorted(), "out of order");
        let kept = kept(&*self.store, &self.key);
        let by_number: HashMap<u64, u64> = kept.iter().copied().collect();
        assert!(
            taken.iter().all(|(number, turn)| by_number.get(number) == Some(turn)),
            "something is missing"
        );
        if !refused.contains(&Refusal::Unknown) {
            assert_eq!(taken, kept, "something is there that was never taken, or twice");
        }
        refused
    }
}

fn publish(
    store: &dyn Store,
    key: &SessionKey,
    generation: u64,
    ends: &AtomicBool,
    answered: &std::sync::atomic::AtomicU64,
) -> Vec<(u64, Result<Outcome, Refusal>)> {
    let (sender, answers) = channel();
    let (mut all, mut outstanding, mut turn) = (Vec::new(), 0, 0);
    let mut take = |answers: &Receiver<_>| {
        all.push(answers.recv().expect("a submit is answered"));
        answered.fetch_add(1, Ordering::Relaxed);
    };
    while !ends.load(Ordering::Relaxed) {
        let (sender, op) =
            (sender.clone(), suite::enqueue(generation, suite::message(&turn.to_string(), BYTES)));
        let done = move |mut answer: weir_store::Answer| {
            let answer = answer.remove(0).map(|mut outcomes| outcomes.remove(0));
            // Nobody waits any more only when the test has failed already.
            let _ = sender.send((turn, answer));
        };
        store.submit(vec![suite::step(key, [op])], Box::new(done));
        (outstanding, turn) = (outstanding + 1, turn + 1);
        if outstanding == WINDOW {
            take(&answers);
            outstanding -= 1;
        }
    }
    (0..outstanding).for_each(|_| take(&answers));
    all
}

/// Numbers and turns in the queue.
fn kept(store: &dyn Store, key: &SessionKey) -> Vec<(u64, u64)> {
    let (mut kept, mut after) = (Vec::new(), 0);
    loop {
        let page = Page { rows_max: 1000, bytes_max: usize::MAX };
        let rows = suite::wait(store.read_queue(key.clone(), after, page)).expect("a queue can be read");
        let Some(last) = rows.last() else { return kept };
        after = last.number;
        for row in rows {
            let RowState::Waiting(delivery) = row.state else { panic!("nothing was released") };
            let text = String::from_utf8_lossy(&delivery.message.payload).into_owned();
            kept.push((row.number, text.trim_end_matches('.').parse().expect("a turn")));
        }
    }
}
