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
        // The PUBLISH is valid, and no code of the standard says why it is not taken: "valid but the receiver is not
        // willing to accept it" (MQTT 5, 3.4.2.1); the reason string says the rest.
        Reason::LevelUnknown
        | Reason::LevelImpossible
        | Reason::ConditionNotMet
        | Reason::ConditionInvalid => ReasonCode::ImplementationSpecificError,
        // An administrative limit was met, as for a store that is away: it may be there again the next time.
        Reason::LevelAway => ReasonCode::QuotaExceeded,
        Reason::LevelDenied => ReasonCode::NotAuthorized,
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

/// The same for a DISCONNECT, which cannot say "unavailable": that belongs to CONNACK (MQTT 5, 3.14.2.1).
pub fn goodbye(reason: Reason) -> ReasonCode {
    match reason {
        Reason::Unavailable => ReasonCode::ServerBusy,
        other => code(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_is_not_had_is_said_by_codes_that_a_puback_may_have() {
        let codes =
            [Reason::LevelUnknown, Reason::LevelImpossible, Reason::LevelAway, Reason::LevelDenied].map(code);
        assert_eq!(codes.map(ReasonCode::as_u8), [0x83, 0x83, 0x97, 0x87]);
    }

    #[test]
    fn a_store_that_is_away_is_no_disconnect_that_clients_cannot_read() {
        assert_eq!(goodbye(Reason::Unavailable), ReasonCode::ServerBusy);
        assert_eq!(goodbye(Reason::TakenOver), ReasonCode::SessionTakenOver);
    }
}
