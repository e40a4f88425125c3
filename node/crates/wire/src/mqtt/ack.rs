//! PUBACK, PUBREC, PUBREL and PUBCOMP, which look the same (MQTT 5, 3.4 to 3.7).

use std::num::NonZeroU16;

use super::frame::PacketType;
use super::property::{Block, Property};
use super::publish::packet_id;
use super::reader::Reader;
use super::{DecodeError, ReasonCode, UserProperties, Version};

/// One step of a QoS 1 or QoS 2 exchange.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ack<'a> {
    pub packet_id: NonZeroU16,
    /// Always success in MQTT 3.x, which has no room for another.
    pub code: ReasonCode,
    /// Reason string.
    pub reason: Option<&'a str>,
    pub user: UserProperties<'a>,
}

impl<'a> Ack<'a> {
    /// An acknowledgement of `packet_id` with no more to say than `code`.
    #[inline]
    pub fn new(packet_id: NonZeroU16, code: ReasonCode) -> Ack<'a> {
        Ack { packet_id, code, reason: None, user: UserProperties::default() }
    }

    #[inline]
    pub(super) fn read(body: &'a [u8], kind: PacketType, version: Version) -> Result<Ack<'a>, DecodeError> {
        let mut reader = Reader::new(body);
        let mut ack = Ack::new(packet_id(&mut reader)?, ReasonCode::Success);
        if version == Version::V5 && !reader.is_empty() {
            ack.read_reason(&mut reader, kind)?;
        }
        reader.finish()?;
        Ok(ack)
    }

    fn read_reason(&mut self, reader: &mut Reader<'a>, kind: PacketType) -> Result<(), DecodeError> {
        self.code = ReasonCode::read(reader, |code| is_known(code, kind))?;
        if reader.is_empty() {
            return Ok(());
        }
        let mut block = Block::open(reader)?;
        while let Some(property) = block.next()? {
            match property {
                Property::ReasonString => self.reason = Some(block.text()?),
                Property::User => block.user(&mut self.user)?,
                other => return Err(other.misplaced()),
            }
        }
        Ok(())
    }
}

/// The codes a packet of this kind may carry (MQTT-3.4.2-1, MQTT-3.5.2-1, MQTT-3.6.2-1, MQTT-3.7.2-1).
fn is_known(code: ReasonCode, kind: PacketType) -> bool {
    use ReasonCode as R;
    match kind {
        PacketType::Pubrel | PacketType::Pubcomp => {
            matches!(code, R::Success | R::PacketIdentifierNotFound)
        }
        _ => matches!(
            code,
            R::Success
                | R::NoMatchingSubscribers
                | R::UnspecifiedError
                | R::ImplementationSpecificError
                | R::NotAuthorized
                | R::TopicNameInvalid
                | R::PacketIdentifierInUse
                | R::QuotaExceeded
                | R::PayloadFormatInvalid
        ),
    }
}
