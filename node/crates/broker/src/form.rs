//! A form: how a message is encoded for one kind of receiver, so that all who take the same form
//! share one encoded frame. Implemented by the gateway; the broker knows no wire.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use weir_model::{Message, Properties, Qos, Topic, UnixMillis};

use crate::sync::Conditions;

/// A publish as it comes in: borrowed, nothing copied yet.
#[derive(Debug, Clone)]
pub struct Publish<'a> {
    /// A valid topic name (`weir_model::topic::check`).
    pub topic: &'a str,
    pub payload: &'a [u8],
    /// Whether the payload is known to be JSON (RFC 8259) without white space around it, so that no form need look again.
    pub is_json: bool,
    pub qos: Qos,
    pub retain: bool,
    /// Seconds it may still live (MQTT-3.3.2.3.3).
    pub expiry_seconds: Option<u32>,
    pub properties: Option<Box<Properties>>,
    /// On which it may happen, and what it leaves to its session's end; `None` for most.
    pub conditions: Option<Box<Conditions>>,
}

impl Publish<'_> {
    /// Makes it a message that can be kept and shared: the one copy of its payload.
    pub fn to_message(&self, topic: Topic, now: UnixMillis) -> Arc<Message> {
        let expires_at =
            self.expiry_seconds.map(|seconds| now.after(std::time::Duration::from_secs(u64::from(seconds))));
        Arc::new(Message {
            topic,
            payload: Bytes::copy_from_slice(self.payload),
            qos: self.qos,
            retain: self.retain,
            expires_at,
            properties: self.properties.clone(),
        })
    }
}

/// What one encoded copy says beside the message.
#[derive(Debug, Clone, Copy)]
pub struct Marks<'a> {
    pub retain: bool,
    pub subscription_ids: &'a [u32],
    /// The number of the publication, the same in all its copies here; 0 for a form that says none.
    pub publication: u64,
}

pub use crate::publication::next as next_publication;

/// Encodes QoS 0 copies for one wire form. Every frame tells its own length, so that the oldest can
/// be dropped from a buffer of many, and its topic, so that those can be that nobody may have any more.
pub trait Form: Send + Sync + 'static {
    /// What handlers are told that its clients speak: `mqtt`, `wamp`, `umf` or `sync`.
    fn protocol(&self) -> &'static str;

    /// Appends one frame that needs no answer.
    fn encode(&self, out: &mut Vec<u8>, publish: &Publish<'_>, marks: Marks<'_>);

    /// Length of the first frame of `frames`, which holds whole frames and is not empty.
    fn frame_len(&self, frames: &[u8]) -> usize;

    /// The topic of one whole frame; `None` when it is none of this form.
    fn topic<'a>(&self, frame: &'a [u8]) -> Option<Cow<'a, str>>;

    /// How many frames a copy of a message of this topic is; each counts as a copy in the ledger.
    fn copies(&self, topic: &str, marks: Marks<'_>) -> u64 {
        let _ = (topic, marks);
        1
    }

    /// Whether copies say the number of their publication.
    fn tells_publication(&self) -> bool {
        false
    }

    /// The subscription that one whole frame is for, and its publication, where the form says both.
    fn event_of(&self, frame: &[u8]) -> Option<(u64, u64)> {
        let _ = frame;
        None
    }

    /// Whether clients are told why their connection ends, and where else they may go.
    fn hears_why(&self) -> bool {
        false
    }
}

/// The place of a form in the list the broker was started with.
pub type FormId = u8;
