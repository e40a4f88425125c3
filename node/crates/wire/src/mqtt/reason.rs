//! The reason codes of MQTT 5 (2.4) and what they become in MQTT 3.x.

use super::DecodeError;
use super::reader::Reader;

/// Why something was done or refused. Below 0x80 is success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ReasonCode {
    /// Also "normal disconnection" and "granted QoS 0".
    Success = 0x00,
    /// The subscription is accepted with at most QoS 1.
    GrantedQos1 = 0x01,
    /// The subscription is accepted with at most QoS 2.
    GrantedQos2 = 0x02,
    /// The client leaves and wants its will published all the same.
    DisconnectWithWill = 0x04,
    /// The message was accepted and nobody subscribes to it.
    NoMatchingSubscribers = 0x10,
    /// There was no such subscription to remove.
    NoSubscriptionExisted = 0x11,
    /// The authentication goes on with another step.
    ContinueAuthentication = 0x18,
    /// The client starts to authenticate anew.
    Reauthenticate = 0x19,
    /// A refusal with no more to say.
    UnspecifiedError = 0x80,
    /// Bytes that cannot be parsed.
    MalformedPacket = 0x81,
    /// Parsed, but not allowed by the protocol.
    ProtocolError = 0x82,
    /// Valid, but this receiver does not accept it.
    ImplementationSpecificError = 0x83,
    /// The protocol level is not spoken here.
    UnsupportedProtocolVersion = 0x84,
    /// The client id is not allowed.
    ClientIdentifierNotValid = 0x85,
    /// The user name or password is not accepted.
    BadUserNameOrPassword = 0x86,
    /// The client may not do this.
    NotAuthorized = 0x87,
    /// The server cannot serve now.
    ServerUnavailable = 0x88,
    /// The server has too much to do; try again later.
    ServerBusy = 0x89,
    /// The client was banned.
    Banned = 0x8a,
    /// The server is going down.
    ServerShuttingDown = 0x8b,
    /// The authentication method is unknown or not the one begun with.
    BadAuthenticationMethod = 0x8c,
    /// Nothing came for one and a half keep alive times.
    KeepAliveTimeout = 0x8d,
    /// Another connection took the client id.
    SessionTakenOver = 0x8e,
    /// The topic filter is well formed but not accepted.
    TopicFilterInvalid = 0x8f,
    /// The topic name is well formed but not accepted.
    TopicNameInvalid = 0x90,
    /// The packet identifier is already in use.
    PacketIdentifierInUse = 0x91,
    /// The packet identifier is not known.
    PacketIdentifierNotFound = 0x92,
    /// More QoS 1 and 2 messages in flight than the receive maximum.
    ReceiveMaximumExceeded = 0x93,
    /// The topic alias is 0 or above the maximum.
    TopicAliasInvalid = 0x94,
    /// The packet is larger than the receiver's maximum.
    PacketTooLarge = 0x95,
    /// Data comes too fast.
    MessageRateTooHigh = 0x96,
    /// A limit was reached.
    QuotaExceeded = 0x97,
    /// Closed by an operator.
    AdministrativeAction = 0x98,
    /// The payload is not of the format it claims.
    PayloadFormatInvalid = 0x99,
    /// Retained messages are not served here.
    RetainNotSupported = 0x9a,
    /// The QoS is higher than the server's maximum.
    QosNotSupported = 0x9b,
    /// Go to another server for now.
    UseAnotherServer = 0x9c,
    /// Go to another server for good.
    ServerMoved = 0x9d,
    /// Shared subscriptions are not served here.
    SharedSubscriptionsNotSupported = 0x9e,
    /// Connections come too fast.
    ConnectionRateExceeded = 0x9f,
    /// The connection has lived as long as it may.
    MaximumConnectTime = 0xa0,
    /// Subscription identifiers are not served here.
    SubscriptionIdentifiersNotSupported = 0xa1,
    /// Wildcard subscriptions are not served here.
    WildcardSubscriptionsNotSupported = 0xa2,
}

impl ReasonCode {
    /// The byte on the wire.
    #[inline]
    pub fn as_u8(self) -> u8 {
        self as u8
    }

    /// The code a byte stands for; `None` for bytes the standard does not name.
    pub fn from_u8(byte: u8) -> Option<ReasonCode> {
        use ReasonCode as R;
        const ERRORS: [ReasonCode; 35] = [
            R::UnspecifiedError,
            R::MalformedPacket,
            R::ProtocolError,
            R::ImplementationSpecificError,
            R::UnsupportedProtocolVersion,
            R::ClientIdentifierNotValid,
            R::BadUserNameOrPassword,
            R::NotAuthorized,
            R::ServerUnavailable,
            R::ServerBusy,
            R::Banned,
            R::ServerShuttingDown,
            R::BadAuthenticationMethod,
            R::KeepAliveTimeout,
            R::SessionTakenOver,
            R::TopicFilterInvalid,
            R::TopicNameInvalid,
            R::PacketIdentifierInUse,
            R::PacketIdentifierNotFound,
            R::ReceiveMaximumExceeded,
            R::TopicAliasInvalid,
            R::PacketTooLarge,
            R::MessageRateTooHigh,
            R::QuotaExceeded,
            R::AdministrativeAction,
            R::PayloadFormatInvalid,
            R::RetainNotSupported,
            R::QosNotSupported,
            R::UseAnotherServer,
            R::ServerMoved,
            R::SharedSubscriptionsNotSupported,
            R::ConnectionRateExceeded,
            R::MaximumConnectTime,
            R::SubscriptionIdentifiersNotSupported,
            R::WildcardSubscriptionsNotSupported,
        ];
        match byte {
            0x00 => Some(R::Success),
            0x01 => Some(R::GrantedQos1),
            0x02 => Some(R::GrantedQos2),
            0x04 => Some(R::DisconnectWithWill),
            0x10 => Some(R::NoMatchingSubscribers),
            0x11 => Some(R::NoSubscriptionExisted),
            0x18 => Some(R::ContinueAuthentication),
            0x19 => Some(R::Reauthenticate),
            _ => ERRORS.get(usize::from(byte.checked_sub(0x80)?)).copied(),
        }
    }

    /// Whether it says that something failed.
    #[inline]
    pub fn is_error(self) -> bool {
        self.as_u8() >= 0x80
    }

    /// The return code of a MQTT 3.x CONNACK that comes nearest (MQTT 3.1.1, table 3.1).
    pub fn to_v3_connack(self) -> u8 {
        use ReasonCode as R;
        match self {
            code if !code.is_error() => 0,
            R::UnsupportedProtocolVersion => 1,
            R::ClientIdentifierNotValid => 2,
            R::BadUserNameOrPassword | R::BadAuthenticationMethod => 4,
            R::NotAuthorized | R::Banned => 5,
            _ => 3,
        }
    }

    /// What a return code of a MQTT 3.x CONNACK means; `None` for 6 and above, which are reserved.
    pub fn from_v3_connack(byte: u8) -> Option<ReasonCode> {
        use ReasonCode as R;
        const CODES: [ReasonCode; 6] = [
            R::Success,
            R::UnsupportedProtocolVersion,
            R::ClientIdentifierNotValid,
            R::ServerUnavailable,
            R::BadUserNameOrPassword,
            R::NotAuthorized,
        ];
        CODES.get(usize::from(byte)).copied()
    }

    /// Reads a code that must be one of those `is_known` in its packet.
    #[inline]
    pub(super) fn read(
        reader: &mut Reader<'_>,
        is_known: impl Fn(ReasonCode) -> bool,
    ) -> Result<ReasonCode, DecodeError> {
        ReasonCode::from_u8(reader.u8()?)
            .filter(|code| is_known(*code))
            .ok_or(DecodeError::protocol("reason code is not one of this packet type"))
    }
}
