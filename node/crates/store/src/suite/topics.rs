//! Promises about topics: retained values in order, delayed messages once.

use super::*;

pub(super) fn topic_step(topic: &str, op: TopicOp) -> Step {
    Step::Topic { realm: "default".into(), topic: Topic::new(topic).expect("a topic"), op }
}

pub(super) fn on_topic(topic: &str, text: &str) -> Arc<Message> {
    let topic = Topic::new(topic).expect("a topic");
    Arc::new(Message { topic, ..(*message(text, 10)).clone() })
}

/// Sets (or with `None` removes) a retained message.
pub fn retain(store: &dyn Store, topic: &str, text: Option<&str>) -> Position {
    let message = text.map(|text| on_topic(topic, text));
    match ask(store, vec![topic_step(topic, TopicOp::Retain { message })]).remove(0) {
        Ok(outcomes) => match outcomes.as_slice() {
            [Outcome::Retained(position)] => *position,
            other => panic!("not retained: {other:?}"),
        },
        refusal => panic!("not retained: {refusal:?}"),
    }
}

/// Delays a message until a time.
pub fn delay(store: &dyn Store, due: u64, id: Option<MessageId>, text: &str) -> Result<Outcome, Refusal> {
    let op = TopicOp::Delay { due: UnixMillis(due), id, message: on_topic("later", text) };
    ask(store, vec![topic_step("later", op)]).remove(0).map(|mut outcomes| outcomes.remove(0))
}

pub fn the_mirror_hears_every_retained_change_in_order_before_the_answer(make: Make) {
    let store = make();
    let (heard, _) = restore(&*store);
    let first = retain(&*store, "a", Some("1"));
    assert_eq!(heard.0.lock().unwrap().len(), 1);
    let second = retain(&*store, "a", Some("2"));
    let third = retain(&*store, "a", None);
    assert!(first < second && second < third);
    let heard = heard.0.lock().unwrap();
    let positions: Vec<Position> = heard.iter().map(|(_, position, _)| *position).collect();
    assert_eq!(positions, [first, second, third]);
    assert_eq!(heard[1].2, Some(on_topic("a", "2").payload.clone()));
    assert_eq!(heard[2].2, None);
}

pub fn a_restore_tells_the_mirror_what_is_retained_now(make: Make) {
    let store = make();
    retain(&*store, "gone", Some("x"));
    retain(&*store, "gone", None);
    retain(&*store, "kept", Some("old"));
    let position = retain(&*store, "kept", Some("new"));
    let (heard, _) = restore(&*store);
    let payload = on_topic("kept", "new").payload.clone();
    assert_eq!(*heard.0.lock().unwrap(), [("kept".to_owned(), position, Some(payload))]);
}

pub fn a_delayed_message_is_due_in_time_under_one_id(make: Make) {
    let store = make();
    assert_eq!(delay(&*store, 20, None, "second"), Ok(Outcome::Done));
    assert_eq!(delay(&*store, 10, None, "first"), Ok(Outcome::Done));
    assert!(due(&*store, 9).is_empty());
    let all = due(&*store, 20);
    let [Due::Delayed { entry: first, .. }, Due::Delayed { entry: second, .. }] = all.as_slice() else {
        panic!("not both due: {all:?}");
    };
    assert_eq!(first.message, on_topic("later", "first"));
    assert_ne!(first.id, second.id);
    assert_eq!(due(&*store, 20), all, "again until dealt with, under the same ids");
    for _ in 0..2 {
        let done = topic_step("later", TopicOp::Delayed { entry: first.entry });
        assert!(ask(&*store, vec![done]).remove(0).is_ok());
    }
    assert_eq!(due(&*store, 20).len(), 1);
}

pub fn a_delayed_message_that_comes_again_is_taken_once(make: Make) {
    let store = make();
    assert_eq!(delay(&*store, 10, Some(id(1)), "m"), Ok(Outcome::Done));
    assert_eq!(delay(&*store, 10, Some(id(1)), "m"), Ok(Outcome::Duplicate));
    assert_eq!(due(&*store, 10).len(), 1);
}
