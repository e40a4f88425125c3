//! Messages in, events out.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_handler::testing::{message, run};
use weir_handler::{Event, Failure, Message};

#[derive(Serialize, Deserialize)]
struct Ping {
    seq: u64,
}

fn echo(message: Message) -> Result<Event, Failure> {
    Ok(Event::to("echo").bytes(message.payload))
}

fn typed(ping: Ping) -> Result<Vec<Event>, Failure> {
    (0..ping.seq).map(|seq| Event::to("pong").json(&Ping { seq })).collect()
}

fn silent(_message: Message) -> Result<(), Failure> {
    Ok(())
}

fn picky(ping: Ping) -> Result<Option<Event>, Failure> {
    (ping.seq > 9).then(|| Event::to("large").json(&ping)).transpose()
}

mod exported {
    use super::{echo, picky, silent, typed};

    weir_handler::command!(echo);
    weir_handler::command!(typed);
    weir_handler::command!(silent);
    weir_handler::command!(picky);
}

#[test]
fn a_handler_takes_a_message_or_what_is_in_it() {
    assert_eq!(run(echo, message("a").text("hi")).unwrap()[0].payload, b"hi");
    assert_eq!(run(typed, message("a").json(&Ping { seq: 3 })).unwrap().len(), 3);
}

#[test]
fn a_handler_makes_none_one_or_many_events() {
    let ping = |seq| message("a").json(&Ping { seq });
    assert_eq!(run(silent, ping(1)).unwrap(), []);
    assert_eq!(run(picky, ping(1)).unwrap(), []);
    assert_eq!(run(picky, ping(10)).unwrap().len(), 1);
    let two = |_: Message| Ok::<_, Failure>([Event::to("1"), Event::to("2")]);
    assert_eq!(run(two, ping(1)).unwrap().len(), 2);
}

#[test]
fn bad_json_is_rejected_with_what_is_wrong_and_where() {
    let failure = run(typed, message("a").text(r#"{"seq": "x"}"#)).unwrap_err();
    let Failure::Reject(reason) = failure else { panic!("{failure}") };
    assert!(reason.contains("invalid type: string \"x\", expected u64 at line 1 column"), "{reason}");
}

#[test]
fn what_has_no_json_is_rejected() {
    let failure = Event::to("a").json(&HashMap::from([(vec![1], 2)])).unwrap_err();
    assert_eq!(failure, Failure::reject("cannot be written as JSON: key must be a string"));
}

#[test]
fn text_that_is_none_is_rejected() {
    assert_eq!(message("a").text("hi").text(), Ok("hi"));
    let failure = message("a").bytes([0xff]).text().unwrap_err();
    assert!(failure.to_string().starts_with("rejected: payload is not UTF-8: "), "{failure}");
}

#[test]
fn an_event_carries_what_it_was_given() {
    let event = Event::to("a").text("hi").qos(2).retain().property("k", "1").property("k", "2");
    let event = event.expires_after(60).answer_to("b");
    let wanted = Event {
        topic: "a".to_owned(),
        payload: b"hi".to_vec(),
        qos: 2,
        retain: true,
        content_type: Some("text/plain".to_owned()),
        response_topic: Some("b".to_owned()),
        correlation_data: None,
        user_properties: vec![("k".to_owned(), "1".to_owned()), ("k".to_owned(), "2".to_owned())],
        expiry_seconds: Some(60),
    };
    assert_eq!(event, wanted);
}

#[test]
fn a_reply_goes_where_it_is_wanted_or_where_the_handler_says() {
    let asks = message("a").answer_to("answers/3", "call 9").text("");
    let event = Event::to("default").reply_to(&asks);
    assert_eq!(
        (event.topic.as_str(), event.correlation_data.as_deref()),
        ("answers/3", Some(&b"call 9"[..]))
    );
    let event = Event::to("default").reply_to(&message("a").text(""));
    assert_eq!((event.topic.as_str(), event.correlation_data), ("default", None));
}

#[test]
fn a_message_is_taken_apart() {
    let message = message("shop/7/orders").property("till", "3").property("till", "4").text("");
    assert_eq!(message.levels().collect::<Vec<_>>(), ["shop", "7", "orders"]);
    assert_eq!((message.property("till"), message.property("none")), (Some("3"), None));
}

#[test]
fn a_failure_says_what_comes_of_it() {
    assert_eq!(Failure::retry().to_string(), "to be tried again");
    let later = Failure::retry_after(Duration::from_millis(1500));
    assert_eq!(later.to_string(), "to be tried again after 1500 ms");
}
