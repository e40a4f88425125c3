//! Lists inside a packet, read in place: user properties, subscription ids, filters, reason codes.

use std::fmt;

use super::ReasonCode;
use super::property::Property;
use super::reader::Reader;

/// The user properties of a packet, name and value, in the sender's order (MQTT-3.1.3-10).
pub type UserProperties<'a> = List<'a, (&'a str, &'a str)>;

/// The subscription identifiers of a PUBLISH to a client, 1 to 268,435,455 (MQTT-3.3.4-3).
pub type SubscriptionIds<'a> = List<'a, u32>;

/// The reason codes of a SUBACK or UNSUBACK, one for each filter asked for (MQTT-3.9.3-1).
pub type ReasonCodes<'a> = List<'a, ReasonCode>;

/// A list that is either still on the wire, checked when it was decoded, or values to be encoded.
///
/// Two lists are equal when they yield the same items, wherever these come from.
#[derive(Clone, Copy)]
pub struct List<'a, T> {
    source: Source<'a, T>,
}

#[derive(Clone, Copy)]
enum Source<'a, T> {
    Wire(&'a [u8]),
    Values(&'a [T]),
}

/// What a [`List`] can hold. Sealed: only this module knows how to read one.
pub trait Element<'a>: Copy + PartialEq + fmt::Debug + sealed::Read<'a> {}

impl<'a, T: Copy + PartialEq + fmt::Debug + sealed::Read<'a>> Element<'a> for T {}

pub(super) mod sealed {
    /// Reads the next item from bytes that were checked before, and goes past it.
    pub trait Read<'a>: Sized {
        fn read(bytes: &mut &'a [u8]) -> Option<Self>;
    }
}

impl<'a, T> List<'a, T> {
    /// A list of `values`, to be encoded.
    pub fn of(values: &'a [T]) -> List<'a, T> {
        List { source: Source::Values(values) }
    }

    /// A list read from `bytes`, which the decoder has checked and which begin with an item if any.
    #[inline]
    pub(super) fn wire(bytes: &'a [u8]) -> List<'a, T> {
        List { source: Source::Wire(bytes) }
    }

    /// Whether it has no item.
    #[inline]
    pub fn is_empty(&self) -> bool {
        match self.source {
            Source::Wire(bytes) => bytes.is_empty(),
            Source::Values(values) => values.is_empty(),
        }
    }
}

impl<'a, T: Element<'a>> List<'a, T> {
    /// The items in their order.
    pub fn iter(&self) -> Items<'a, T> {
        Items { source: self.source }
    }
}

impl<T> Default for List<'_, T> {
    #[inline]
    fn default() -> Self {
        List::wire(&[])
    }
}

impl<'a, T: Element<'a>> PartialEq for List<'a, T> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<'a, T: Element<'a>> fmt::Debug for List<'a, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a, T: Element<'a>> IntoIterator for List<'a, T> {
    type Item = T;
    type IntoIter = Items<'a, T>;

    fn into_iter(self) -> Items<'a, T> {
        self.iter()
    }
}

/// The iterator over a [`List`].
#[derive(Clone)]
pub struct Items<'a, T> {
    source: Source<'a, T>,
}

impl<'a, T: Element<'a>> Iterator for Items<'a, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        match &mut self.source {
            Source::Wire(bytes) => T::read(bytes),
            Source::Values(values) => {
                let (first, rest) = values.split_first()?;
                *values = rest;
                Some(*first)
            }
        }
    }
}

impl<'a> sealed::Read<'a> for (&'a str, &'a str) {
    fn read(bytes: &mut &'a [u8]) -> Option<Self> {
        let mut reader = find(bytes, Property::User)?;
        let pair = (reader.text().ok()?, reader.text().ok()?);
        *bytes = reader.rest();
        Some(pair)
    }
}

impl<'a> sealed::Read<'a> for u32 {
    fn read(bytes: &mut &'a [u8]) -> Option<u32> {
        let mut reader = find(bytes, Property::SubscriptionId)?;
        let id = reader.varint().ok()?;
        *bytes = reader.rest();
        Some(id)
    }
}

impl<'a> sealed::Read<'a> for ReasonCode {
    fn read(bytes: &mut &'a [u8]) -> Option<ReasonCode> {
        let (&first, rest) = bytes.split_first()?;
        *bytes = rest;
        ReasonCode::from_u8(first)
    }
}

/// A reader behind the next identifier of `wanted`, past the other properties of the block.
fn find(bytes: &[u8], wanted: Property) -> Option<Reader<'_>> {
    let mut reader = Reader::new(bytes);
    loop {
        let found = Property::from_u8(reader.u8().ok()?)?;
        if found == wanted {
            return Some(reader);
        }
        found.skip(&mut reader).ok()?;
    }
}
