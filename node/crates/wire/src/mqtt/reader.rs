//! A cursor over the bytes of one frame: the data types of MQTT (MQTT 5, 1.5).

use super::DecodeError;

const ENDS_EARLY: DecodeError = DecodeError::malformed("packet ends before its fields do");

/// Reads from the front; every read says what is wrong instead of panicking.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What has not been read yet.
    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        let (&first, rest) = self.rest.split_first().ok_or(ENDS_EARLY)?;
        self.rest = rest;
        Ok(first)
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        let (first, rest) = self.rest.split_first_chunk().ok_or(ENDS_EARLY)?;
        self.rest = rest;
        Ok(u16::from_be_bytes(*first))
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        let (first, rest) = self.rest.split_first_chunk().ok_or(ENDS_EARLY)?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*first))
    }

    /// A variable byte integer, shortest form only (MQTT-1.5.5-1).
    #[inline]
    pub(super) fn varint(&mut self) -> Result<u32, DecodeError> {
        let (value, len) = varint(self.rest)?.ok_or(ENDS_EARLY)?;
        self.rest = &self.rest[len..];
        Ok(value)
    }

    #[inline]
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (first, rest) = self.rest.split_at_checked(len).ok_or(ENDS_EARLY)?;
        self.rest = rest;
        Ok(first)
    }

    /// Binary data: two bytes of length, then so many bytes (MQTT 5, 1.5.6).
    #[inline]
    pub(super) fn binary(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    /// A UTF-8 string without U+0000 (MQTT-1.5.4-1, MQTT-1.5.4-2).
    #[inline]
    pub(super) fn text(&mut self) -> Result<&'a str, DecodeError> {
        let bytes = self.binary()?;
        let text =
            std::str::from_utf8(bytes).map_err(|_| DecodeError::malformed("string is not valid utf-8"))?;
        if has_nul(bytes) {
            return Err(DecodeError::malformed("string contains u+0000"));
        }
        Ok(text)
    }

    /// Refuses bytes nobody asked for.
    #[inline]
    pub(super) fn finish(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::malformed("bytes after the end of the packet"))
        }
    }
}

/// A variable byte integer and its length in bytes; `None` while it is not whole.
///
/// Refused as malformed: a fifth byte, and a longer form than needed (MQTT-1.5.5-1).
#[inline]
pub(super) fn varint(bytes: &[u8]) -> Result<Option<(u32, usize)>, DecodeError> {
    let mut value = 0;
    for (at, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            if byte == 0 && at > 0 {
                return Err(DecodeError::malformed("variable byte integer is longer than needed"));
            }
            return Ok(Some((value, at + 1)));
        }
    }
    if bytes.len() >= 4 {
        return Err(DecodeError::malformed("variable byte integer has more than four bytes"));
    }
    Ok(None)
}

/// Whether a byte is 0: their minimum, sixteen at a time, because strings are short.
#[inline]
fn has_nul(bytes: &[u8]) -> bool {
    bytes.iter().copied().fold(1, u8::min) == 0
}
