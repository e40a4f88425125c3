//! The wire forms of an EVENT, one for each serialization, shared by all who take the same subscription.

use std::borrow::Cow;

use weir_broker::form::{Form, FormId, Marks, Publish};
use weir_wire::wamp::message::{Event, EventDetails};
use weir_wire::wamp::rawsocket::FRAME_HEADER_BYTES;
use weir_wire::wamp::{
    Batching, Format, Id, Limits, Message, Payload, Serialization, SharedEvent, batch, decode, encode_event,
    uri,
};

use super::properties;
use super::subscriptions;

/// What handlers are told that these clients speak.
pub const PROTOCOL: &str = "wamp";

/// The first of [`ALL`] in [`crate::FORMS`].
const FIRST: FormId = 2;

/// The longest message that a frame can say.
const MESSAGE_BYTES_MAX: usize = (1 << 24) - 1;

/// What is read of what the broker itself has let in.
const LIMITS: Limits = Limits { message_bytes_max: 1 << 28, depth_max: 128, items_max: 1 << 24 };

pub struct WampForm(Serialization);

const fn form(format: Format, batching: Batching) -> WampForm {
    WampForm(Serialization { format, batching })
}

/// Every serialization, in the order of [`crate::FORMS`].
pub static ALL: [WampForm; 7] = [
    form(Format::Json, Batching::One),
    form(Format::MsgPack, Batching::One),
    form(Format::Cbor, Batching::One),
    form(Format::Json, Batching::Many),
    form(Format::MsgPack, Batching::Many),
    form(Format::Cbor, Batching::Many),
    form(Format::Json, Batching::ManyOctal),
];

/// The place of a serialization's form in [`crate::FORMS`].
pub fn form_id(serialization: Serialization) -> FormId {
    let at = ALL.iter().position(|form| form.0 == serialization).unwrap_or_default();
    FIRST + at as FormId
}

impl Form for WampForm {
    fn protocol(&self) -> &'static str {
        PROTOCOL
    }

    fn encode(&self, out: &mut Vec<u8>, publish: &Publish<'_>, marks: Marks<'_>) {
        let said =
            properties::said((publish.payload, publish.is_json), publish.properties.as_deref(), &LIMITS);
        let publication = said.publication.or_else(|| Id::new(marks.publication));
        let (Some(any), Some(publication)) = (Id::new(1), publication.or_else(|| Id::new(1))) else { return };
        let (publisher, authid, authrole) = match said.publisher {
            Some(publisher) => (Id::new(publisher.id), some(publisher.authid), some(publisher.authrole)),
            None => (None, None, None),
        };
        let details = EventDetails {
            topic: Some(uri::of_topic(publish.topic)),
            publisher,
            publisher_authid: authid,
            publisher_authrole: authrole,
            retained: marks.retain,
            ..EventDetails::default()
        };
        let mut event = Event { subscription: any, publication, details, payload: said.payload };
        if !self.append(out, &mut event, publish.topic, marks.subscription_ids) {
            metrics::counter!("weir_gateway_wamp_events_cut_total").increment(1);
            event.payload = Payload::default();
            self.append(out, &mut event, publish.topic, marks.subscription_ids);
        }
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
        let topic = self.event(frame)?.details.topic?;
        Some(match topic {
            Cow::Borrowed(topic) => uri::to_topic_text(topic),
            Cow::Owned(topic) => Cow::Owned(uri::to_topic_text(&topic).into_owned()),
        })
    }

    fn copies(&self, topic: &str, marks: Marks<'_>) -> u64 {
        let mut copies = 0;
        subscriptions::each(topic, marks.subscription_ids, |_| copies += 1);
        copies
    }

    fn tells_publication(&self) -> bool {
        true
    }

    fn event_of(&self, frame: &[u8]) -> Option<(u64, u64)> {
        self.event(frame).map(|event| (event.subscription.get(), event.publication.get()))
    }

    fn hears_why(&self) -> bool {
        true
    }
}

impl WampForm {
    /// A frame for each of these subscriptions; false when it is longer than a frame can say, and then there is none.
    fn append(&self, out: &mut Vec<u8>, event: &mut Event<'_>, topic: &str, numbers: &[u32]) -> bool {
        let one = subscriptions::single(numbers).and_then(|number| Id::new(u64::from(number)));
        if let Some(subscription) = one {
            event.subscription = subscription;
            return framed(out, |out| encode_event(out, event, self.0));
        }
        let shared = SharedEvent::new(event, self.0);
        let (from, mut fits) = (out.len(), true);
        subscriptions::each(topic, numbers, |number| {
            let Some(subscription) = Id::new(u64::from(number)) else { return };
            fits &= framed(out, |out| shared.append(out, subscription));
        });
        if !fits {
            out.truncate(from);
        }
        fits
    }

    /// The EVENT that a whole frame is.
    fn event<'a>(&self, frame: &'a [u8]) -> Option<Event<'a>> {
        let message = batch::messages(frame.get(FRAME_HEADER_BYTES..)?, self.0).next()?.ok()?;
        match decode(message, self.0.format, &LIMITS).ok()? {
            Message::Event(event) => Some(event),
            _ => None,
        }
    }
}

fn some(text: Cow<'_, str>) -> Option<Cow<'_, str>> {
    Some(text).filter(|text| !text.is_empty())
}

/// One frame; false, and nothing appended, when it is longer than a frame can say.
fn framed(out: &mut Vec<u8>, append: impl FnOnce(&mut Vec<u8>)) -> bool {
    let from = out.len();
    out.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    append(out);
    let len = out.len() - from - FRAME_HEADER_BYTES;
    if len > MESSAGE_BYTES_MAX {
        out.truncate(from);
        return false;
    }
    let [_, a, b, c] = (len as u32).to_be_bytes();
    out[from + 1..from + FRAME_HEADER_BYTES].copy_from_slice(&[a, b, c]);
    true
}

#[cfg(test)]
mod tests {
    use weir_model::Qos;

    use super::*;

    fn frames(form: &WampForm, numbers: &[u32]) -> Vec<u8> {
        let publish = Publish {
            topic: "a/b.c",
            payload: br#"["x",{"y":1}]"#,
            is_json: true,
            qos: Qos::AtMostOnce,
            retain: false,
            expiry_seconds: None,
            properties: None,
            conditions: None,
        };
        let mut out = Vec::new();
        let marks = Marks { retain: false, subscription_ids: numbers, publication: 77 };
        form.encode(&mut out, &publish, marks);
        out
    }

    #[test]
    fn one_subscription_gets_what_each_of_several_gets() {
        for form in &ALL {
            let both = [frames(form, &[7]), frames(form, &[300])].concat();
            assert_eq!(frames(form, &[7, 300]), both, "{:?}", form.0);
        }
    }

    #[test]
    fn what_is_known_to_be_json_is_told_as_if_it_had_been_looked_at() {
        let event = frames(&ALL[0], &[7]);
        let said = br#"[36,7,77,{"topic":"a.b%2Ec"},["x",{"y":1}]]"#;
        assert_eq!(&event[FRAME_HEADER_BYTES..], said);
    }
}
