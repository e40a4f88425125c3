//! What a full queue does under each policy; both backends share the rule.

use std::sync::Arc;

use weir_store::suite::{ask, ask_one, client, enqueue, enqueue_with, message, open, resuming, step, texts};
use weir_store::{Config, Outcome, QueueFull, Refusal, SessionOp, Store, suite};

fn memory(queue_full: QueueFull) -> Arc<dyn Store> {
    let config = Config { queue_full, ..suite::config("memory") };
    weir_store::open(&config, std::path::Path::new("unused")).unwrap().0
}

#[test]
fn drop_newest_keeps_what_was_there() {
    let store = memory(QueueFull::DropNewest);
    let key = client("a");
    let generation = open(&*store, &key, resuming()).fence.generation;
    for text in ["1", "2", "3", "4", "5"] {
        ask_one(&*store, &key, enqueue(generation, message(text, 10))).unwrap();
    }
    assert_eq!(ask_one(&*store, &key, enqueue(generation, message("6", 10))), Ok(Outcome::QueueFull));
    assert_eq!(texts(&*store, &key).iter().map(|(n, _)| *n).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
}

#[test]
fn refuse_refuses_the_whole_step_and_no_other() {
    let store = memory(QueueFull::Refuse);
    let (full, free) = (client("full"), client("free"));
    let of_full = open(&*store, &full, resuming()).fence;
    let of_free = open(&*store, &free, resuming()).fence.generation;
    let id = weir_model::MessageId::received(1, 1, 1);
    ask_one(&*store, &full, enqueue_with(of_full.generation, id, message("0", 10))).unwrap();
    for text in ["1", "2", "3", "4"] {
        ask_one(&*store, &full, enqueue(of_full.generation, message(text, 10))).unwrap();
    }
    let publish =
        |ops| ask(&*store, vec![step(&full, ops), step(&free, [enqueue(of_free, message("x", 10))])]);
    let answer = publish(vec![enqueue(of_full.generation, message("5", 10))]);
    assert_eq!(answer[0], Err(Refusal::QueueRefuses));
    assert!(answer[1].is_ok());
    let again = enqueue_with(of_full.generation, id, message("0", 10));
    assert_eq!(ask_one(&*store, &full, again), Ok(Outcome::Duplicate), "a repeat needs no room");
    let ack = SessionOp::Ack { fence: of_full, number: 2 };
    let two = [enqueue(of_full.generation, message("5", 10)), enqueue(of_full.generation, message("6", 10))];
    assert_eq!(publish(vec![ack.clone(), two[0].clone(), two[1].clone()])[0], Err(Refusal::QueueRefuses));
    assert_eq!(texts(&*store, &full).len(), 5, "the ack of a refused step was not done");
    assert!(publish(vec![ack, two[0].clone()])[0].is_ok());
}
