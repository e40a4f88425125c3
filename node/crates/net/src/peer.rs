//! The peer endpoint: QUIC between the nodes of a cluster, both sides proven by the cluster's authority.
//!
//! One UDP socket listens and dials, so a connection's remote address is the address its peer listens at.
//! TLS 1.3 with certificates on both sides (RFC 9001); the protocol of a connection is chosen by ALPN.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use quinn::{ConnectionError, VarInt};

mod authority;
mod connection;
mod endpoint;
mod files;
mod stream;
mod tls;

pub use authority::{AuthorityError, CA_FILE, CA_KEY_FILE, NODE_FILE, NODE_KEY_FILE, PeerAuthority};
pub use connection::{DatagramError, PeerConnection};
pub use endpoint::{OtherNode, PeerEndpoint};
pub use files::{PeerFiles, RenewError, Renewal};
pub use stream::{PeerRecv, PeerSend, StreamError};
pub use tls::PeerTls;

/// Application error codes of peer connections (RFC 9000 section 20.2); the numbers never change meaning.
pub mod code {
    /// All is said; nothing went wrong.
    pub const DONE: u32 = 0;
    /// The node leaves the cluster.
    pub const LEAVING: u32 = 1;
    /// What was received does not follow the protocol.
    pub const MALFORMED: u32 = 2;
    /// A message is longer than allowed.
    pub const TOO_LONG: u32 = 3;
    /// The peer belongs to another cluster.
    pub const OTHER_CLUSTER: u32 = 4;
    /// The peer speaks only versions that are unknown here.
    pub const VERSION: u32 = 5;
    /// The peer keeps its messages elsewhere.
    pub const OTHER_STORE: u32 = 6;
    /// There is a newer incarnation of the peer.
    pub const OLD_INCARNATION: u32 = 7;
    /// There is such a connection already.
    pub const SECOND: u32 = 8;
    /// Too many connections wait to be served.
    pub const BUSY: u32 = 9;
    /// The certificate names no node.
    pub const NO_NAME: u32 = 10;
    /// The peer counts as dead.
    pub const DEAD: u32 = 11;
}

/// What a peer connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Alpn {
    /// Membership.
    Gossip,
    /// Messages, interest and calls.
    Link,
}

impl Alpn {
    const ALL: [Self; 2] = [Self::Gossip, Self::Link];

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gossip => "weir-gossip/1",
            Self::Link => "weir-link/1",
        }
    }

    fn from_wire(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|alpn| alpn.as_str().as_bytes() == name)
    }
}

/// The name of a node: 1 to 200 letters, digits, `-`, `_` and `.`, as it stands in its certificate.
/// It neither begins nor ends with a dot nor has two in a row, and each part between dots has 63 bytes at most.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(Arc<str>);

/// Why a name cannot be a node's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name:?} cannot name a node: allowed are 1 to 200 letters, digits, `-`, `_` and `.`, \
     with 1 to 63 of them between dots"
)]
pub struct NodeIdError {
    /// The beginning of what was given.
    pub name: String,
}

impl NodeId {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeId {
    type Err = NodeIdError;

    fn from_str(name: &str) -> Result<Self, NodeIdError> {
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        if name.len() <= 200 && name.split('.').all(label) {
            Ok(Self(name.into()))
        } else {
            Err(NodeIdError { name: name.chars().take(64).collect() })
        }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// Why a peer endpoint could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum PeerBindError {
    /// The UDP socket.
    #[error("cannot listen for peers on {address}: {source}")]
    Socket { address: SocketAddr, source: io::Error },
}

/// Why there is no connection to a peer.
#[derive(Debug, thiserror::Error)]
pub enum PeerConnectError {
    /// The address cannot be dialled, or this endpoint is closed.
    #[error("cannot dial {address}: {source}")]
    Dial { address: SocketAddr, source: quinn::ConnectError },
    /// Nobody answered in time.
    #[error("no answer from {address} in {millis} ms")]
    Silent { address: SocketAddr, millis: u64 },
    /// Somebody answered and it came to nothing: no certificate of this cluster, for one.
    #[error("no connection with {address}: {source}")]
    Handshake { address: SocketAddr, source: PeerClosed },
    /// The peer's certificate is the cluster's, and names no node.
    #[error("the certificate of {address} names no node")]
    NoName { address: SocketAddr },
}

/// Why a peer connection ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerClosed {
    /// The other side closed it, with one of the numbers in [`code`] and words for people.
    #[error("closed by the peer with code {code}: {reason}")]
    ByPeer { code: u64, reason: String },
    /// This side closed it.
    #[error("closed here")]
    Here,
    /// Nothing was heard for the idle timeout.
    #[error("the peer fell silent")]
    Silent,
    /// The other side has forgotten the connection: it was started anew, mostly.
    #[error("the peer does not know the connection")]
    Reset,
    /// TLS or QUIC itself failed.
    #[error("{0}")]
    Transport(String),
}

impl From<ConnectionError> for PeerClosed {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => Self::ByPeer {
                code: close.error_code.into_inner(),
                reason: String::from_utf8_lossy(&close.reason).chars().take(200).collect(),
            },
            ConnectionError::LocallyClosed => Self::Here,
            ConnectionError::TimedOut => Self::Silent,
            ConnectionError::Reset => Self::Reset,
            other => Self::Transport(other.to_string()),
        }
    }
}

fn var(code: u32) -> VarInt {
    VarInt::from_u32(code)
}
