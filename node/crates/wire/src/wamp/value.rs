//! Payloads between WAMP and MQTT.
//!
//! | from | to |
//! |---|---|
//! | WAMP, one argument | MQTT: its JSON text; of a binary its bytes |
//! | WAMP, none or several | MQTT: the JSON text of the list, `[]` when empty; kwargs stay behind |
//! | MQTT, a JSON list | WAMP: the arguments |
//! | MQTT, other JSON | WAMP: one argument |
//! | MQTT, nothing | WAMP: no arguments |
//! | MQTT, no JSON | WAMP: one argument, a text if it is UTF-8 and a binary otherwise |
//!
//! An MQTT payload whose content type says MessagePack or CBOR is taken like JSON of that format.

use std::borrow::Cow;
use std::fmt;

use super::raw::Only;
use super::writer::Writer;
use super::{Args, Format, Limits, Payload, Raw};

/// What an MQTT reader gets.
#[derive(Clone, PartialEq)]
pub struct MqttPayload<'a> {
    /// Borrowed when it is part of what WAMP sent.
    pub bytes: Cow<'a, [u8]>,
    /// The content type (MQTT-3.3.2.3.9).
    pub content_type: &'static str,
}

/// The value that conditions, filters and merging look at.
#[derive(Clone, Copy, PartialEq)]
pub enum Body<'a> {
    /// No argument.
    Null,
    /// The one argument.
    One(Raw<'a>),
    OneText(&'a str),
    OneBinary(&'a [u8]),
    /// A list of several arguments.
    Many(Raw<'a>),
}

/// No content: it may be in a log.
impl fmt::Debug for MqttPayload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MqttPayload({}, {} bytes)", self.content_type, self.bytes.len())
    }
}

/// No content here either.
impl fmt::Debug for Body<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Body::Null => f.write_str("Null"),
            Body::One(value) => write!(f, "One({value:?})"),
            Body::OneText(text) => write!(f, "OneText({} bytes)", text.len()),
            Body::OneBinary(bytes) => write!(f, "OneBinary({} bytes)", bytes.len()),
            Body::Many(list) => write!(f, "Many({list:?})"),
        }
    }
}

const JSON: &str = "application/json";
const BINARY: &str = "application/octet-stream";

/// A WAMP payload for MQTT.
pub fn to_mqtt<'a>(payload: &Payload<'a>) -> MqttPayload<'a> {
    body(payload).to_mqtt()
}

impl<'a> Body<'a> {
    /// As MQTT readers get it.
    pub fn to_mqtt(self) -> MqttPayload<'a> {
        match self {
            Body::Null => json(Cow::Borrowed(b"[]")),
            Body::One(value) => match value.binary() {
                Some(bytes) => binary(bytes),
                None => json(json_text(value)),
            },
            Body::OneText(text) => {
                let mut bytes = Vec::new();
                Writer::new(Format::Json, &mut bytes).text(text);
                json(Cow::Owned(bytes))
            }
            Body::OneBinary(bytes) => binary(Cow::Borrowed(bytes)),
            Body::Many(list) => json(json_text(list)),
        }
    }
}

impl MqttPayload<'_> {
    /// Whether the bytes are JSON, not those of a binary.
    pub fn is_json(&self) -> bool {
        self.content_type == JSON
    }
}

/// An MQTT payload for WAMP. What breaks the limits goes as text or binary.
pub fn from_mqtt<'a>(bytes: &'a [u8], content_type: Option<&str>, limits: &Limits) -> Payload<'a> {
    if bytes.is_empty() {
        return Payload::default();
    }
    let format = content_type.map_or(Format::Json, format_of);
    Payload::args(match Raw::check(format, bytes, limits) {
        Ok(value) => args(value),
        Err(_) => std::str::from_utf8(bytes).map_or(Args::OneBinary(bytes), Args::OneText),
    })
}

/// An MQTT payload that is known to be JSON without white space around it.
pub fn from_json(bytes: &[u8]) -> Payload<'_> {
    Payload::args(args(Raw::checked(Format::Json, bytes)))
}

/// A list is the arguments, anything else the one argument.
fn args(value: Raw<'_>) -> Args<'_> {
    if value.is_array() { Args::All(value) } else { Args::One(value) }
}

/// The value of a payload, which kwargs are no part of.
pub fn body<'a>(payload: &Payload<'a>) -> Body<'a> {
    match payload.args {
        None => Body::Null,
        Some(Args::One(value)) => Body::One(value),
        Some(Args::OneText(text)) => Body::OneText(text),
        Some(Args::OneBinary(bytes)) => Body::OneBinary(bytes),
        Some(Args::All(list)) => match list.only() {
            Only::None => Body::Null,
            Only::One(value) => Body::One(value),
            Only::More => Body::Many(list),
        },
    }
}

/// The format a content type names, JSON if none that is known; parameters behind `;` are not looked at.
fn format_of(content_type: &str) -> Format {
    let name = content_type.split(';').next().unwrap_or_default().trim();
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    if is("application/msgpack") || is("application/x-msgpack") || is("application/vnd.msgpack") {
        Format::MsgPack
    } else if is("application/cbor") {
        Format::Cbor
    } else {
        Format::Json
    }
}

fn json_text(raw: Raw<'_>) -> Cow<'_, [u8]> {
    if raw.format() == Format::Json {
        return Cow::Borrowed(raw.bytes());
    }
    let mut bytes = Vec::new();
    raw.append_as(&mut bytes, Format::Json);
    Cow::Owned(bytes)
}

fn json(bytes: Cow<'_, [u8]>) -> MqttPayload<'_> {
    MqttPayload { bytes, content_type: JSON }
}

fn binary(bytes: Cow<'_, [u8]>) -> MqttPayload<'_> {
    MqttPayload { bytes, content_type: BINARY }
}
