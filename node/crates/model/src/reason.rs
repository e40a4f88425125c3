//! What a client may learn of why it was refused or ended: one list, mapped once per protocol.

/// Why something was refused or a connection ends. Carries no detail of the broker's inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reason {
    #[error("malformed packet")]
    Malformed,
    #[error("protocol error")]
    Protocol,
    #[error("unsupported protocol version")]
    Version,
    #[error("client identifier not valid")]
    ClientId,
    #[error("bad user name or password")]
    BadCredentials,
    #[error("not authorized")]
    NotAuthorized,
    #[error("topic name invalid")]
    TopicInvalid,
    #[error("topic filter invalid")]
    FilterInvalid,
    #[error("topic alias invalid")]
    TopicAlias,
    #[error("packet identifier in use")]
    PacketIdInUse,
    #[error("packet too large")]
    PacketTooLarge,
    #[error("payload format invalid")]
    PayloadFormat,
    #[error("more unacknowledged messages than the receive maximum")]
    ReceiveMaximum,
    #[error("message rate too high")]
    RateTooHigh,
    #[error("quota exceeded")]
    Quota,
    #[error("the text names no acknowledgement level")]
    LevelUnknown,
    #[error("the acknowledgement level cannot be had from this store")]
    LevelImpossible,
    #[error("the acknowledgement level cannot be had at the moment")]
    LevelAway,
    #[error("the acknowledgement level is lower than the policy allows")]
    LevelDenied,
    #[error("the retained value does not meet the condition")]
    ConditionNotMet,
    #[error("the condition is none, or cannot be kept here")]
    ConditionInvalid,
    #[error("server busy")]
    Busy,
    #[error("server unavailable")]
    Unavailable,
    #[error("bad authentication method")]
    AuthMethod,
    #[error("shared subscriptions not allowed here")]
    SharedNotAllowed,
    #[error("keep alive timeout")]
    KeepAlive,
    #[error("session taken over by a newer connection")]
    TakenOver,
    #[error("server shutting down")]
    ShuttingDown,
    #[error("ended by an administrator")]
    Administrative,
    #[error("server error")]
    Internal,
}

impl Reason {
    /// The word for logs and metric labels: a small fixed set.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Malformed => "malformed",
            Reason::Protocol => "protocol",
            Reason::Version => "version",
            Reason::ClientId => "client_id",
            Reason::BadCredentials => "bad_credentials",
            Reason::NotAuthorized => "not_authorized",
            Reason::TopicInvalid => "topic_invalid",
            Reason::FilterInvalid => "filter_invalid",
            Reason::TopicAlias => "topic_alias",
            Reason::PacketIdInUse => "packet_id_in_use",
            Reason::PacketTooLarge => "packet_too_large",
            Reason::PayloadFormat => "payload_format",
            Reason::ReceiveMaximum => "receive_maximum",
            Reason::RateTooHigh => "rate_too_high",
            Reason::Quota => "quota",
            Reason::LevelUnknown => "level_unknown",
            Reason::LevelImpossible => "level_impossible",
            Reason::LevelAway => "level_away",
            Reason::LevelDenied => "level_denied",
            Reason::ConditionNotMet => "condition_not_met",
            Reason::ConditionInvalid => "condition_invalid",
            Reason::Busy => "busy",
            Reason::Unavailable => "unavailable",
            Reason::AuthMethod => "auth_method",
            Reason::SharedNotAllowed => "shared_not_allowed",
            Reason::KeepAlive => "keep_alive",
            Reason::TakenOver => "taken_over",
            Reason::ShuttingDown => "shutting_down",
            Reason::Administrative => "administrative",
            Reason::Internal => "internal",
        }
    }
}
