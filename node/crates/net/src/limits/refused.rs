//! Why a connection is not let near: a label of metrics.

/// The limit or rule that stood against a connection before its client said a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    /// `connections_max` is reached.
    #[error("too many connections")]
    Connections,
    /// `connections_per_address_max` is reached.
    #[error("too many connections from one address")]
    Address,
    /// `half_open_max` is reached, and this was the oldest.
    #[error("too many half-open connections")]
    HalfOpen,
    /// `half_open_per_address_max` is reached.
    #[error("too many half-open connections from one address")]
    HalfOpenAddress,
    /// `connects_per_second` is reached.
    #[error("connections come too fast")]
    Rate,
    /// `connects_per_second_per_address` is reached.
    #[error("connections come too fast from one address")]
    RateAddress,
    /// The node is short of memory and accepts nobody.
    #[error("accepting is paused")]
    Pressure,
    /// No file descriptor is left; one kept for this was used to tell the client.
    #[error("no file descriptor is left")]
    Files,
    /// Who is no trusted proxy came to a listener that only proxies may use.
    #[error("not a trusted proxy")]
    Untrusted,
    /// A trusted proxy did not begin with a PROXY protocol header, or with a broken one.
    #[error("no valid proxy protocol header")]
    ProxyHeader,
}

impl Refused {
    /// All of them, in a fixed order.
    pub const ALL: [Self; 10] = [
        Self::Connections,
        Self::Address,
        Self::HalfOpen,
        Self::HalfOpenAddress,
        Self::Rate,
        Self::RateAddress,
        Self::Pressure,
        Self::Files,
        Self::Untrusted,
        Self::ProxyHeader,
    ];

    /// The name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Address => "address",
            Self::HalfOpen => "half_open",
            Self::HalfOpenAddress => "half_open_address",
            Self::Rate => "rate",
            Self::RateAddress => "rate_address",
            Self::Pressure => "pressure",
            Self::Files => "files",
            Self::Untrusted => "untrusted",
            Self::ProxyHeader => "proxy_header",
        }
    }
}
