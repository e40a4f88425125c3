//! Appends values in one of the formats.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ciborium_ll::{Encoder, Header, simple};
use rmp::encode as msgpack;

use super::walk::Kind;
use super::{Format, Raw, transcode};

const TAKES_ALL: &str = "a vector takes all bytes";

/// Writes one value. Lists and maps are told their length in front; JSON is also told their end.
pub(super) struct Writer<'o> {
    format: Format,
    out: &'o mut Vec<u8>,
    /// Where the value began in `out`.
    from: usize,
}

impl<'o> Writer<'o> {
    pub(super) fn new(format: Format, out: &'o mut Vec<u8>) -> Writer<'o> {
        let from = out.len();
        Writer { format, out, from }
    }

    pub(super) fn format(&self) -> Format {
        self.format
    }

    pub(super) fn begin(&mut self, kind: Kind, len: usize) {
        self.comma();
        match (self.format, kind) {
            (Format::Json, Kind::Array) => self.out.push(b'['),
            (Format::Json, Kind::Map) => self.out.push(b'{'),
            (Format::MsgPack, Kind::Array) => {
                msgpack::write_array_len(self.out, count(len)).map(drop).expect(TAKES_ALL);
            }
            (Format::MsgPack, Kind::Map) => {
                msgpack::write_map_len(self.out, count(len)).map(drop).expect(TAKES_ALL);
            }
            (Format::Cbor, Kind::Array) => self.cbor(Header::Array(Some(len))),
            (Format::Cbor, Kind::Map) => self.cbor(Header::Map(Some(len))),
        }
    }

    pub(super) fn end(&mut self, kind: Kind) {
        match (self.format, kind) {
            (Format::Json, Kind::Array) => self.out.push(b']'),
            (Format::Json, Kind::Map) => self.out.push(b'}'),
            _ => {}
        }
    }

    pub(super) fn key(&mut self, key: &str) {
        self.text(key);
        self.behind_key();
    }

    /// To be called behind a key that was written as a value.
    pub(super) fn behind_key(&mut self) {
        if self.format == Format::Json {
            self.out.push(b':');
        }
    }

    pub(super) fn null(&mut self) {
        self.comma();
        match self.format {
            Format::Json => self.out.extend_from_slice(b"null"),
            Format::MsgPack => msgpack::write_nil(self.out).expect(TAKES_ALL),
            Format::Cbor => self.cbor(Header::Simple(simple::NULL)),
        }
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.comma();
        match self.format {
            Format::Json => self.out.extend_from_slice(if value { b"true" } else { b"false" }),
            Format::MsgPack => msgpack::write_bool(self.out, value).expect(TAKES_ALL),
            Format::Cbor => self.cbor(Header::Simple(if value { simple::TRUE } else { simple::FALSE })),
        }
    }

    pub(super) fn unsigned(&mut self, value: u64) {
        self.comma();
        match self.format {
            Format::Json => serde_json::to_writer(&mut *self.out, &value).expect(TAKES_ALL),
            Format::MsgPack => msgpack::write_uint(self.out, value).map(drop).expect(TAKES_ALL),
            Format::Cbor => self.cbor(Header::Positive(value)),
        }
    }

    /// Below zero.
    pub(super) fn negative(&mut self, value: i64) {
        self.comma();
        match self.format {
            Format::Json => serde_json::to_writer(&mut *self.out, &value).expect(TAKES_ALL),
            Format::MsgPack => msgpack::write_sint(self.out, value).map(drop).expect(TAKES_ALL),
            Format::Cbor => self.cbor(Header::Negative(!value as u64)),
        }
    }

    /// JSON knows neither NaN nor infinities: they become null.
    pub(super) fn float(&mut self, value: f64) {
        self.comma();
        match self.format {
            Format::Json => serde_json::to_writer(&mut *self.out, &value).expect(TAKES_ALL),
            Format::MsgPack => msgpack::write_f64(self.out, value).expect(TAKES_ALL),
            Format::Cbor => self.cbor(Header::Float(value)),
        }
    }

    pub(super) fn text(&mut self, text: &str) {
        self.comma();
        match self.format {
            Format::Json => serde_json::to_writer(&mut *self.out, text).expect(TAKES_ALL),
            Format::MsgPack => msgpack::write_str(self.out, text).expect(TAKES_ALL),
            Format::Cbor => {
                self.cbor(Header::Text(Some(text.len())));
                self.out.extend_from_slice(text.as_bytes());
            }
        }
    }

    /// In JSON U+0000 and base64 (WAMP, "Binary conversion of JSON strings").
    pub(super) fn binary(&mut self, bytes: &[u8]) {
        self.comma();
        match self.format {
            Format::Json => {
                self.out.extend_from_slice(b"\"\\u0000");
                self.out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
                self.out.push(b'"');
            }
            Format::MsgPack => msgpack::write_bin(self.out, bytes).expect(TAKES_ALL),
            Format::Cbor => {
                self.cbor(Header::Bytes(Some(bytes.len())));
                self.out.extend_from_slice(bytes);
            }
        }
    }

    /// A value that is encoded already: copied, or converted when its format is another one.
    pub(super) fn raw(&mut self, raw: Raw<'_>) {
        if raw.format() == self.format {
            self.comma();
            self.out.extend_from_slice(raw.bytes());
        } else {
            transcode::write(raw, self);
        }
    }

    /// Values that this format's writer has written before.
    pub(super) fn encoded(&mut self, bytes: &[u8]) {
        self.comma();
        self.out.extend_from_slice(bytes);
    }

    /// What separates a JSON value from the one before it: no value ends with any of these three.
    fn comma(&mut self) {
        if self.format == Format::Json
            && self.out.len() > self.from
            && !matches!(self.out.last(), Some(b'[' | b'{' | b':'))
        {
            self.out.push(b',');
        }
    }

    fn cbor(&mut self, header: Header) {
        Encoder::from(&mut *self.out).push(header).expect(TAKES_ALL);
    }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).expect("a list has fewer than 2^32 elements")
}
