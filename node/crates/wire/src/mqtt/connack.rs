//! CONNACK (MQTT 5, 3.2).

use std::num::{NonZeroU16, NonZeroU32};

use weir_model::Qos;

use super::property::{Block, Property};
use super::reader::Reader;
use super::{DecodeError, ReasonCode, UserProperties, Version};

/// The server's answer to a CONNECT, with what it offers. MQTT 3.x says the first two only.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Connack<'a> {
    /// Always false in MQTT 3.1, which has no room for it.
    pub session_present: bool,
    /// In MQTT 3.x one of the five that [`ReasonCode::from_v3_connack`] knows, or success.
    pub code: ReasonCode,
    pub session_expiry_seconds: Option<u32>,
    /// QoS 1 and 2 messages the server takes at once; `None` is 65,535.
    pub receive_maximum: Option<NonZeroU16>,
    pub maximum_qos: Qos,
    pub retain_available: bool,
    /// The longest frame the server takes, in bytes.
    pub packet_bytes_max: Option<NonZeroU32>,
    pub assigned_client_id: Option<&'a str>,
    /// 0: the server takes no aliases.
    pub topic_alias_maximum: u16,
    /// Reason string.
    pub reason: Option<&'a str>,
    pub user: UserProperties<'a>,
    pub wildcard_subscription_available: bool,
    pub subscription_ids_available: bool,
    pub shared_subscription_available: bool,
    /// Keep alive in seconds, to be used instead of the client's.
    pub server_keep_alive: Option<u16>,
    pub response_information: Option<&'a str>,
    pub server_reference: Option<&'a str>,
    pub authentication_method: Option<&'a str>,
    pub authentication_data: Option<&'a [u8]>,
}

impl<'a> Connack<'a> {
    /// A CONNACK of a server that offers everything and sets no limit.
    pub fn new(code: ReasonCode) -> Connack<'a> {
        Connack {
            session_present: false,
            code,
            session_expiry_seconds: None,
            receive_maximum: None,
            maximum_qos: Qos::ExactlyOnce,
            retain_available: true,
            packet_bytes_max: None,
            assigned_client_id: None,
            topic_alias_maximum: 0,
            reason: None,
            user: UserProperties::default(),
            wildcard_subscription_available: true,
            subscription_ids_available: true,
            shared_subscription_available: true,
            server_keep_alive: None,
            response_information: None,
            server_reference: None,
            authentication_method: None,
            authentication_data: None,
        }
    }

    pub(super) fn read(body: &'a [u8], version: Version) -> Result<Connack<'a>, DecodeError> {
        let mut reader = Reader::new(body);
        let flags = reader.u8()?;
        if version != Version::V31 && flags > 1 {
            return Err(DecodeError::malformed("connack flags have reserved bits set"));
        }
        let mut connack = Connack::new(ReasonCode::Success);
        connack.session_present = version != Version::V31 && flags == 1;
        if version == Version::V5 {
            connack.code = ReasonCode::read(&mut reader, is_known)?;
            connack.read_properties(&mut reader)?;
        } else {
            connack.code = ReasonCode::from_v3_connack(reader.u8()?)
                .ok_or(DecodeError::protocol("connack return code is reserved"))?;
        }
        reader.finish()?;
        if connack.session_present && connack.code != ReasonCode::Success {
            return Err(DecodeError::protocol("connack refuses and has a session present"));
        }
        Ok(connack)
    }

    fn read_properties(&mut self, reader: &mut Reader<'a>) -> Result<(), DecodeError> {
        use Property as P;
        let mut block = Block::open(reader)?;
        while let Some(property) = block.next()? {
            match property {
                P::SessionExpiry => self.session_expiry_seconds = Some(block.u32()?),
                P::ReceiveMaximum => self.receive_maximum = Some(block.receive_maximum()?),
                P::MaximumQos => {
                    self.maximum_qos = if block.flag()? { Qos::AtLeastOnce } else { Qos::AtMostOnce };
                }
                P::RetainAvailable => self.retain_available = block.flag()?,
                P::MaximumPacketSize => self.packet_bytes_max = Some(block.packet_bytes_max()?),
                P::AssignedClientId => self.assigned_client_id = Some(block.text()?),
                P::TopicAliasMaximum => self.topic_alias_maximum = block.u16()?,
                P::ReasonString => self.reason = Some(block.text()?),
                P::User => block.user(&mut self.user)?,
                P::WildcardSubscriptionAvailable => {
                    self.wildcard_subscription_available = block.flag()?;
                }
                P::SubscriptionIdsAvailable => self.subscription_ids_available = block.flag()?,
                P::SharedSubscriptionAvailable => {
                    self.shared_subscription_available = block.flag()?;
                }
                P::ServerKeepAlive => self.server_keep_alive = Some(block.u16()?),
                P::ResponseInformation => self.response_information = Some(block.text()?),
                P::ServerReference => self.server_reference = Some(block.text()?),
                P::AuthenticationMethod => self.authentication_method = Some(block.text()?),
                P::AuthenticationData => self.authentication_data = Some(block.binary()?),
                other => return Err(other.misplaced()),
            }
        }
        Ok(())
    }
}

/// The codes a CONNACK may carry (MQTT-3.2.2-8).
fn is_known(code: ReasonCode) -> bool {
    use ReasonCode as R;
    let only_elsewhere = matches!(
        code,
        R::ServerShuttingDown
            | R::KeepAliveTimeout
            | R::SessionTakenOver
            | R::TopicFilterInvalid
            | R::PacketIdentifierInUse
            | R::PacketIdentifierNotFound
            | R::ReceiveMaximumExceeded
            | R::TopicAliasInvalid
            | R::MessageRateTooHigh
            | R::AdministrativeAction
            | R::SharedSubscriptionsNotSupported
            | R::MaximumConnectTime
            | R::SubscriptionIdentifiersNotSupported
            | R::WildcardSubscriptionsNotSupported
    );
    code == R::Success || code.is_error() && !only_elsewhere
}
