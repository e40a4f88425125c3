//! Promises about what all sessions and topics may hold together, and the store's own account of it.

use super::topics::{on_topic, topic_step};
use super::*;
use crate::{Account, QueueFull};

/// The limits that these promises count on.
pub fn limited(url: &str, queue_full: QueueFull) -> Config {
    Config {
        queue_full,
        queue_messages_max: 5,
        queue_bytes_max: 500,
        queued_messages_total_max: 8,
        queued_bytes_total_max: 800,
        retained_messages_max: 3,
        retained_bytes_max: 100,
        ..config(url)
    }
}

fn put(store: &dyn Store, key: &SessionKey, bytes: usize) -> Result<Outcome, Refusal> {
    let generation = open(store, key, resuming()).fence.generation;
    ask_one(store, key, enqueue(generation, message("m", bytes)))
}

fn fill(store: &dyn Store, key: &SessionKey, messages: u64, bytes: usize) {
    for _ in 0..messages {
        assert!(put(store, key, bytes).is_ok());
    }
}

fn set(store: &dyn Store, topic: &str, bytes: usize) -> Result<Outcome, Refusal> {
    let message = Arc::new(Message {
        payload: vec![b'.'; bytes - topic.len()].into(),
        ..(*on_topic(topic, "")).clone()
    });
    let op = TopicOp::Retain { message: Some(message) };
    ask(store, vec![topic_step(topic, op)]).remove(0).map(|mut outcomes| outcomes.remove(0))
}

fn queued(store: &dyn Store) -> (u64, u64) {
    let Account { queued_messages, queued_bytes, .. } = store.account();
    (queued_messages, queued_bytes)
}

fn retained(store: &dyn Store) -> (u64, u64) {
    let Account { retained_messages, retained_bytes, .. } = store.account();
    (retained_messages, retained_bytes)
}

/// For a store of [`limited`] that drops the oldest.
pub fn a_queue_over_the_total_gives_up_its_own_oldest_and_nobody_else_s(make: Make) {
    let store = make();
    let (a, b, c) = (client("a"), client("b"), client("c"));
    fill(&*store, &a, 5, 10);
    fill(&*store, &b, 3, 10);
    assert_eq!(put(&*store, &b, 10), Ok(Outcome::Enqueued { number: 4, dropped: 1 }));
    assert_eq!(put(&*store, &c, 10), Ok(Outcome::QueueFull), "it has nothing to give up");
    assert_eq!(queued(&*store), (8, 80));
    assert_eq!((rows(&*store, &a).len(), rows(&*store, &b).len()), (5, 3));
    let fence = open(&*store, &a, resuming()).fence;
    ask_one(&*store, &a, SessionOp::Ack { fence, number: 1 }).unwrap();
    assert!(matches!(put(&*store, &c, 10), Ok(Outcome::Enqueued { dropped: 0, .. })));
}

/// For a store of [`limited`] that drops the oldest.
pub fn nothing_is_given_up_for_a_message_that_does_not_fit_even_so(make: Make) {
    let store = make();
    let (a, b) = (client("a"), client("b"));
    fill(&*store, &a, 1, 450);
    fill(&*store, &b, 2, 100);
    assert_eq!(put(&*store, &b, 351), Ok(Outcome::QueueFull));
    assert_eq!(rows(&*store, &b).len(), 2);
    assert_eq!(put(&*store, &b, 350), Ok(Outcome::Enqueued { number: 3, dropped: 2 }));
    assert_eq!(queued(&*store), (2, 800));
}

/// For a store of [`limited`] that drops the newest.
pub fn a_queue_over_the_total_that_keeps_the_old_takes_no_more(make: Make) {
    let store = make();
    fill(&*store, &client("a"), 5, 10);
    fill(&*store, &client("b"), 3, 10);
    assert_eq!(put(&*store, &client("b"), 10), Ok(Outcome::QueueFull));
    assert_eq!((queued(&*store), store.account().not_taken), ((8, 80), 1));
}

/// For a store of [`limited`] that refuses.
pub fn a_queue_over_the_total_refuses_its_publisher(make: Make) {
    let store = make();
    let (a, b) = (client("a"), client("b"));
    fill(&*store, &a, 5, 10);
    assert_eq!(put(&*store, &a, 10), Err(Refusal::QueueRefuses), "its own limit comes first");
    fill(&*store, &b, 3, 10);
    assert_eq!(put(&*store, &b, 10), Err(Refusal::QueuesFull));
    assert_eq!(delay(&*store, 9, None, "m"), Err(Refusal::QueuesFull));
    let fence = open(&*store, &b, resuming()).fence;
    let swap = [SessionOp::Ack { fence, number: 1 }, enqueue(fence.generation, message("m", 10))];
    assert!(ask(&*store, vec![step(&b, swap)])[0].is_ok(), "what the same step frees counts");
    assert_eq!(queued(&*store), (8, 80));
}

/// For any store of [`limited`].
pub fn a_delayed_message_counts_until_it_was_published(make: Make) {
    let store = make();
    fill(&*store, &client("a"), 5, 10);
    for due in 1..=3 {
        assert_eq!(delay(&*store, due, None, "m"), Ok(Outcome::Done));
    }
    assert_eq!(store.account().delayed_messages, 3);
    assert_eq!(delay(&*store, 4, None, "m"), Err(Refusal::QueuesFull));
    let Some(Due::Delayed { entry, .. }) = due(&*store, 1).pop() else { panic!("one is due") };
    for _ in 0..2 {
        let done = topic_step("later", TopicOp::Delayed { entry: entry.entry });
        assert!(ask(&*store, vec![done]).remove(0).is_ok());
    }
    assert_eq!(store.account().delayed_messages, 2);
    assert_eq!(delay(&*store, 4, None, "m"), Ok(Outcome::Done));
}

/// For any store of [`limited`].
pub fn a_topic_over_the_limit_of_retained_messages_is_refused(make: Make) {
    let store = make();
    for topic in ["a", "b", "c"] {
        assert!(set(&*store, topic, 20).is_ok());
    }
    assert_eq!(set(&*store, "d", 10), Err(Refusal::RetainedFull));
    assert!(set(&*store, "a", 30).is_ok(), "replaced");
    assert_eq!(retained(&*store), (3, 70));
    retain(&*store, "b", None);
    retain(&*store, "b", None);
    assert_eq!(retained(&*store), (2, 50));
    assert!(set(&*store, "d", 50).is_ok());
    assert_eq!(retained(&*store), (3, 100));
}

/// For any store of [`limited`].
pub fn retained_bytes_over_the_limit_are_refused_and_never_what_makes_them_fewer(make: Make) {
    let store = make();
    assert!(set(&*store, "a", 60).is_ok());
    assert_eq!(set(&*store, "b", 41), Err(Refusal::RetainedFull));
    assert!(set(&*store, "b", 40).is_ok());
    assert_eq!(set(&*store, "b", 41), Err(Refusal::RetainedFull));
    assert!(set(&*store, "b", 40).is_ok());
    assert!(set(&*store, "b", 10).is_ok());
    retain(&*store, "a", None);
    assert_eq!(retained(&*store), (1, 10));
}

/// For any store of [`limited`].
pub fn a_publish_whose_retained_message_is_refused_is_kept_by_nobody(make: Make) {
    let store = make();
    let key = client("a");
    let generation = open(&*store, &key, resuming()).fence.generation;
    let large = Arc::new(Message { payload: vec![b'.'; 200].into(), ..(*on_topic("r", "")).clone() });
    let retain = topic_step("r", TopicOp::Retain { message: Some(large.clone()) });
    let answer = ask(&*store, vec![retain, step(&key, [enqueue(generation, large)])]);
    assert_eq!(answer, [Err(Refusal::RetainedFull), Err(Refusal::RetainedFull)]);
    assert_eq!((queued(&*store), retained(&*store)), ((0, 0), (0, 0)));
    assert!(put(&*store, &key, 10).is_ok(), "the next publish is another one");
}

/// For a store of [`limited`] that drops the oldest.
pub fn the_account_tells_what_came_what_went_and_what_is_here(make: Make) {
    let store = make();
    let (a, b) = (client("a"), client("b"));
    fill(&*store, &a, 6, 10);
    let fence = open(&*store, &a, resuming()).fence;
    for number in [2, 2, 3, 99] {
        ask_one(&*store, &a, SessionOp::Ack { fence, number }).unwrap();
    }
    ask_one(&*store, &a, SessionOp::Pubrec { fence, number: 4 }).unwrap();
    fill(&*store, &b, 2, 10);
    put(&*store, &b, 600).unwrap();
    let generation = open(&*store, &b, resuming()).fence.generation;
    ask_one(&*store, &b, SessionOp::End { generation, fence: None }).unwrap();
    let account = store.account();
    assert_eq!((account.added, account.acknowledged, account.dropped), (8, 2, 1));
    assert_eq!((account.ended, account.not_taken), (2, 1));
    assert_eq!((account.queued_messages, account.queued_bytes), (3, 20));
    assert!(account.is_balanced());
}
