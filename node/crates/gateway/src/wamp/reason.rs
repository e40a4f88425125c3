//! What a broker's reason is called in WAMP: one exhaustive match.

use weir_model::Reason;

pub const PROTOCOL_VIOLATION: &str = "wamp.error.protocol_violation";
pub const INVALID_URI: &str = "wamp.error.invalid_uri";
pub const INVALID_ARGUMENT: &str = "wamp.error.invalid_argument";
pub const NOT_AUTHORIZED: &str = "wamp.error.not_authorized";
pub const NO_SUCH_SUBSCRIPTION: &str = "wamp.error.no_such_subscription";
pub const NO_SUCH_SESSION: &str = "wamp.error.no_such_session";
pub const NO_SUCH_REALM: &str = "wamp.error.no_such_realm";
pub const NO_SUCH_PROCEDURE: &str = "wamp.error.no_such_procedure";
pub const GOODBYE_AND_OUT: &str = "wamp.close.goodbye_and_out";

/// The URI of an ERROR or ABORT (WAMP, "Predefined URIs"); `fox`: as clients of fox-wamp know it.
pub fn uri(reason: Reason, fox: bool) -> &'static str {
    match reason {
        Reason::NotAuthorized | Reason::LevelDenied if fox => "wamp.error.authorization_failed",
        Reason::NotAuthorized | Reason::LevelDenied => NOT_AUTHORIZED,
        Reason::ConditionNotMet => "wamp.error.invalid_payload",
        Reason::BadCredentials => "wamp.error.authentication_failed",
        Reason::AuthMethod => "wamp.error.no_matching_auth_method",
        Reason::TopicInvalid | Reason::FilterInvalid => INVALID_URI,
        Reason::Malformed
        | Reason::Protocol
        | Reason::Version
        | Reason::TopicAlias
        | Reason::PacketIdInUse => PROTOCOL_VIOLATION,
        Reason::PayloadFormat
        | Reason::ConditionInvalid
        | Reason::LevelUnknown
        | Reason::LevelImpossible
        | Reason::SharedNotAllowed
        | Reason::ClientId => INVALID_ARGUMENT,
        Reason::PacketTooLarge => "wamp.error.payload_size_exceeded",
        Reason::Quota | Reason::RateTooHigh | Reason::ReceiveMaximum => "wamp.error.quota_exceeded",
        Reason::Busy | Reason::Unavailable | Reason::LevelAway => "wamp.error.unavailable",
        Reason::KeepAlive => "wamp.close.timeout",
        Reason::TakenOver | Reason::Administrative => "wamp.close.killed",
        Reason::ShuttingDown => "wamp.close.system_shutdown",
        Reason::Internal => "wamp.error.internal",
    }
}
