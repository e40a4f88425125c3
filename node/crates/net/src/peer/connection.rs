//! One connection with a peer whose certificate has been verified.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use quinn::crypto::rustls::HandshakeData;
use quinn::{Connection, SendDatagramError};
use rustls_pki_types::CertificateDer;

use super::{Alpn, NodeId, PeerClosed, PeerRecv, PeerSend, tls, var};

/// A connection with a peer. Clones are the same connection; it ends with the last of them, or by
/// [`PeerConnection::close`].
#[derive(Clone, Debug)]
pub struct PeerConnection {
    connection: Connection,
    alpn: Alpn,
    node: NodeId,
    dialled: bool,
}

/// Why a datagram was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatagramError {
    /// It does not fit into one packet of the path as it is known now.
    #[error("a datagram of {bytes} bytes is too large for the path")]
    TooLarge { bytes: usize },
    /// The connection ended.
    #[error("the connection ended: {0}")]
    Closed(PeerClosed),
}

impl PeerConnection {
    /// `None` if the handshake is not the cluster's: an unknown protocol, or a certificate without a node.
    pub(super) fn new(connection: Connection, dialled: bool) -> Option<Self> {
        let data = connection.handshake_data()?.downcast::<HandshakeData>().ok()?;
        let alpn = Alpn::from_wire(&data.protocol?)?;
        let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
        let node = tls::node_of(chain.first()?)?;
        Some(Self { connection, alpn, node, dialled })
    }

    /// What the connection is for.
    #[must_use]
    pub fn alpn(&self) -> Alpn {
        self.alpn
    }

    /// Where the peer is.
    #[must_use]
    pub fn remote(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    /// The node the peer's certificate names.
    #[must_use]
    pub fn peer_node_id(&self) -> &NodeId {
        &self.node
    }

    /// Whether this side dialled.
    #[must_use]
    pub fn dialled(&self) -> bool {
        self.dialled
    }

    /// Tells connections of this process apart.
    #[must_use]
    pub fn id(&self) -> usize {
        self.connection.stable_id()
    }

    /// The present estimate of the round-trip time.
    #[must_use]
    pub fn rtt(&self) -> Duration {
        self.connection.rtt()
    }

    /// Opens a stream to the peer, who sees it with its first bytes; waits while all allowed are open.
    ///
    /// # Errors
    /// The connection ended.
    pub async fn open_uni(&self) -> Result<PeerSend, PeerClosed> {
        Ok(PeerSend(self.connection.open_uni().await?))
    }

    /// Waits for the next stream of the peer. Cancel safe.
    ///
    /// # Errors
    /// The connection ended.
    pub async fn accept_uni(&self) -> Result<PeerRecv, PeerClosed> {
        Ok(PeerRecv(self.connection.accept_uni().await?))
    }

    /// Opens a stream with both directions, as [`Self::open_uni`].
    ///
    /// # Errors
    /// The connection ended.
    pub async fn open_bi(&self) -> Result<(PeerSend, PeerRecv), PeerClosed> {
        let (send, recv) = self.connection.open_bi().await?;
        Ok((PeerSend(send), PeerRecv(recv)))
    }

    /// Waits for the next stream with both directions. Cancel safe.
    ///
    /// # Errors
    /// The connection ended.
    pub async fn accept_bi(&self) -> Result<(PeerSend, PeerRecv), PeerClosed> {
        let (send, recv) = self.connection.accept_bi().await?;
        Ok((PeerSend(send), PeerRecv(recv)))
    }

    /// Sends a datagram (RFC 9221), which may be lost; older ones not yet sent give way when there is no room.
    ///
    /// # Errors
    /// It is larger than [`Self::max_datagram`], or the connection ended.
    pub fn send_datagram(&self, datagram: Bytes) -> Result<(), DatagramError> {
        let bytes = datagram.len();
        self.connection.send_datagram(datagram).map_err(|error| match error {
            SendDatagramError::ConnectionLost(error) => DatagramError::Closed(error.into()),
            SendDatagramError::TooLarge
            | SendDatagramError::UnsupportedByPeer
            | SendDatagramError::Disabled => DatagramError::TooLarge { bytes },
        })
    }

    /// Waits for the next datagram. Cancel safe.
    ///
    /// # Errors
    /// The connection ended.
    pub async fn read_datagram(&self) -> Result<Bytes, PeerClosed> {
        Ok(self.connection.read_datagram().await?)
    }

    /// Bytes of the largest datagram the path carries now; it changes with what is learnt of the path.
    #[must_use]
    pub fn max_datagram(&self) -> usize {
        self.connection.max_datagram_size().unwrap_or(0)
    }

    /// Ends the connection at once, with a number of [`super::code`] and words for people; what is not delivered is lost.
    pub fn close(&self, code: u32, reason: &str) {
        self.connection.close(var(code), reason.as_bytes());
    }

    /// Waits until the connection has ended, and says why.
    pub async fn closed(&self) -> PeerClosed {
        self.connection.closed().await.into()
    }

    /// Why the connection ended, if it has.
    #[must_use]
    pub fn close_reason(&self) -> Option<PeerClosed> {
        self.connection.close_reason().map(Into::into)
    }
}
