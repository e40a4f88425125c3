//! What the items of a message and the entries of its options can be.

use super::walk::Kind;
use super::writer::Writer;
use super::{Id, Raw, Text, Value};

/// Why an item is not what its place wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It is something else.
    Type,
    /// It is a number but no [`Id`].
    Id,
    /// It is a map, but the value of an entry is not `wanted`.
    Option { name: &'static str, wanted: &'static str },
}

/// A value with a meaning.
pub(super) trait Element<'a>: Sized {
    /// What it is, to be read behind "is not".
    const WANTED: &'static str;
    /// Whether a null in options means something other than that the option is absent.
    const NULL_COUNTS: bool = false;

    fn read(raw: Raw<'a>) -> Result<Self, Wrong>;
    fn write(&self, writer: &mut Writer<'_>);
}

/// The value of an entry of options, which may be absent.
pub(super) trait Entry<'a>: Sized {
    const WANTED: &'static str;

    fn read(raw: Raw<'a>) -> Result<Self, Wrong>;
    fn is_absent(&self) -> bool;
    fn write(&self, writer: &mut Writer<'_>);
}

impl<'a, T: Element<'a>> Entry<'a> for Option<T> {
    const WANTED: &'static str = T::WANTED;

    fn read(raw: Raw<'a>) -> Result<Self, Wrong> {
        if !T::NULL_COUNTS && raw.is_null() {
            return Ok(None);
        }
        T::read(raw).map(Some)
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }

    fn write(&self, writer: &mut Writer<'_>) {
        if let Some(value) = self {
            value.write(writer);
        }
    }
}

/// A flag whose absence means no.
impl<'a> Entry<'a> for bool {
    const WANTED: &'static str = <bool as Element>::WANTED;

    fn read(raw: Raw<'a>) -> Result<Self, Wrong> {
        Option::<bool>::read(raw).map(Option::unwrap_or_default)
    }

    fn is_absent(&self) -> bool {
        !self
    }

    fn write(&self, writer: &mut Writer<'_>) {
        Element::write(self, writer);
    }
}

impl<'a> Element<'a> for bool {
    const WANTED: &'static str = "true or false";

    fn read(raw: Raw<'a>) -> Result<Self, Wrong> {
        match raw.value() {
            Value::Bool(value) => Ok(value),
            _ => Err(Wrong::Type),
        }
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.bool(*self);
    }
}

impl<'a> Element<'a> for u64 {
    const WANTED: &'static str = "a whole number from 0";

    fn read(raw: Raw<'a>) -> Result<Self, Wrong> {
        raw.unsigned().ok_or(Wrong::Type)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.unsigned(*self);
    }
}

impl<'a> Element<'a> for Id {
    const WANTED: &'static str = "an id from 1 to 2^53";

    fn read(raw: Raw<'a>) -> Result<Self, Wrong> {
        match raw.unsigned() {
            Some(number) => Id::new(number).ok_or(Wrong::Id),
            None if matches!(raw.value(), Value::Negative(_)) => Err(Wrong::Id),
            None => Err(Wrong::Type),
        }
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.unsigned(self.get());
    }
}

impl<'a> Element<'a> for Text<'a> {
    const WANTED: &'static str = "a text";

    fn read(raw: Raw<'a>) -> Result<Self, Wrong> {
        raw.text().ok_or(Wrong::Type)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.text(self);
    }
}

/// Anything, for whoever knows what it means.
impl<'a> Element<'a> for Raw<'a> {
    const WANTED: &'static str = "a value";
    const NULL_COUNTS: bool = true;

    fn read(raw: Raw<'a>) -> Result<Self, Wrong> {
        Ok(raw)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.raw(*self);
    }
}

/// A list, as long as [`super::Limits::items_max`] lets it be.
impl<'a, T: Element<'a>> Element<'a> for Vec<T> {
    const WANTED: &'static str = "a list of what it should list";

    fn read(raw: Raw<'a>) -> Result<Self, Wrong> {
        if !raw.is_array() {
            return Err(Wrong::Type);
        }
        raw.elements().map(T::read).collect()
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.begin(Kind::Array, self.len());
        for element in self {
            element.write(writer);
        }
        writer.end(Kind::Array);
    }
}

/// A name that stands for one of a few values.
pub(super) trait Name: Copy + PartialEq + 'static {
    /// What it is, to be read behind "is not".
    const WANTED: &'static str;
    const NAMES: &'static [(&'static str, Self)];
}

/// Reads a value by its name.
pub(super) fn named<T: Name>(raw: Raw<'_>) -> Result<T, Wrong> {
    let text = raw.text().ok_or(Wrong::Type)?;
    let found = T::NAMES.iter().find(|(name, _)| *name == text);
    found.map(|(_, value)| *value).ok_or(Wrong::Type)
}

/// The name of a value.
pub(super) fn name_of<T: Name>(value: T) -> &'static str {
    let found = T::NAMES.iter().find(|(_, named)| *named == value);
    found.map_or("", |(name, _)| name)
}

impl<'a, T: Name> Element<'a> for T {
    const WANTED: &'static str = T::WANTED;

    fn read(raw: Raw<'a>) -> Result<Self, Wrong> {
        named(raw)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.text(name_of(*self));
    }
}
