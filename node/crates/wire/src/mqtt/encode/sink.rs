//! Where a frame's bytes go: first to be counted, then to be written.

use crate::mqtt::property::Property;
use crate::mqtt::{PacketType, UserProperties, Version};

/// What follows a frame's fixed header. Written twice: to a [`Count`], then to the buffer.
pub(super) trait Body {
    fn write(&self, version: Version, sink: &mut impl Sink);
}

/// The properties of a packet, without their length.
pub(super) trait Properties {
    fn write_properties(&self, sink: &mut impl Sink);
}

/// Takes bytes and the data types of MQTT (MQTT 5, 1.5).
pub(super) trait Sink {
    fn bytes(&mut self, bytes: &[u8]);

    #[inline]
    fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    #[inline]
    fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    #[inline]
    fn varint(&mut self, value: u32) {
        let (bytes, len) = varint(value);
        self.bytes(&bytes[..len]);
    }

    #[inline]
    fn binary(&mut self, bytes: &[u8]) {
        let len = u16::try_from(bytes.len());
        self.u16(len.expect("a field of mqtt has at most 65,535 bytes"));
        self.bytes(bytes);
    }

    #[inline]
    fn text(&mut self, text: &str) {
        self.binary(text.as_bytes());
    }

    fn flag_property(&mut self, property: Property, value: bool) {
        self.bytes(&[property as u8, u8::from(value)]);
    }

    fn u16_property(&mut self, property: Property, value: u16) {
        self.u8(property as u8);
        self.u16(value);
    }

    fn u32_property(&mut self, property: Property, value: Option<u32>) {
        if let Some(value) = value {
            self.u8(property as u8);
            self.bytes(&value.to_be_bytes());
        }
    }

    fn text_property(&mut self, property: Property, value: Option<&str>) {
        self.binary_property(property, value.map(str::as_bytes));
    }

    fn binary_property(&mut self, property: Property, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.u8(property as u8);
            self.binary(value);
        }
    }

    fn user_properties(&mut self, user: UserProperties<'_>) {
        for (name, value) in user {
            self.u8(Property::User as u8);
            self.text(name);
            self.text(value);
        }
    }

    /// The property length and the properties.
    fn property_block(&mut self, properties: &impl Properties)
    where
        Self: Sized,
    {
        self.varint(length(Count::of_properties(properties)));
        properties.write_properties(self);
    }
}

impl Sink for Vec<u8> {
    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Counts bytes and keeps none.
#[derive(Default)]
pub(super) struct Count(usize);

impl Count {
    /// How many bytes the properties take, without their length.
    #[inline]
    pub(super) fn of_properties(properties: &impl Properties) -> usize {
        let mut count = Count::default();
        properties.write_properties(&mut count);
        count.0
    }
}

impl Sink for Count {
    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

/// Appends one frame, growing `out` at most once.
#[inline]
pub(super) fn append(out: &mut Vec<u8>, kind: PacketType, body: &impl Body, version: Version) {
    let mut count = Count::default();
    body.write(version, &mut count);
    fixed_header(out, first_byte(kind), count.0);
    body.write(version, out);
}

/// Makes room for a whole frame and writes its fixed header.
#[inline]
pub(super) fn fixed_header(out: &mut Vec<u8>, first_byte: u8, body_len: usize) {
    let (varint, varint_len) = varint(length(body_len));
    out.reserve(1 + varint_len + body_len);
    out.push(first_byte);
    out.extend_from_slice(&varint[..varint_len]);
}

/// The type of a packet and the flags the standard fixes for it (MQTT-2.1.3-1).
#[inline]
fn first_byte(kind: PacketType) -> u8 {
    let flags = match kind {
        PacketType::Pubrel | PacketType::Subscribe | PacketType::Unsubscribe => 0x02,
        _ => 0,
    };
    (kind as u8) << 4 | flags
}

#[inline]
fn length(bytes: usize) -> u32 {
    let fits = u32::try_from(bytes).ok().filter(|len| *len <= 268_435_455);
    fits.expect("a length in mqtt is at most 268,435,455 bytes")
}

/// The shortest form of a variable byte integer, and its length (MQTT-1.5.5-1).
#[inline]
pub(super) fn varint(value: u32) -> ([u8; 4], usize) {
    let septet = |at: u32| (value >> (7 * at)) as u8 & 0x7f;
    match value {
        0..=0x7f => ([septet(0), 0, 0, 0], 1),
        0x80..=0x3fff => ([septet(0) | 0x80, septet(1), 0, 0], 2),
        0x4000..=0x1f_ffff => ([septet(0) | 0x80, septet(1) | 0x80, septet(2), 0], 3),
        _ => ([septet(0) | 0x80, septet(1) | 0x80, septet(2) | 0x80, septet(3)], 4),
    }
}
