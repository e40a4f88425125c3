//! What a broker's reason is called in MQTT: one exhaustive match.

use weir_model::Reason;
use weir_wire::mqtt::ReasonCode;

/// The reason code of MQTT 5 (2.4); older versions get it translated by the codec.
pub fn code(reason: Reason) -> ReasonCode {
    match reason {
        Reason::Malformed => ReasonCode::MalformedPacket,
        Reason::Protocol => ReasonCode::ProtocolError,
        Reason::Version => ReasonCode::UnsupportedProtocolVersion,
        Reason::ClientId => ReasonCode::ClientIdentifierNotValid,
        Reason::BadCredentials => ReasonCode::BadUserNameOrPassword,
        Reason::NotAuthorized => ReasonCode::NotAuthorized,
        Reason::TopicInvalid => ReasonCode::TopicNameInvalid,
        Reason::FilterInvalid => ReasonCode::TopicFilterInvalid,
        Reason::TopicAlias => ReasonCode::TopicAliasInvalid,
        Reason::PacketIdInUse => ReasonCode::PacketIdentifierInUse,
        Reason::PacketTooLarge => ReasonCode::PacketTooLarge,
        Reason::PayloadFormat => ReasonCode::PayloadFormatInvalid,
        Reason::ReceiveMaximum => ReasonCode::ReceiveMaximumExceeded,
        Reason::RateTooHigh => ReasonCode::MessageRateTooHigh,
        Reason::Quota => ReasonCode::QuotaExceeded,
        Reason::Busy => ReasonCode::QuotaExceeded,
        Reason::Unavailable => ReasonCode::ServerUnavailable,
        Reason::AuthMethod => ReasonCode::BadAuthenticationMethod,
        Reason::SharedNotAllowed => ReasonCode::SharedSubscriptionsNotSupported,
        Reason::KeepAlive => ReasonCode::KeepAliveTimeout,
        Reason::TakenOver => ReasonCode::SessionTakenOver,
        Reason::ShuttingDown => ReasonCode::ServerShuttingDown,
        Reason::Administrative => ReasonCode::AdministrativeAction,
        Reason::Internal => ReasonCode::UnspecifiedError,
    }
}
