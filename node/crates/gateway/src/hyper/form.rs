//! The wire form of an EVENT: what is the same for all who have a subscription. Whose it is, is written in front when it
//! leaves, because clients know a subscription by the number of their own TRACE.
//!
//! ```text
//! KIND, length of what follows (3 bytes) | subscription (4) | publication (8) | retained (1) | length of the topic (2)
//! | topic | entries
//! ```

use std::borrow::Cow;

use weir_broker::form::{Form, FormId, Marks, Publish};
use weir_wire::hyper::{Data, Event};
use weir_wire::wamp::rawsocket::FRAME_HEADER_BYTES;
use weir_wire::wamp::{Args, Format, Limits, Raw, uri};

use crate::wamp::properties::{self, EMPTY_LIST};
use crate::wamp::subscriptions;

/// What handlers are told that these clients speak.
pub const PROTOCOL: &str = "hyper";

/// The kind of a frame: none of RawSocket's.
pub const KIND: u8 = 7;

/// Bytes in front of the topic.
const HEAD_BYTES: usize = FRAME_HEADER_BYTES + 15;

/// The longest frame that its length can say.
const FRAME_BYTES_MAX: usize = (1 << 24) - 1;

/// What is read of what the broker itself has let in.
const LIMITS: Limits = Limits { message_bytes_max: 1 << 28, depth_max: 128, items_max: 1 << 24 };

pub static HYPER: HyperForm = HyperForm;

pub struct HyperForm;

/// The place of the form in [`crate::FORMS`].
pub fn form_id() -> FormId {
    (crate::FORMS.len() - 1) as FormId
}

/// A whole frame, taken apart.
pub struct Taken<'a> {
    pub subscription: u32,
    publication: u64,
    pub retained: bool,
    topic: &'a str,
    /// Everything behind the id of the event.
    pub entries: &'a [u8],
}

/// Takes the first frame of `frames` apart; what is behind it.
pub fn take(frames: &[u8]) -> Option<(Taken<'_>, &[u8])> {
    let [KIND, a, b, c, rest @ ..] = frames else { return None };
    let (frame, behind) = rest.split_at_checked(u32::from_be_bytes([0, *a, *b, *c]) as usize)?;
    let (subscription, frame) = frame.split_first_chunk()?;
    let (publication, frame) = frame.split_first_chunk()?;
    let (&retained, frame) = frame.split_first()?;
    let (topic_len, frame) = frame.split_first_chunk()?;
    let (topic, entries) = frame.split_at_checked(usize::from(u16::from_be_bytes(*topic_len)))?;
    let topic = std::str::from_utf8(topic).ok()?;
    let (subscription, publication) = (u32::from_be_bytes(*subscription), u64::from_be_bytes(*publication));
    Some((Taken { subscription, publication, retained: retained != 0, topic, entries }, behind))
}

impl Form for HyperForm {
    fn protocol(&self) -> &'static str {
        PROTOCOL
    }

    fn encode(&self, out: &mut Vec<u8>, publish: &Publish<'_>, marks: Marks<'_>) {
        let said =
            properties::said((publish.payload, publish.is_json), publish.properties.as_deref(), &LIMITS);
        let uri = uri::of_topic(publish.topic);
        let mut event = Event {
            uri: &uri,
            qid: said.publication.map_or(marks.publication, |publication| publication.get()),
            sid: said.publisher.as_ref().map(|publisher| publisher.id),
            retained: marks.retain,
            headers: said.payload.kwargs,
            data: body(publish, said.payload.args),
        };
        let mut entries = Vec::new();
        event.append_behind_id(&mut entries);
        if HEAD_BYTES + publish.topic.len() + entries.len() > FRAME_BYTES_MAX {
            metrics::counter!("weir_gateway_wamp_events_cut_total").increment(1);
            event.data = Data::Null;
            event.headers = None;
            entries.clear();
            event.append_behind_id(&mut entries);
        }
        let head = Head { publication: event.qid, retained: marks.retain, topic: publish.topic };
        subscriptions::each(publish.topic, marks.subscription_ids, |subscription| {
            append(out, subscription, &head, &entries);
        });
    }

    fn frame_len(&self, frames: &[u8]) -> usize {
        match *frames {
            [_, a, b, c, ..] => {
                (FRAME_HEADER_BYTES + u32::from_be_bytes([0, a, b, c]) as usize).min(frames.len())
            }
            _ => frames.len(),
        }
    }

    fn topic<'a>(&self, frame: &'a [u8]) -> Option<Cow<'a, str>> {
        take(frame).map(|(taken, _)| Cow::Borrowed(taken.topic))
    }

    fn copies(&self, topic: &str, marks: Marks<'_>) -> u64 {
        let mut copies = 0;
        subscriptions::each(topic, marks.subscription_ids, |_| copies += 1);
        copies
    }

    fn event_of(&self, frame: &[u8]) -> Option<(u64, u64)> {
        take(frame).map(|(taken, _)| (u64::from(taken.subscription), taken.publication))
    }

    fn tells_publication(&self) -> bool {
        true
    }
}

/// What stands in front of the entries in every copy.
struct Head<'a> {
    publication: u64,
    retained: bool,
    topic: &'a str,
}

fn append(out: &mut Vec<u8>, subscription: u32, head: &Head<'_>, entries: &[u8]) {
    let Head { publication, retained, topic } = *head;
    let len = HEAD_BYTES - FRAME_HEADER_BYTES + topic.len() + entries.len();
    let [_, a, b, c] = (len as u32).to_be_bytes();
    out.extend_from_slice(&[KIND, a, b, c]);
    out.extend_from_slice(&subscription.to_be_bytes());
    out.extend_from_slice(&publication.to_be_bytes());
    out.push(u8::from(retained));
    out.extend_from_slice(&(topic.len() as u16).to_be_bytes());
    out.extend_from_slice(topic.as_bytes());
    out.extend_from_slice(entries);
}

/// The value that a message is: what is several arguments to WAMP is one list here.
fn body<'a>(publish: &Publish<'_>, args: Option<Args<'a>>) -> Data<'a> {
    let has = |properties: &weir_model::Properties| {
        properties.user.iter().any(|(name, text)| **name == *properties::ARGS && **text == *EMPTY_LIST)
    };
    match args {
        None => Data::Null,
        Some(Args::One(value)) => value_or_null(value),
        Some(Args::OneText(text)) => Data::Text(text),
        Some(Args::OneBinary(bytes)) => Data::Binary(bytes),
        Some(Args::All(list)) if list.elements().next().is_none() => {
            match publish.properties.as_deref().is_some_and(has) {
                true => Data::Value(list),
                false => Data::Null,
            }
        }
        Some(Args::All(list)) => Data::Value(list),
    }
}

/// Null is no body.
pub fn value_or_null(value: Raw<'_>) -> Data<'_> {
    if value.is_null() { Data::Null } else { Data::Value(value) }
}

/// The bytes of JSON that a value of Hyper is as a message.
pub fn json_of(value: Raw<'_>) -> Vec<u8> {
    let mut json = Vec::new();
    value.append_as(&mut json, Format::Json);
    json
}
