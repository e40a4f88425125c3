//! Answers each ping with a pong, and counts them.

use serde::{Deserialize, Serialize};
use weir_handler::{Event, Failure, Message, kv, log};

/// What comes in, for example `{"seq": 7}`.
#[derive(Deserialize)]
struct Ping {
    seq: u64,
}

/// What goes out.
#[derive(Serialize)]
struct Pong {
    seq: u64,
    /// How many there were so far, of all pings with the same key.
    count: u64,
}

fn handle(message: Message) -> Result<Event, Failure> {
    let ping: Ping = message.json()?;
    let count = kv::get_json::<u64>("count")?.unwrap_or(0) + 1;
    kv::set_json("count", &count)?;
    log::info!("ping {} is number {count}", ping.seq);
    Event::to("pong").reply_to(&message).json(&Pong { seq: ping.seq, count })
}

weir_handler::command!(handle);

#[cfg(test)]
mod tests {
    use super::*;
    use weir_handler::testing::{message, run};

    #[test]
    fn pings_are_answered_and_counted() {
        for (seq, pong) in [(7, r#"{"seq":7,"count":1}"#), (8, r#"{"seq":8,"count":2}"#)] {
            let ping = message("ping").text(format!(r#"{{"seq": {seq}}}"#));
            let events = run(handle, ping).unwrap();
            assert_eq!(events, [Event::to("pong").text(pong).content_type("application/json")]);
        }
    }

    #[test]
    fn what_is_no_ping_is_rejected() {
        assert!(matches!(run(handle, message("ping").text("?")), Err(Failure::Reject(_))));
    }
}
