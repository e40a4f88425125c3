//! What the WAMP codec promises, seen from outside.

mod batch;
mod golden;
mod oracle;
mod pool;
mod quirks;
mod rawsocket;
mod refused;
mod roundtrip;
mod speed;
mod uri;
mod value;

use weir_wire::wamp::{Batching, DecodeError, Format, Limits, Message, Raw, Serialization, decode, encode};

const FORMATS: [Format; 3] = [Format::Json, Format::MsgPack, Format::Cbor];

fn single(format: Format) -> Serialization {
    Serialization { format, batching: Batching::One }
}

fn encoded(message: &Message<'_>, format: Format) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out, message, single(format));
    out
}

fn read(bytes: &[u8], format: Format) -> Result<Message<'_>, DecodeError> {
    decode(bytes, format, &Limits::default())
}

#[track_caller]
fn json(text: &str) -> Message<'_> {
    read(text.as_bytes(), Format::Json).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[track_caller]
fn raw(text: &str) -> Raw<'_> {
    Raw::check(Format::Json, text.as_bytes(), &Limits::default()).unwrap()
}

/// JSON text in another format.
fn converted(text: &str, format: Format) -> Vec<u8> {
    let mut out = Vec::new();
    raw(text).append_as(&mut out, format);
    out
}

/// The message as JSON text.
#[track_caller]
fn as_json(message: &Message<'_>) -> String {
    String::from_utf8(encoded(message, Format::Json)).unwrap()
}
