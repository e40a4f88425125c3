//! One encoded value that was checked, and how to look into it.

use std::borrow::Cow;
use std::fmt;

use super::walk::{self, Event, Item, Kind, Scalar, Walk};
use super::writer::Writer;
use super::{DecodeError, Format, Limits, Text};

/// The bytes of one whole value in its format. That it exists says that they are valid.
///
/// To copy it copies a pointer. Its `Debug` shows no content: it may be a payload or a secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Raw<'a> {
    format: Format,
    bytes: &'a [u8],
}

/// A value looked at: scalars by themselves, lists and maps by [`Raw::elements`] and [`Raw::entries`].
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Unsigned(u64),
    /// Below zero.
    Negative(i64),
    Float(f64),
    Text(Text<'a>),
    Binary(Cow<'a, [u8]>),
    Array,
    Map,
}

/// The elements of a list, as far as it matters whether it is a list of one.
pub(super) enum Only<'a> {
    None,
    One(Raw<'a>),
    More,
}

impl<'a> Raw<'a> {
    /// Checks that the bytes are exactly one value.
    ///
    /// # Errors
    ///
    /// What [`super::decode`] says of values: too long, too deep, too many, cut short, not of the grammar, not
    /// UTF-8, and bytes behind the value's end.
    pub fn check(format: Format, bytes: &'a [u8], limits: &Limits) -> Result<Raw<'a>, DecodeError> {
        check_text(format, bytes, limits)?;
        let mut walk = Walk::new(format, bytes, *limits);
        let value = walk.whole()?.unwrap_or_default();
        walk.finish()?;
        Ok(Raw { format, bytes: value })
    }

    /// Bytes of a value that was checked before. Of others nothing is to be expected but that nothing panics.
    pub fn checked(format: Format, bytes: &'a [u8]) -> Raw<'a> {
        Raw { format, bytes }
    }

    pub fn format(self) -> Format {
        self.format
    }

    /// The bytes, without white space around them.
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Appends it in any format; what a format cannot say: see the head of [`crate::wamp`].
    pub fn append_as(self, out: &mut Vec<u8>, format: Format) {
        Writer::new(format, out).raw(self);
    }

    /// Goes through it once more.
    pub(super) fn walk(self) -> Walk<'a> {
        Walk::new(self.format, self.bytes, Limits::NONE)
    }

    /// The scalar it is, or the beginning of a list or map.
    #[inline]
    fn item(self) -> Option<Item<'a>> {
        walk::item(self.format, self.bytes, &mut 0).ok()
    }

    /// What it is; of a list or map only that.
    pub fn value(self) -> Value<'a> {
        match self.item() {
            Some(Item::Scalar(scalar)) => scalar.value(),
            Some(Item::Begin(Kind::Array, _)) => Value::Array,
            Some(Item::Begin(Kind::Map, _)) => Value::Map,
            None => Value::Null,
        }
    }

    #[inline]
    pub fn is_null(self) -> bool {
        match self.format {
            Format::Json => self.bytes == b"null",
            _ => matches!(self.item(), Some(Item::Scalar(Scalar::Null))),
        }
    }

    #[inline]
    pub fn is_array(self) -> bool {
        match self.format {
            Format::Json => self.bytes.first() == Some(&b'['),
            _ => matches!(self.item(), Some(Item::Begin(Kind::Array, _))),
        }
    }

    #[inline]
    pub fn is_map(self) -> bool {
        match self.format {
            Format::Json => self.bytes.first() == Some(&b'{'),
            _ => matches!(self.item(), Some(Item::Begin(Kind::Map, _))),
        }
    }

    /// The text it is, in JSON also one that stands for binary.
    #[inline]
    pub fn text(self) -> Option<Text<'a>> {
        match (self.format, self.bytes.first()) {
            (Format::Json, Some(b'"')) => Scalar::JsonText(self.bytes).text(),
            (Format::Json, _) => None,
            _ => match self.item() {
                Some(Item::Scalar(scalar)) => scalar.text(),
                _ => None,
            },
        }
    }

    /// Whether it is a map without entries, in the shortest form.
    #[inline]
    pub(super) fn is_empty_map(self) -> bool {
        match self.format {
            Format::Json => self.bytes == b"{}",
            Format::MsgPack => self.bytes == [0x80],
            Format::Cbor => self.bytes == [0xa0],
        }
    }

    /// The bytes it is; in JSON of a text that stands for them (WAMP, "Binary conversion of JSON strings").
    pub(super) fn binary(self) -> Option<Cow<'a, [u8]>> {
        if self.format == Format::Json && !self.bytes.starts_with(walk::JSON_BINARY) {
            return None;
        }
        match self.value() {
            Value::Binary(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The whole number it is. Encoders of JavaScript write large ones as doubles: these count too.
    #[inline]
    pub fn unsigned(self) -> Option<u64> {
        // Most are.
        if self.format == Format::Json
            && (1..16).contains(&self.bytes.len())
            && self.bytes.iter().all(u8::is_ascii_digit)
        {
            return Some(self.bytes.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')));
        }
        match self.value() {
            Value::Unsigned(value) => Some(value),
            Value::Float(value) if value >= 0.0 && value <= super::ID_MAX as f64 && value.fract() == 0.0 => {
                Some(value as u64)
            }
            _ => None,
        }
    }

    /// How many elements the list it is has: none, as something else has too, one, or more.
    pub(super) fn only(self) -> Only<'a> {
        if self.format == Format::Json
            && let Some(only) = walk::json::only_scalar(self.bytes)
        {
            return Only::One(Raw { bytes: only, ..self });
        }
        let mut elements = self.elements();
        match (elements.next(), elements.next()) {
            (None, _) => Only::None,
            (Some(value), None) => Only::One(value),
            _ => Only::More,
        }
    }

    /// The elements of the list it is; none when it is something else.
    pub fn elements(self) -> Elements<'a> {
        let mut walk = self.walk();
        let inside = matches!(walk.next(), Ok(Some(Event::Begin(Kind::Array))));
        Elements { format: self.format, walk: inside.then_some(walk) }
    }

    /// The entries of the map it is, without those whose keys are no text; none when it is something else.
    pub fn entries(self) -> Entries<'a> {
        let mut walk = self.walk();
        let inside = matches!(walk.next(), Ok(Some(Event::Begin(Kind::Map))));
        Entries { format: self.format, walk: inside.then_some(walk) }
    }

    /// The value of a key of the map it is, the last if the key is there twice.
    pub fn get(self, key: &str) -> Option<Raw<'a>> {
        self.entries().filter(|(name, _)| name == key).last().map(|(_, value)| value)
    }
}

/// The limits and the rules that hold for all of the bytes.
pub(super) fn check_text(format: Format, bytes: &[u8], limits: &Limits) -> Result<(), DecodeError> {
    if bytes.len() > limits.message_bytes_max {
        return Err(DecodeError::TooLong { bytes: bytes.len(), max: limits.message_bytes_max });
    }
    match format {
        Format::Json => std::str::from_utf8(bytes).map(drop),
        Format::MsgPack | Format::Cbor => Ok(()),
    }
    .map_err(|error| DecodeError::NotUtf8 { at: error.valid_up_to() })
}

impl fmt::Debug for Raw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Raw({:?}, {} bytes)", self.format, self.bytes.len())
    }
}

/// The iterator over the elements of a list.
pub struct Elements<'a> {
    format: Format,
    walk: Option<Walk<'a>>,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Raw<'a>;

    fn next(&mut self) -> Option<Raw<'a>> {
        let bytes = self.walk.as_mut()?.whole().ok()??;
        Some(Raw { format: self.format, bytes })
    }
}

/// The iterator over the entries of a map.
pub struct Entries<'a> {
    format: Format,
    walk: Option<Walk<'a>>,
}

impl Entries<'_> {
    /// Whether they are of a map at all.
    pub(super) fn are_of_a_map(&self) -> bool {
        self.walk.is_some()
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = (Text<'a>, Raw<'a>);

    fn next(&mut self) -> Option<(Text<'a>, Raw<'a>)> {
        let walk = self.walk.as_mut()?;
        loop {
            let Ok(Some(Event::Key(key))) = walk.next() else { return None };
            let bytes = walk.whole().ok()??;
            if let Some(name) = key.text() {
                return Some((name, Raw { format: self.format, bytes }));
            }
        }
    }
}
