//! Answers each ping with a pong: `68946/ping` with `68946/pong`, `ping` with `pong`.

use serde::{Deserialize, Serialize};
use weir_handler::{Event, Failure, Message};

#[derive(Deserialize)]
struct Ping {
    seq: u64,
}

#[derive(Serialize)]
struct Pong {
    seq: u64,
}

fn handle(message: Message) -> Result<Event, Failure> {
    let ping: Ping = message.json()?;
    let topic = match message.topic.rsplit_once('/') {
        Some((who, _)) => format!("{who}/pong"),
        None => "pong".to_owned(),
    };
    Event::to(topic).reply_to(&message).json(&Pong { seq: ping.seq })
}

weir_handler::command!(handle);

#[cfg(test)]
mod tests {
    use super::*;
    use weir_handler::testing::{message, run};

    fn topic_and_text(event: &Event) -> (&str, &str) {
        (&event.topic, str::from_utf8(&event.payload).unwrap())
    }

    #[test]
    fn a_ping_gets_its_pong() {
        let events = run(handle, message("ping").text(r#"{"seq": 7}"#)).unwrap();
        assert_eq!(events.iter().map(topic_and_text).collect::<Vec<_>>(), [("pong", r#"{"seq":7}"#)]);
    }

    #[test]
    fn the_pong_goes_to_whoever_pinged() {
        let events = run(handle, message("68946/ping").text(r#"{"seq": 7}"#)).unwrap();
        assert_eq!(events.iter().map(topic_and_text).collect::<Vec<_>>(), [("68946/pong", r#"{"seq":7}"#)]);
    }

    #[test]
    fn a_request_is_answered_where_it_says() {
        let request = message("ping").answer_to("answers/3", "call 9").text(r#"{"seq": 7}"#);
        let events = run(handle, request).unwrap();
        assert_eq!(events.iter().map(topic_and_text).collect::<Vec<_>>(), [("answers/3", r#"{"seq":7}"#)]);
        assert_eq!(events[0].correlation_data.as_deref(), Some(&b"call 9"[..]));
    }

    #[test]
    fn what_is_no_ping_is_rejected_with_the_reason() {
        let failure = run(handle, message("ping").text(r#"{"sequence": 7}"#)).unwrap_err();
        let Failure::Reject(reason) = failure else { panic!("{failure}") };
        assert!(reason.contains("missing field `seq`"), "{reason}");
    }
}
