//! Publishes each message again below another topic: `line/7` as `copy/line/7`.

use weir_handler::{Event, Failure, Message, config};

/// The levels that are put before the topic, unless `below` says others.
const BELOW: &str = "copy";

fn handle(message: Message) -> Result<Event, Failure> {
    let topic = match config::get("below") {
        Some(below) => format!("{below}/{}", message.topic),
        None => format!("{BELOW}/{}", message.topic),
    };
    Ok(Event::to(topic).bytes(message.payload))
}

weir_handler::command!(handle);

#[cfg(test)]
mod tests {
    use super::*;
    use weir_handler::testing::{message, run};

    #[test]
    fn a_message_goes_on_as_it_came() {
        let events = run(handle, message("line/7").bytes([1, 0xff])).unwrap();
        assert_eq!((events[0].topic.as_str(), &events[0].payload[..]), ("copy/line/7", &[1, 0xff][..]));
    }
}
