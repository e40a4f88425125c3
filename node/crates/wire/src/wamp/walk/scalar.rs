//! A value that holds no others, as its format wrote it; resolved only when somebody looks.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::cbor;
use crate::wamp::{Text, Value};

#[derive(Debug, Clone, Copy)]
pub(in crate::wamp) enum Scalar<'a> {
    Null,
    Bool(bool),
    Unsigned(u64),
    /// Below zero.
    Negative(i64),
    Float(f64),
    Text(&'a str),
    Binary(&'a [u8]),
    /// A JSON string, its quotes included.
    JsonText(&'a [u8]),
    /// A JSON number.
    JsonNumber(&'a [u8]),
    /// The pieces of a CBOR text of no said length.
    CborText(&'a [u8]),
    /// The pieces of a CBOR byte string of no said length.
    CborBinary(&'a [u8]),
}

impl<'a> Scalar<'a> {
    pub(in crate::wamp) fn value(self) -> Value<'a> {
        match self {
            Scalar::Null => Value::Null,
            Scalar::Bool(value) => Value::Bool(value),
            Scalar::Unsigned(value) => Value::Unsigned(value),
            Scalar::Negative(value) => Value::Negative(value),
            Scalar::Float(value) => Value::Float(value),
            Scalar::Text(text) => Value::Text(Cow::Borrowed(text)),
            Scalar::Binary(bytes) => Value::Binary(Cow::Borrowed(bytes)),
            Scalar::JsonText(quoted) => text_or_binary(json_text(quoted)),
            Scalar::JsonNumber(digits) => json_number(digits),
            Scalar::CborText(pieces) => Value::Text(Cow::Owned(cbor::joined_text(pieces))),
            Scalar::CborBinary(pieces) => Value::Binary(Cow::Owned(cbor::joined(pieces))),
        }
    }

    /// The text it is, one that stands for binary too; `None` when it is no text.
    pub(in crate::wamp) fn text(self) -> Option<Text<'a>> {
        match self {
            Scalar::Text(text) => Some(Cow::Borrowed(text)),
            Scalar::JsonText(quoted) => Some(json_text(quoted)),
            Scalar::CborText(pieces) => Some(Cow::Owned(cbor::joined_text(pieces))),
            _ => None,
        }
    }
}

/// A JSON string that was checked before, without quotes and escapes.
fn json_text(quoted: &[u8]) -> Text<'_> {
    let inside = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    if inside.contains(&b'\\') {
        return Cow::Owned(serde_json::from_slice(quoted).unwrap_or_default());
    }
    Cow::Borrowed(std::str::from_utf8(inside).unwrap_or_default())
}

/// How a JSON string begins that stands for bytes.
pub(in crate::wamp) const JSON_BINARY: &[u8] = b"\"\\u0000";

/// WAMP, "Binary conversion of JSON strings": U+0000, then base64.
fn text_or_binary(text: Text<'_>) -> Value<'_> {
    match text.strip_prefix('\0').map(|base64| STANDARD.decode(base64)) {
        Some(Ok(bytes)) => Value::Binary(Cow::Owned(bytes)),
        _ => Value::Text(text),
    }
}

/// Whole numbers that fit 64 bits are kept exact, all others are doubles.
fn json_number(digits: &[u8]) -> Value<'static> {
    let digits = std::str::from_utf8(digits).unwrap_or_default();
    if let Ok(unsigned) = digits.parse() {
        return Value::Unsigned(unsigned);
    }
    match digits.parse::<i64>() {
        Ok(0) => Value::Unsigned(0),
        Ok(negative) => Value::Negative(negative),
        Err(_) => Value::Float(digits.parse().unwrap_or(f64::NAN)),
    }
}
