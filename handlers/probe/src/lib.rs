//! Does what its message says, well or badly: for tests of the broker that runs it.

use std::hint::black_box;

use serde::{Deserialize, Serialize};
use weir_handler::{Event, Failure, Message, config, kv, log};

/// Tests make other versions of the program by other digits in here.
static VERSION: [u8; 16] = *b"probe version 01";

/// What to do, in this order. Only what a message names is done.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Orders {
    /// Comes back in the events.
    seq: u64,
    /// Millions of rounds to turn.
    spin: u64,
    /// Lines to write.
    lines: usize,
    /// Values to write.
    values: usize,
    /// Versions that trap, reject, or ask for another attempt.
    trap: Vec<String>,
    reject: Vec<String>,
    retry: Vec<String>,
    /// The value to tell of the configuration.
    config: Option<String>,
    /// Events to this topic with the very payload, instead of `first/<who>` and `second/<who>`.
    to: Option<String>,
    /// How many of those; 0 = one.
    events: usize,
    /// They are kept as the last value of their topic.
    retain: bool,
}

/// What `first/<who>` and `second/<who>` say; `<who>` is the last level of the message's topic.
#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Told {
    seq: u64,
    /// How many messages of this key were handled, this one included.
    count: u64,
    version: String,
    config: Option<String>,
}

fn handle(message: Message) -> Result<Vec<Event>, Failure> {
    let orders: Orders = message.json()?;
    let version = version();
    spin(orders.spin);
    (0..orders.lines).for_each(|nth| log::info!("line {nth}"));
    for nth in 0..orders.values {
        kv::set(&format!("value {nth}"), "v")?;
    }
    assert!(!orders.trap.contains(&version), "told to trap");
    if orders.reject.contains(&version) {
        return Err(Failure::reject("told to reject"));
    }
    if orders.retry.contains(&version) {
        return Err(Failure::retry());
    }
    if let Some(topic) = &orders.to {
        let mut event = Event::to(topic).bytes(message.payload.as_slice()).qos(1);
        event.retain = orders.retain;
        return Ok(vec![event; orders.events.max(1)]);
    }
    let count = counted()?;
    let config = orders.config.as_deref().and_then(config::get);
    let told = Told { seq: orders.seq, count, version, config };
    let who = message.levels().next_back().unwrap_or_default();
    let tell = |which: &str| Event::to(format!("{which}/{who}")).json(&told).map(|event| event.qos(1));
    Ok(vec![tell("first")?, tell("second")?])
}

/// How many messages of this key were handled. Where there is no state, none is kept.
fn counted() -> Result<u64, Failure> {
    match kv::get_json::<u64>("count") {
        Ok(before) => {
            let count = before.unwrap_or(0) + 1;
            kv::set_json("count", &count)?;
            Ok(count)
        }
        Err(kv::Error::Unavailable) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

fn spin(millions: u64) {
    for round in 0..millions * 1_000_000 {
        black_box(round);
    }
}

fn version() -> String {
    black_box(&VERSION).iter().skip(14).copied().map(char::from).collect()
}

weir_handler::command!(handle);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use weir_handler::testing::{kv, log_lines, message, run, set_config};

    fn told(event: &Event) -> Told {
        serde_json::from_slice(&event.payload).unwrap()
    }

    #[test]
    fn it_tells_two_topics_what_it_has_seen_and_counts() {
        for count in 1..3 {
            let events = run(handle, message("in/7").key("7").json(&json!({ "seq": 5 }))).unwrap();
            let expected = Told { seq: 5, count, version: "01".to_owned(), config: None };
            assert!(events.iter().all(|event| told(event) == expected));
            assert_eq!((events[0].topic.as_str(), events[1].topic.as_str()), ("first/7", "second/7"));
        }
        assert_eq!(kv("7")["count"], b"2");
    }

    #[test]
    fn it_fails_as_it_is_told() {
        let failure = |orders| run(handle, message("in/7").json(&orders)).unwrap_err();
        assert_eq!(failure(json!({ "reject": ["01"] })), Failure::reject("told to reject"));
        assert_eq!(failure(json!({ "retry": ["01"] })), Failure::retry());
        assert!(run(handle, message("in/7").json(&json!({ "reject": ["02"] }))).is_ok());
    }

    #[test]
    fn it_does_as_much_as_it_is_told() {
        set_config("name", "value");
        let orders = json!({ "spin": 1, "lines": 3, "values": 2, "config": "name" });
        let events = run(handle, message("in/7").key("7").json(&orders)).unwrap();
        assert_eq!(told(&events[0]).config.as_deref(), Some("value"));
        assert_eq!((log_lines().len(), kv("7").len()), (3, 3));
        let orders = json!({ "to": "a", "events": 4, "retain": true });
        let events = run(handle, message("in/7").json(&orders)).unwrap();
        assert!(events.len() == 4 && events.iter().all(|event| event.retain && event.topic == "a"));
    }
}
