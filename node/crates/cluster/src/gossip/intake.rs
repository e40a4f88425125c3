//! What is received: every connection has a reader, which ends it over anything that is no gossip of this cluster.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chitchat::{ChitchatMessage, Deserializable};
use metrics::counter;
use tokio::sync::mpsc;
use tokio::time::timeout;
use weir_net::peer::{PeerClosed, PeerConnection, PeerRecv, StreamError, code};

use super::connections::Connections;
use super::{MESSAGE_BYTES_MAX, dropped, passed};
use crate::membership::Refusal;

/// A connection on which nothing came for so long is ended; the next message makes a new one.
const IDLE: Duration = Duration::from_secs(30);
/// How long one message on a stream may take.
const STREAM_TIMEOUT: Duration = Duration::from_secs(2);

/// Makes readers, all of which fill the one bounded inbox.
#[derive(Clone)]
pub(super) struct Intake {
    inbox: mpsc::Sender<(SocketAddr, ChitchatMessage)>,
    connections: Connections,
    cluster_id: Arc<str>,
}

/// Why this side ends a connection.
enum End {
    /// It ended, or there is nobody to read for.
    Over,
    Idle,
    Malformed,
    TooLong,
    OtherCluster,
}

impl Intake {
    pub fn new(
        inbox: mpsc::Sender<(SocketAddr, ChitchatMessage)>,
        connections: Connections,
        cluster_id: Arc<str>,
    ) -> Self {
        Self { inbox, connections, cluster_id }
    }

    /// Reads a connection from now on; false if there are too many.
    pub fn take(&self, connection: PeerConnection) -> bool {
        if !self.connections.insert(&connection) {
            dropped("connections_full");
            connection.close(code::BUSY, "too many gossip connections");
            return false;
        }
        let intake = self.clone();
        tokio::spawn(async move {
            let end = intake.read(&connection).await;
            intake.connections.remove(&connection);
            if end.tell(&connection) {
                intake.connections.shun(connection.remote());
            }
        });
        true
    }

    async fn read(&self, connection: &PeerConnection) -> End {
        loop {
            let message = tokio::select! {
                () = self.inbox.closed() => return End::Over,
                datagram = timeout(IDLE, connection.read_datagram()) => match datagram {
                    Ok(Ok(datagram)) => datagram,
                    Ok(Err(_)) => return End::Over,
                    Err(_) => return End::Idle,
                },
                stream = connection.accept_uni() => match stream {
                    Ok(stream) => match read_stream(stream).await {
                        Ok(Some(message)) => message,
                        Ok(None) => continue,
                        Err(end) => return end,
                    },
                    Err(_) => return End::Over,
                },
            };
            if let Err(end) = self.admit(connection.remote(), &message) {
                return end;
            }
        }
    }

    fn admit(&self, from: SocketAddr, mut bytes: &[u8]) -> Result<(), End> {
        let message = ChitchatMessage::deserialize(&mut bytes).map_err(|_| End::Malformed)?;
        match &message {
            ChitchatMessage::Syn { cluster_id, .. } if **cluster_id != *self.cluster_id => {
                return Err(End::OtherCluster);
            }
            // Never sent by this program, which ends the connection instead.
            ChitchatMessage::BadCluster => return Err(End::OtherCluster),
            _ => {}
        }
        passed("received");
        if self.inbox.try_send((from, message)).is_err() {
            dropped("inbox_full");
        }
        Ok(())
    }
}

/// `None` if the peer gave up or is too slow.
async fn read_stream(mut stream: PeerRecv) -> Result<Option<Bytes>, End> {
    match timeout(STREAM_TIMEOUT, stream.read_to_end(MESSAGE_BYTES_MAX)).await {
        Ok(Ok(message)) => Ok(Some(message.into())),
        Ok(Err(StreamError::TooLong { .. })) => Err(End::TooLong),
        Ok(Err(StreamError::Connection(_))) => Err(End::Over),
        Ok(Err(_)) | Err(_) => {
            dropped("slow");
            Ok(None)
        }
    }
}

impl End {
    /// Ends the connection, tells the peer why, and counts it; says what the peer said if it was the peer.
    /// True if one of the two refuses the other.
    fn tell(self, connection: &PeerConnection) -> bool {
        let (node, remote) = (connection.peer_node_id(), connection.remote());
        match self {
            Self::Over => match connection.close_reason() {
                Some(PeerClosed::ByPeer { code, reason }) => {
                    return refused_by_peer(connection, code, &reason);
                }
                Some(_) => {}
                None => connection.close(code::DONE, ""),
            },
            Self::Idle => connection.close(code::DONE, "idle"),
            Self::Malformed => {
                dropped("malformed");
                tracing::warn!(%node, %remote, "what a peer sent is no gossip");
                connection.close(code::MALFORMED, "this is no gossip");
                return true;
            }
            Self::TooLong => {
                dropped("too_long");
                tracing::warn!(%node, %remote, "a peer's gossip message is too long");
                connection.close(code::TOO_LONG, "a gossip message is too long");
                return true;
            }
            Self::OtherCluster => {
                let why = Refusal::OtherCluster;
                counter!("weir_cluster_refused_total", "reason" => why.as_str()).increment(1);
                tracing::warn!(%node, %remote, %why, "node refused");
                connection.close(code::OTHER_CLUSTER, "this is another cluster");
                return true;
            }
        }
        false
    }
}

/// Whether the peer ended the connection because it wants none with this node.
fn refused_by_peer(connection: &PeerConnection, code: u64, reason: &str) -> bool {
    let word = match u32::try_from(code) {
        Ok(code::DONE | code::LEAVING | code::SECOND | code::DEAD) => return false,
        Ok(code::OTHER_CLUSTER) => "other_cluster",
        Ok(code::BUSY) => "busy",
        Ok(code::MALFORMED | code::TOO_LONG) => "malformed",
        _ => "other",
    };
    counter!("weir_cluster_refused_by_peer_total", "code" => word).increment(1);
    let (node, remote) = (connection.peer_node_id(), connection.remote());
    tracing::warn!(%node, %remote, code, reason, "a peer refuses this node");
    true
}
