//! An event that many subscribers get: encoded once, completed for each of them by copying.

use super::encode::framed;
use super::message::{Event, MessageType, Tail as _};
use super::walk::Kind;
use super::writer::Writer;
use super::{Id, Serialization};

/// Room for the tail of most events: it lives only until all have got it.
const TAIL_BYTES: usize = 512;

/// An EVENT but for its subscription.
#[derive(Debug, Clone)]
pub struct SharedEvent {
    serialization: Serialization,
    /// How many items the message has.
    items: usize,
    /// What follows the subscription, without the end of the list.
    tail: Vec<u8>,
}

impl SharedEvent {
    /// Encodes everything but `event.subscription`.
    pub fn new(event: &Event<'_>, serialization: Serialization) -> SharedEvent {
        let mut tail = Vec::with_capacity(TAIL_BYTES);
        let mut writer = Writer::new(serialization.format, &mut tail);
        event.write_behind_subscription(&mut writer);
        let items = 4 + event.payload.len();
        SharedEvent { serialization, items, tail }
    }

    /// Appends the whole message for one subscription.
    pub fn append(&self, out: &mut Vec<u8>, subscription: Id) {
        out.reserve(self.tail.len() + 32);
        framed(out, self.serialization, |writer| {
            writer.begin(Kind::Array, self.items);
            writer.unsigned(MessageType::Event as u64);
            writer.unsigned(subscription.get());
            writer.encoded(&self.tail);
            writer.end(Kind::Array);
        });
    }
}
