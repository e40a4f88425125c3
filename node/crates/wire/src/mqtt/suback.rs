//! SUBACK and UNSUBACK (MQTT 5, 3.9 and 3.11).

use std::num::NonZeroU16;

use super::frame::PacketType;
use super::property::{Block, Property};
use super::publish::packet_id;
use super::reader::Reader;
use super::{DecodeError, ReasonCode, ReasonCodes, UserProperties, Version};

/// The answer to a SUBSCRIBE or UNSUBSCRIBE.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Suback<'a> {
    pub packet_id: NonZeroU16,
    /// One for each filter, in the order asked. Empty in an UNSUBACK of MQTT 3.x, which has none.
    pub codes: ReasonCodes<'a>,
    /// Reason string.
    pub reason: Option<&'a str>,
    pub user: UserProperties<'a>,
}

impl<'a> Suback<'a> {
    /// An answer with no more to say than `codes`.
    pub fn new(packet_id: NonZeroU16, codes: ReasonCodes<'a>) -> Suback<'a> {
        Suback { packet_id, codes, reason: None, user: UserProperties::default() }
    }

    pub(super) fn read(
        body: &'a [u8],
        kind: PacketType,
        version: Version,
    ) -> Result<Suback<'a>, DecodeError> {
        let mut reader = Reader::new(body);
        let mut suback = Suback::new(packet_id(&mut reader)?, ReasonCodes::default());
        if version == Version::V5 {
            suback.read_properties(&mut reader)?;
        } else if kind == PacketType::Unsuback {
            reader.finish()?;
            return Ok(suback);
        }
        suback.codes = ReasonCodes::wire(reader.rest());
        if reader.is_empty() {
            return Err(DecodeError::protocol("answer has no reason code"));
        }
        while !reader.is_empty() {
            ReasonCode::read(&mut reader, |code| is_known(code, kind, version))?;
        }
        Ok(suback)
    }

    fn read_properties(&mut self, reader: &mut Reader<'a>) -> Result<(), DecodeError> {
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

/// The codes a packet of this kind may carry (MQTT-3.9.3-2, MQTT-3.11.3-2).
fn is_known(code: ReasonCode, kind: PacketType, version: Version) -> bool {
    use ReasonCode as R;
    let granted = matches!(code, R::Success | R::GrantedQos1 | R::GrantedQos2);
    if version != Version::V5 {
        return granted || code == R::UnspecifiedError;
    }
    let refused = matches!(
        code,
        R::UnspecifiedError
            | R::ImplementationSpecificError
            | R::NotAuthorized
            | R::TopicFilterInvalid
            | R::PacketIdentifierInUse
    );
    if kind == PacketType::Unsuback {
        return refused || matches!(code, R::Success | R::NoSubscriptionExisted);
    }
    let not_served = matches!(
        code,
        R::QuotaExceeded
            | R::SharedSubscriptionsNotSupported
            | R::SubscriptionIdentifiersNotSupported
            | R::WildcardSubscriptionsNotSupported
    );
    granted || refused || not_served
}
