//! DISCONNECT (MQTT 5, 3.14).

use super::property::{Block, Property};
use super::reader::Reader;
use super::{DecodeError, ReasonCode, UserProperties, Version};

/// The last packet of a connection. In MQTT 3.x it has no body and only a client sends it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Disconnect<'a> {
    /// Success is a normal disconnection; "with will" only comes from a client.
    pub code: ReasonCode,
    /// Session expiry interval in seconds; only a client may send it (MQTT-3.14.2-2).
    pub session_expiry_seconds: Option<u32>,
    /// Reason string.
    pub reason: Option<&'a str>,
    pub user: UserProperties<'a>,
    /// Where else to go; only a server may send it.
    pub server_reference: Option<&'a str>,
}

impl<'a> Disconnect<'a> {
    /// A DISCONNECT with no more to say than `code`.
    pub fn new(code: ReasonCode) -> Disconnect<'a> {
        Disconnect {
            code,
            session_expiry_seconds: None,
            reason: None,
            user: UserProperties::default(),
            server_reference: None,
        }
    }

    pub(super) fn read(body: &'a [u8], version: Version) -> Result<Disconnect<'a>, DecodeError> {
        let mut reader = Reader::new(body);
        let mut disconnect = Disconnect::new(ReasonCode::Success);
        if version == Version::V5 && !reader.is_empty() {
            disconnect.code = ReasonCode::read(&mut reader, is_known)?;
            if !reader.is_empty() {
                disconnect.read_properties(&mut reader)?;
            }
        }
        reader.finish()?;
        Ok(disconnect)
    }

    fn read_properties(&mut self, reader: &mut Reader<'a>) -> Result<(), DecodeError> {
        let mut block = Block::open(reader)?;
        while let Some(property) = block.next()? {
            match property {
                Property::SessionExpiry => self.session_expiry_seconds = Some(block.u32()?),
                Property::ReasonString => self.reason = Some(block.text()?),
                Property::User => block.user(&mut self.user)?,
                Property::ServerReference => self.server_reference = Some(block.text()?),
                other => return Err(other.misplaced()),
            }
        }
        Ok(())
    }
}

/// The codes a DISCONNECT may carry (MQTT-3.14.2-1).
fn is_known(code: ReasonCode) -> bool {
    use ReasonCode as R;
    let only_elsewhere = matches!(
        code,
        R::GrantedQos1
            | R::GrantedQos2
            | R::NoMatchingSubscribers
            | R::NoSubscriptionExisted
            | R::ContinueAuthentication
            | R::Reauthenticate
            | R::UnsupportedProtocolVersion
            | R::ClientIdentifierNotValid
            | R::BadUserNameOrPassword
            | R::ServerUnavailable
            | R::Banned
            | R::BadAuthenticationMethod
            | R::PacketIdentifierInUse
            | R::PacketIdentifierNotFound
    );
    !only_elsewhere
}
