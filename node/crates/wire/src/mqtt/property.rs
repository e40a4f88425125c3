//! The properties of MQTT 5: a block of identifier and value pairs (MQTT 5, 2.2.2).

use std::num::{NonZeroU16, NonZeroU32};

use super::reader::Reader;
use super::{DecodeError, UserProperties};

/// A property identifier (MQTT 5, 2.2.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Property {
    PayloadFormat = 0x01,
    MessageExpiry = 0x02,
    ContentType = 0x03,
    ResponseTopic = 0x08,
    CorrelationData = 0x09,
    SubscriptionId = 0x0b,
    SessionExpiry = 0x11,
    AssignedClientId = 0x12,
    ServerKeepAlive = 0x13,
    AuthenticationMethod = 0x15,
    AuthenticationData = 0x16,
    RequestProblemInformation = 0x17,
    WillDelay = 0x18,
    RequestResponseInformation = 0x19,
    ResponseInformation = 0x1a,
    ServerReference = 0x1c,
    ReasonString = 0x1f,
    ReceiveMaximum = 0x21,
    TopicAliasMaximum = 0x22,
    TopicAlias = 0x23,
    MaximumQos = 0x24,
    RetainAvailable = 0x25,
    User = 0x26,
    MaximumPacketSize = 0x27,
    WildcardSubscriptionAvailable = 0x28,
    SubscriptionIdsAvailable = 0x29,
    SharedSubscriptionAvailable = 0x2a,
}

impl Property {
    #[inline]
    pub(super) fn from_u8(id: u8) -> Option<Property> {
        use Property as P;
        Some(match id {
            0x01 => P::PayloadFormat,
            0x02 => P::MessageExpiry,
            0x03 => P::ContentType,
            0x08 => P::ResponseTopic,
            0x09 => P::CorrelationData,
            0x0b => P::SubscriptionId,
            0x11 => P::SessionExpiry,
            0x12 => P::AssignedClientId,
            0x13 => P::ServerKeepAlive,
            0x15 => P::AuthenticationMethod,
            0x16 => P::AuthenticationData,
            0x17 => P::RequestProblemInformation,
            0x18 => P::WillDelay,
            0x19 => P::RequestResponseInformation,
            0x1a => P::ResponseInformation,
            0x1c => P::ServerReference,
            0x1f => P::ReasonString,
            0x21 => P::ReceiveMaximum,
            0x22 => P::TopicAliasMaximum,
            0x23 => P::TopicAlias,
            0x24 => P::MaximumQos,
            0x25 => P::RetainAvailable,
            0x26 => P::User,
            0x27 => P::MaximumPacketSize,
            0x28 => P::WildcardSubscriptionAvailable,
            0x29 => P::SubscriptionIdsAvailable,
            0x2a => P::SharedSubscriptionAvailable,
            _ => return None,
        })
    }

    /// Goes past a value of this property.
    pub(super) fn skip(self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        use Property as P;
        match self {
            P::PayloadFormat
            | P::RequestProblemInformation
            | P::RequestResponseInformation
            | P::MaximumQos
            | P::RetainAvailable
            | P::WildcardSubscriptionAvailable
            | P::SubscriptionIdsAvailable
            | P::SharedSubscriptionAvailable => reader.take(1)?,
            P::ServerKeepAlive | P::ReceiveMaximum | P::TopicAliasMaximum | P::TopicAlias => {
                reader.take(2)?
            }
            P::MessageExpiry | P::SessionExpiry | P::WillDelay | P::MaximumPacketSize => reader.take(4)?,
            P::SubscriptionId => return reader.varint().map(drop),
            P::User => {
                reader.binary()?;
                reader.binary()?
            }
            P::ContentType
            | P::ResponseTopic
            | P::CorrelationData
            | P::AssignedClientId
            | P::AuthenticationMethod
            | P::AuthenticationData
            | P::ResponseInformation
            | P::ServerReference
            | P::ReasonString => reader.binary()?,
        };
        Ok(())
    }

    /// The refusal of a property in a packet that does not know it.
    ///
    /// Malformed, by MQTT 5, 2.2.2.2.
    #[cold]
    pub(super) fn misplaced(self) -> DecodeError {
        DecodeError::malformed("property is not one of this packet type")
    }
}

/// One property block being read.
///
/// Call [`Block::next`] for an identifier, then exactly one of the others for its value.
pub(super) struct Block<'a> {
    reader: Reader<'a>,
    /// From the identifier last returned by `next` to the end of the block.
    tail: &'a [u8],
    /// One bit for each identifier met.
    seen: u64,
}

impl<'a> Block<'a> {
    /// Takes the property length and the block behind it.
    #[inline]
    pub(super) fn open(reader: &mut Reader<'a>) -> Result<Block<'a>, DecodeError> {
        let len = reader.varint()?;
        let tail = reader.take(len as usize)?;
        Ok(Block { reader: Reader::new(tail), tail, seen: 0 })
    }

    /// The next property; refuses unknown ones, and a second of those that may stand only once.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<Property>, DecodeError> {
        self.tail = self.reader.rest();
        if self.reader.is_empty() {
            return Ok(None);
        }
        let Some(property) = Property::from_u8(self.reader.u8()?) else {
            return Err(DecodeError::malformed("unknown property"));
        };
        let bit = 1 << property as u8;
        let repeats = matches!(property, Property::User | Property::SubscriptionId);
        if self.seen & bit != 0 && !repeats {
            return Err(DecodeError::protocol("property stands more than once"));
        }
        self.seen |= bit;
        Ok(Some(property))
    }

    /// From the current property's identifier to the end: the bytes of a list that begins here.
    pub(super) fn tail(&self) -> &'a [u8] {
        self.tail
    }

    /// A user property, remembered in `user` by where the first one stands.
    pub(super) fn user(&mut self, user: &mut UserProperties<'a>) -> Result<(), DecodeError> {
        self.reader.text()?;
        self.reader.text()?;
        if user.is_empty() {
            *user = UserProperties::wire(self.tail);
        }
        Ok(())
    }

    /// A subscription identifier: not 0 (MQTT 5, 3.8.2.1.2).
    pub(super) fn subscription_id(&mut self) -> Result<u32, DecodeError> {
        match self.reader.varint()? {
            0 => Err(DecodeError::protocol("subscription identifier is 0")),
            id => Ok(id),
        }
    }

    /// A byte that is 0 or 1.
    pub(super) fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.reader.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::protocol("property is neither 0 nor 1")),
        }
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.reader.u16()
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.reader.u32()
    }

    /// A receive maximum: not 0 (MQTT 5, 3.1.2.11.3).
    pub(super) fn receive_maximum(&mut self) -> Result<NonZeroU16, DecodeError> {
        NonZeroU16::new(self.reader.u16()?).ok_or(DecodeError::protocol("receive maximum is 0"))
    }

    /// A maximum packet size: not 0 (MQTT 5, 3.1.2.11.4).
    pub(super) fn packet_bytes_max(&mut self) -> Result<NonZeroU32, DecodeError> {
        NonZeroU32::new(self.reader.u32()?).ok_or(DecodeError::protocol("maximum packet size is 0"))
    }

    pub(super) fn text(&mut self) -> Result<&'a str, DecodeError> {
        self.reader.text()
    }

    pub(super) fn binary(&mut self) -> Result<&'a [u8], DecodeError> {
        self.reader.binary()
    }
}
