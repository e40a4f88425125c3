//! A message as text: one line of JSON with all but the payload, then the payload. For what is not in a stream:
//! retained and delayed messages, wills.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use weir_model::{Message, Properties, Qos, Topic, UnixMillis};

use super::decode::DecodeError;

#[derive(Serialize)]
struct HeadRef<'a> {
    topic: &'a str,
    qos: u8,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    retain: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<UnixMillis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    properties: Option<&'a Properties>,
}

#[derive(Deserialize)]
struct Head {
    topic: String,
    qos: u8,
    #[serde(default)]
    retain: bool,
    expires_at: Option<UnixMillis>,
    properties: Option<Box<Properties>>,
}

pub(super) fn encode(message: &Message) -> Vec<u8> {
    let head = HeadRef {
        topic: &message.topic,
        qos: message.qos as u8,
        retain: message.retain,
        expires_at: message.expires_at,
        properties: message.properties.as_deref(),
    };
    let mut text = Vec::with_capacity(128 + message.payload.len());
    let written = serde_json::to_writer(&mut text, &head);
    // Texts, numbers and lists: JSON has a form for each, and the buffer grows.
    debug_assert!(written.is_ok(), "a message that JSON cannot write");
    text.push(b'\n');
    text.extend_from_slice(&message.payload);
    text
}

pub(super) fn decode(text: &[u8]) -> Result<Arc<Message>, DecodeError> {
    let (head, payload) = line(text)?;
    let head: Head = serde_json::from_slice(head).map_err(|error| DecodeError::Json(error.to_string()))?;
    Ok(Arc::new(Message {
        topic: Topic::new(&head.topic).map_err(|_| DecodeError::Topic)?,
        payload: Bytes::copy_from_slice(payload),
        qos: Qos::from_bits(head.qos).ok_or(DecodeError::Qos)?,
        retain: head.retain,
        expires_at: head.expires_at,
        properties: head.properties,
    }))
}

/// The first line, and what stands behind it.
pub(super) fn line(text: &[u8]) -> Result<(&[u8], &[u8]), DecodeError> {
    let end = text.iter().position(|byte| *byte == b'\n').ok_or(DecodeError::Short)?;
    Ok((&text[..end], &text[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reads_back_as_it_was() {
        let properties = Properties {
            correlation_data: Some(Bytes::from_static(b"\x00\n")),
            user: vec![("a".into(), "b\n".into())],
            ..Properties::default()
        };
        for properties in [None, Some(Box::new(properties))] {
            let message = Message {
                topic: Topic::new("a/\"b").unwrap(),
                payload: Bytes::from_static(b"line\nanother"),
                qos: Qos::ExactlyOnce,
                retain: true,
                expires_at: Some(UnixMillis(7)),
                properties,
            };
            assert_eq!(*decode(&encode(&message)).unwrap(), message);
        }
    }
}
