//! The grammar of JSON (RFC 8259) on bytes that are known to be UTF-8.

use super::{Item, Kind, Level, Scalar};
use crate::wamp::DecodeError;

/// Goes to the next item of a list or map; true when it ended instead.
#[inline]
pub(super) fn between(bytes: &[u8], at: &mut usize, level: &Level) -> Result<bool, DecodeError> {
    skip_space(bytes, at);
    if level.kind == Kind::Map && !level.at_key {
        expect(bytes, at, b':', NO_COLON)?;
        skip_space(bytes, at);
        return Ok(false);
    }
    if bytes.get(*at) == Some(&closes(level.kind)) {
        *at += 1;
        return Ok(true);
    }
    if !level.first {
        expect(bytes, at, b',', no_end(level.kind))?;
        skip_space(bytes, at);
    }
    Ok(false)
}

/// A key: a string.
#[inline]
pub(super) fn key<'a>(bytes: &'a [u8], at: &mut usize) -> Result<Item<'a>, DecodeError> {
    match bytes.get(*at) {
        Some(b'"') => string(bytes, at),
        Some(_) => Err(DecodeError::Syntax { at: *at, what: "key is not a string" }),
        None => Err(DecodeError::EndsEarly { at: *at }),
    }
}

#[inline]
pub(super) fn item<'a>(bytes: &'a [u8], at: &mut usize) -> Result<Item<'a>, DecodeError> {
    let Some(first) = bytes.get(*at) else { return Err(DecodeError::EndsEarly { at: *at }) };
    match first {
        b'"' => string(bytes, at),
        b'0'..=b'9' | b'-' => number(bytes, at),
        b'[' => begin(at, Kind::Array),
        b'{' => begin(at, Kind::Map),
        b't' => word(bytes, at, b"true", Scalar::Bool(true)),
        b'f' => word(bytes, at, b"false", Scalar::Bool(false)),
        b'n' => word(bytes, at, b"null", Scalar::Null),
        _ => Err(DecodeError::Syntax { at: *at, what: "no value" }),
    }
}

pub(super) const NO_COLON: &str = "no colon behind a key";

/// The byte that ends a list or map.
#[inline]
pub(super) fn closes(kind: Kind) -> u8 {
    match kind {
        Kind::Array => b']',
        Kind::Map => b'}',
    }
}

/// What is wrong where neither an end nor a comma stands.
#[inline]
pub(super) fn no_end(kind: Kind) -> &'static str {
    match kind {
        Kind::Array => "no comma or end of the list",
        Kind::Map => "no comma or end of the map",
    }
}

/// The one element of a checked list, if it is neither list nor map.
#[inline]
pub(in crate::wamp) fn only_scalar(list: &[u8]) -> Option<&[u8]> {
    let mut at = 1;
    skip_space(list, &mut at);
    let from = at;
    match (list.first(), item(list, &mut at)) {
        (Some(b'['), Ok(Item::Scalar(_))) => {}
        _ => return None,
    }
    let end = at;
    skip_space(list, &mut at);
    (list.get(at) == Some(&b']')).then(|| &list[from..end])
}

#[inline]
pub(super) fn skip_space(bytes: &[u8], at: &mut usize) {
    while let Some(b' ' | b'\t' | b'\n' | b'\r') = bytes.get(*at) {
        *at += 1;
    }
}

#[inline]
fn begin<'a>(at: &mut usize, kind: Kind) -> Result<Item<'a>, DecodeError> {
    *at += 1;
    Ok(Item::Begin(kind, None))
}

#[inline]
pub(super) fn expect(
    bytes: &[u8],
    at: &mut usize,
    wanted: u8,
    what: &'static str,
) -> Result<(), DecodeError> {
    match bytes.get(*at) {
        Some(found) if *found == wanted => {
            *at += 1;
            Ok(())
        }
        Some(_) => Err(DecodeError::Syntax { at: *at, what }),
        None => Err(DecodeError::EndsEarly { at: *at }),
    }
}

fn word<'a>(bytes: &[u8], at: &mut usize, word: &[u8], value: Scalar<'a>) -> Result<Item<'a>, DecodeError> {
    let rest = &bytes[*at..];
    if rest.starts_with(word) {
        *at += word.len();
        return Ok(Item::Scalar(value));
    }
    if word.starts_with(rest) {
        return Err(DecodeError::EndsEarly { at: bytes.len() });
    }
    Err(DecodeError::Syntax { at: *at, what: "no value" })
}

#[inline]
fn string<'a>(bytes: &'a [u8], at: &mut usize) -> Result<Item<'a>, DecodeError> {
    let from = *at;
    *at = string_end(bytes, from)?;
    Ok(Item::Scalar(Scalar::JsonText(&bytes[from..*at])))
}

/// The place behind the string at `from`.
#[inline]
pub(super) fn string_end(bytes: &[u8], from: usize) -> Result<usize, DecodeError> {
    let mut end = from + 1;
    loop {
        end += plain_len(&bytes[end..]);
        match bytes.get(end) {
            Some(b'"') => break,
            Some(b'\\') => end = behind_escape(bytes, end)?,
            Some(_) => return Err(DecodeError::Syntax { at: end, what: "control character in a string" }),
            None => return Err(DecodeError::EndsEarly { at: end }),
        }
    }
    Ok(end + 1)
}

/// How many bytes in front are neither quote, backslash nor control character: eight at a time.
#[inline]
fn plain_len(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = ONES << 7;
    // The lowest high bit that is set marks the first byte below `limit` exactly.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & HIGHS;
    let mut len = 0;
    for chunk in bytes.as_chunks::<8>().0 {
        let word = u64::from_le_bytes(*chunk);
        let found = below(word, 0x20) | below(word ^ (ONES * 0x22), 1) | below(word ^ (ONES * 0x5c), 1);
        if found != 0 {
            return len + found.trailing_zeros() as usize / 8;
        }
        len += 8;
    }
    let plain = |byte: &&u8| !matches!(byte, 0..0x20 | b'"' | b'\\');
    len + bytes[len..].iter().take_while(plain).count()
}

/// The place behind the escape at `at`.
fn behind_escape(bytes: &[u8], at: usize) -> Result<usize, DecodeError> {
    match bytes.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => behind_code(bytes, at),
        Some(_) => Err(DecodeError::Syntax { at, what: "unknown escape in a string" }),
        None => Err(DecodeError::EndsEarly { at: bytes.len() }),
    }
}

/// `\u` and four digits; a surrogate only as the first or second of a pair.
fn behind_code(bytes: &[u8], at: usize) -> Result<usize, DecodeError> {
    let lone = DecodeError::Syntax { at, what: "surrogate that stands alone in a string" };
    match code(bytes, at)? {
        0xdc00..=0xdfff => Err(lone),
        0xd800..=0xdbff if !bytes[at + 6..].starts_with(b"\\u") => Err(lone),
        0xd800..=0xdbff => match code(bytes, at + 6)? {
            0xdc00..=0xdfff => Ok(at + 12),
            _ => Err(lone),
        },
        _ => Ok(at + 6),
    }
}

fn code(bytes: &[u8], at: usize) -> Result<u32, DecodeError> {
    let digits = bytes.get(at + 2..at + 6).ok_or(DecodeError::EndsEarly { at: bytes.len() })?;
    let digit = |code: Option<u32>, byte: &u8| Some(code? << 4 | char::from(*byte).to_digit(16)?);
    let bad = DecodeError::Syntax { at, what: "escape without four hexadecimal digits" };
    digits.iter().fold(Some(0), digit).ok_or(bad)
}

fn number<'a>(bytes: &'a [u8], at: &mut usize) -> Result<Item<'a>, DecodeError> {
    let from = *at;
    let mut end = from + usize::from(bytes[from] == b'-');
    match bytes.get(end) {
        Some(b'0') => end += 1,
        _ => digits(bytes, &mut end)?,
    }
    if bytes.get(end) == Some(&b'.') {
        end += 1;
        digits(bytes, &mut end)?;
    }
    if let Some(b'e' | b'E') = bytes.get(end) {
        end += 1;
        end += usize::from(matches!(bytes.get(end), Some(b'+' | b'-')));
        digits(bytes, &mut end)?;
    }
    *at = end;
    Ok(Item::Scalar(Scalar::JsonNumber(&bytes[from..end])))
}

/// One digit at least.
fn digits(bytes: &[u8], end: &mut usize) -> Result<(), DecodeError> {
    let rest = bytes.get(*end..).unwrap_or_default();
    let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    *end += count;
    match (count, rest.is_empty()) {
        (0, true) => Err(DecodeError::EndsEarly { at: bytes.len() }),
        (0, false) => Err(DecodeError::Syntax { at: *end, what: "number without a digit" }),
        _ => Ok(()),
    }
}
