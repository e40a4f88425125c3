//! SUBSCRIBE and UNSUBSCRIBE (MQTT 5, 3.8 and 3.10).

use std::num::NonZeroU16;

use weir_model::Qos;

use super::list::sealed::Read;
use super::property::{Block, Property};
use super::publish::packet_id;
use super::reader::Reader;
use super::{DecodeError, List, UserProperties, Version};

/// The filters of a SUBSCRIBE, each with its options. Checked as UTF-8 only.
pub type Filters<'a> = List<'a, (&'a str, SubscribeOptions)>;

/// The filters of an UNSUBSCRIBE. Checked as UTF-8 only.
pub type FilterNames<'a> = List<'a, &'a str>;

/// How a subscription wants its messages (MQTT 5, 3.8.3.1). In MQTT 3.x only the QoS is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// The highest QoS wanted.
    pub qos: Qos,
    /// Not what the same connection publishes. Not allowed with shared subscriptions
    /// (MQTT-3.8.3-4), which is the caller's to check.
    pub no_local: bool,
    /// The RETAIN flag stays as the publisher set it.
    pub retain_as_published: bool,
    pub retain_handling: RetainHandling,
}

/// When retained messages are sent on a SUBSCRIBE (MQTT-3.3.1-9 to MQTT-3.3.1-11).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum RetainHandling {
    #[default]
    Send = 0,
    /// Only if there was no such subscription before.
    SendIfNew = 1,
    DoNotSend = 2,
}

/// A SUBSCRIBE with at least one filter (MQTT-3.8.3-2).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Subscribe<'a> {
    pub packet_id: NonZeroU16,
    pub filters: Filters<'a>,
    /// 1 to 268,435,455, for all filters of the packet.
    pub subscription_id: Option<u32>,
    pub user: UserProperties<'a>,
}

/// An UNSUBSCRIBE with at least one filter (MQTT-3.10.3-2).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Unsubscribe<'a> {
    pub packet_id: NonZeroU16,
    pub filters: FilterNames<'a>,
    pub user: UserProperties<'a>,
}

impl SubscribeOptions {
    /// The byte on the wire.
    pub fn as_u8(self) -> u8 {
        self.qos as u8
            | u8::from(self.no_local) << 2
            | u8::from(self.retain_as_published) << 3
            | (self.retain_handling as u8) << 4
    }

    fn from_u8(byte: u8) -> Result<SubscribeOptions, DecodeError> {
        if byte & 0xc0 != 0 {
            return Err(DecodeError::malformed("subscription options have reserved bits set"));
        }
        let qos = Qos::from_bits(byte & 0x03).ok_or(DecodeError::protocol("subscription asks for qos 3"))?;
        let retain_handling = match byte >> 4 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(DecodeError::protocol("retain handling is 3")),
        };
        Ok(SubscribeOptions {
            qos,
            no_local: byte & 0x04 != 0,
            retain_as_published: byte & 0x08 != 0,
            retain_handling,
        })
    }
}

impl<'a> Subscribe<'a> {
    pub(super) fn read(body: &'a [u8], version: Version) -> Result<Subscribe<'a>, DecodeError> {
        let mut reader = Reader::new(body);
        let mut subscribe = Subscribe {
            packet_id: packet_id(&mut reader)?,
            filters: Filters::default(),
            subscription_id: None,
            user: UserProperties::default(),
        };
        if version == Version::V5 {
            subscribe.read_properties(&mut reader)?;
        }
        subscribe.filters = Filters::wire(reader.rest());
        if reader.is_empty() {
            return Err(DecodeError::protocol("subscribe has no filter"));
        }
        while !reader.is_empty() {
            let (_, options) = filter_and_options(&mut reader)?;
            if version != Version::V5 && options.as_u8() > 2 {
                return Err(DecodeError::malformed("subscription options have reserved bits set"));
            }
        }
        Ok(subscribe)
    }

    fn read_properties(&mut self, reader: &mut Reader<'a>) -> Result<(), DecodeError> {
        let mut block = Block::open(reader)?;
        while let Some(property) = block.next()? {
            match property {
                Property::SubscriptionId => {
                    let id = block.subscription_id()?;
                    if self.subscription_id.replace(id).is_some() {
                        return Err(DecodeError::protocol("property stands more than once"));
                    }
                }
                Property::User => block.user(&mut self.user)?,
                other => return Err(other.misplaced()),
            }
        }
        Ok(())
    }
}

impl<'a> Unsubscribe<'a> {
    pub(super) fn read(body: &'a [u8], version: Version) -> Result<Unsubscribe<'a>, DecodeError> {
        let mut reader = Reader::new(body);
        let packet_id = packet_id(&mut reader)?;
        let mut user = UserProperties::default();
        if version == Version::V5 {
            let mut block = Block::open(&mut reader)?;
            while let Some(property) = block.next()? {
                match property {
                    Property::User => block.user(&mut user)?,
                    other => return Err(other.misplaced()),
                }
            }
        }
        let filters = FilterNames::wire(reader.rest());
        if reader.is_empty() {
            return Err(DecodeError::protocol("unsubscribe has no filter"));
        }
        while !reader.is_empty() {
            reader.text()?;
        }
        Ok(Unsubscribe { packet_id, filters, user })
    }
}

fn filter_and_options<'a>(reader: &mut Reader<'a>) -> Result<(&'a str, SubscribeOptions), DecodeError> {
    Ok((reader.text()?, SubscribeOptions::from_u8(reader.u8()?)?))
}

impl<'a> Read<'a> for (&'a str, SubscribeOptions) {
    fn read(bytes: &mut &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let filter = filter_and_options(&mut reader).ok()?;
        *bytes = reader.rest();
        Some(filter)
    }
}

impl<'a> Read<'a> for &'a str {
    fn read(bytes: &mut &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let filter = reader.text().ok()?;
        *bytes = reader.rest();
        Some(filter)
    }
}
