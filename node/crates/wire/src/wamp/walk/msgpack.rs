//! The items of MessagePack.

use rmp::Marker;

use super::{Item, Kind, Scalar, take, take_text};
use crate::wamp::DecodeError;

pub(super) fn item<'a>(bytes: &'a [u8], at: &mut usize) -> Result<Item<'a>, DecodeError> {
    let from = *at;
    let [first] = fixed(bytes, at)?;
    let scalar = match Marker::from_u8(first) {
        Marker::Null => Scalar::Null,
        Marker::True => Scalar::Bool(true),
        Marker::False => Scalar::Bool(false),
        Marker::FixPos(value) => Scalar::Unsigned(u64::from(value)),
        Marker::U8 => Scalar::Unsigned(unsigned(bytes, at, 1)?),
        Marker::U16 => Scalar::Unsigned(unsigned(bytes, at, 2)?),
        Marker::U32 => Scalar::Unsigned(unsigned(bytes, at, 4)?),
        Marker::U64 => Scalar::Unsigned(unsigned(bytes, at, 8)?),
        Marker::FixNeg(value) => Scalar::Negative(i64::from(value)),
        Marker::I8 => signed(i64::from(i8::from_be_bytes(fixed(bytes, at)?))),
        Marker::I16 => signed(i64::from(i16::from_be_bytes(fixed(bytes, at)?))),
        Marker::I32 => signed(i64::from(i32::from_be_bytes(fixed(bytes, at)?))),
        Marker::I64 => signed(i64::from_be_bytes(fixed(bytes, at)?)),
        Marker::F32 => Scalar::Float(f64::from(f32::from_be_bytes(fixed(bytes, at)?))),
        Marker::F64 => Scalar::Float(f64::from_be_bytes(fixed(bytes, at)?)),
        Marker::FixStr(len) => text(bytes, at, usize::from(len))?,
        Marker::Str8 => text_of(bytes, at, 1)?,
        Marker::Str16 => text_of(bytes, at, 2)?,
        Marker::Str32 => text_of(bytes, at, 4)?,
        Marker::Bin8 => binary_of(bytes, at, 1, 0)?,
        Marker::Bin16 => binary_of(bytes, at, 2, 0)?,
        Marker::Bin32 => binary_of(bytes, at, 4, 0)?,
        Marker::FixExt1 => extension(bytes, at, 1)?,
        Marker::FixExt2 => extension(bytes, at, 2)?,
        Marker::FixExt4 => extension(bytes, at, 4)?,
        Marker::FixExt8 => extension(bytes, at, 8)?,
        Marker::FixExt16 => extension(bytes, at, 16)?,
        Marker::Ext8 => binary_of(bytes, at, 1, 1)?,
        Marker::Ext16 => binary_of(bytes, at, 2, 1)?,
        Marker::Ext32 => binary_of(bytes, at, 4, 1)?,
        Marker::FixArray(len) => return Ok(Item::Begin(Kind::Array, Some(usize::from(len)))),
        Marker::Array16 => return begin(bytes, at, Kind::Array, 2),
        Marker::Array32 => return begin(bytes, at, Kind::Array, 4),
        Marker::FixMap(len) => return Ok(Item::Begin(Kind::Map, Some(usize::from(len)))),
        Marker::Map16 => return begin(bytes, at, Kind::Map, 2),
        Marker::Map32 => return begin(bytes, at, Kind::Map, 4),
        Marker::Reserved => return Err(DecodeError::Syntax { at: from, what: "no value begins with 0xc1" }),
    };
    Ok(Item::Scalar(scalar))
}

fn begin<'a>(bytes: &[u8], at: &mut usize, kind: Kind, width: usize) -> Result<Item<'a>, DecodeError> {
    Ok(Item::Begin(kind, Some(length(bytes, at, width)?)))
}

fn signed<'a>(value: i64) -> Scalar<'a> {
    u64::try_from(value).map_or(Scalar::Negative(value), Scalar::Unsigned)
}

fn text<'a>(bytes: &'a [u8], at: &mut usize, len: usize) -> Result<Scalar<'a>, DecodeError> {
    take_text(bytes, at, len).map(Scalar::Text)
}

fn text_of<'a>(bytes: &'a [u8], at: &mut usize, width: usize) -> Result<Scalar<'a>, DecodeError> {
    let len = length(bytes, at, width)?;
    text(bytes, at, len)
}

/// Bytes behind their length and, of an extension, `kind_len` bytes of type.
fn binary_of<'a>(
    bytes: &'a [u8],
    at: &mut usize,
    width: usize,
    kind_len: usize,
) -> Result<Scalar<'a>, DecodeError> {
    let len = length(bytes, at, width)?;
    take(bytes, at, kind_len)?;
    take(bytes, at, len).map(Scalar::Binary)
}

fn extension<'a>(bytes: &'a [u8], at: &mut usize, len: usize) -> Result<Scalar<'a>, DecodeError> {
    take(bytes, at, 1)?;
    take(bytes, at, len).map(Scalar::Binary)
}

fn length(bytes: &[u8], at: &mut usize, width: usize) -> Result<usize, DecodeError> {
    // At most 32 bits.
    unsigned(bytes, at, width).map(|len| len as usize)
}

fn unsigned(bytes: &[u8], at: &mut usize, width: usize) -> Result<u64, DecodeError> {
    let digits = take(bytes, at, width)?;
    Ok(digits.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

fn fixed<const N: usize>(bytes: &[u8], at: &mut usize) -> Result<[u8; N], DecodeError> {
    let early = DecodeError::EndsEarly { at: bytes.len() };
    let fixed = bytes.get(*at..).and_then(|rest| rest.first_chunk()).ok_or(early)?;
    *at += N;
    Ok(*fixed)
}
