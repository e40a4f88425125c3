//! The items of CBOR (RFC 8949).

use ciborium_ll::{Decoder, Error, Header, simple};

use super::{Item, Kind, Level, Scalar, take, take_text};
use crate::wamp::DecodeError;

/// The one byte that ends what has no length.
const BREAK: u8 = 0xff;

pub(super) fn item<'a>(bytes: &'a [u8], at: &mut usize) -> Result<Item<'a>, DecodeError> {
    let mut from = *at;
    let mut header = pull(bytes, at)?;
    while let Header::Tag(_) = header {
        from = *at;
        header = pull(bytes, at)?;
    }
    let scalar = match header {
        Header::Positive(value) => Scalar::Unsigned(value),
        Header::Negative(inverted) => negative(inverted),
        Header::Float(value) => Scalar::Float(value),
        Header::Simple(simple::FALSE) => Scalar::Bool(false),
        Header::Simple(simple::TRUE) => Scalar::Bool(true),
        Header::Simple(simple::NULL | simple::UNDEFINED) => Scalar::Null,
        Header::Simple(_) => {
            return Err(DecodeError::Syntax { at: from, what: "simple value without a meaning" });
        }
        Header::Text(Some(len)) => Scalar::Text(take_text(bytes, at, len)?),
        Header::Bytes(Some(len)) => Scalar::Binary(take(bytes, at, len)?),
        Header::Text(None) => Scalar::CborText(pieces(bytes, at, true)?),
        Header::Bytes(None) => Scalar::CborBinary(pieces(bytes, at, false)?),
        Header::Array(len) => return Ok(Item::Begin(Kind::Array, len)),
        Header::Map(len) => return Ok(Item::Begin(Kind::Map, len)),
        Header::Break => return Err(DecodeError::Syntax { at: from, what: "end of nothing" }),
        Header::Tag(_) => return Err(DecodeError::Syntax { at: from, what: "tag of nothing" }),
    };
    Ok(Item::Scalar(scalar))
}

/// Whether a list or map of no said length ends here; a map only behind a whole entry.
pub(super) fn at_break(bytes: &[u8], at: &mut usize, level: &Level) -> Result<bool, DecodeError> {
    if bytes.get(*at) != Some(&BREAK) {
        return Ok(false);
    }
    if level.kind == Kind::Map && !level.at_key {
        return Err(DecodeError::Syntax { at: *at, what: "key without a value" });
    }
    *at += 1;
    Ok(true)
}

/// The bytes of pieces that were checked before, put together.
pub(super) fn joined(pieces: &[u8]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(pieces.len());
    let mut at = 0;
    while let Ok(Header::Text(Some(len)) | Header::Bytes(Some(len))) = pull(pieces, &mut at) {
        let Ok(piece) = take(pieces, &mut at, len) else { break };
        joined.extend_from_slice(piece);
    }
    joined
}

/// The same as text, which every piece is.
pub(super) fn joined_text(pieces: &[u8]) -> String {
    String::from_utf8(joined(pieces)).unwrap_or_default()
}

/// Everything up to the break behind the pieces, each of which has a length and is of the same kind.
fn pieces<'a>(bytes: &'a [u8], at: &mut usize, text: bool) -> Result<&'a [u8], DecodeError> {
    let from = *at;
    loop {
        let piece_at = *at;
        match pull(bytes, at)? {
            Header::Break => return Ok(&bytes[from..piece_at]),
            Header::Text(Some(len)) if text => drop(take_text(bytes, at, len)?),
            Header::Bytes(Some(len)) if !text => drop(take(bytes, at, len)?),
            _ => return Err(DecodeError::Syntax { at: piece_at, what: "piece of another kind in a string" }),
        }
    }
}

/// CBOR says -1 - n. What does not fit 64 bits becomes a double.
fn negative<'a>(inverted: u64) -> Scalar<'a> {
    match i64::try_from(inverted) {
        Ok(n) => Scalar::Negative(-1 - n),
        Err(_) => Scalar::Float(-1.0 - inverted as f64),
    }
}

fn pull(bytes: &[u8], at: &mut usize) -> Result<Header, DecodeError> {
    let mut decoder = Decoder::from(bytes.get(*at..).unwrap_or_default());
    let header = decoder.pull().map_err(|error| match error {
        Error::Io(_) => DecodeError::EndsEarly { at: bytes.len() },
        Error::Syntax(_) => DecodeError::Syntax { at: *at, what: "no value" },
    })?;
    *at += decoder.offset();
    Ok(header)
}
