//! Gossip over peer connections: a datagram where the message fits into one, a stream of its own where not.
//!
//! Gossip may be lost: it repeats itself. So every queue here drops what finds no room, and counts it.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use chitchat::transport::{Socket, Transport};
use chitchat::{ChitchatMessage, Serializable};
use metrics::counter;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use weir_net::peer::{Alpn, PeerEndpoint};

mod connections;
mod intake;
mod lines;

use connections::Connections;
use intake::Intake;
use lines::Lines;

/// Bytes of one message, the bound of the gossip protocol itself.
pub(crate) const MESSAGE_BYTES_MAX: usize = 65_507;
/// Messages received and not yet handled; more are dropped.
const INBOX_MESSAGES_MAX: usize = 1024;

/// Gossip's way over the peer endpoint.
pub(crate) struct GossipTransport {
    endpoint: PeerEndpoint,
    cluster_id: Arc<str>,
    accepting: Mutex<Option<AbortHandle>>,
}

/// Both directions of gossip. Dropped, all its connections end.
struct GossipSocket {
    lines: Lines,
    inbox: mpsc::Receiver<(SocketAddr, ChitchatMessage)>,
    accepting: AbortHandle,
}

impl GossipTransport {
    pub fn new(endpoint: PeerEndpoint, cluster_id: Arc<str>) -> Self {
        Self { endpoint, cluster_id, accepting: Mutex::new(None) }
    }
}

// The errors of these traits are anyhow's; none is ever returned but for a closed endpoint.
#[async_trait]
impl Transport for GossipTransport {
    /// Begins to accept; the endpoint listens already, whatever the address given here.
    async fn open(&self, _: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let (sender, inbox) = mpsc::channel(INBOX_MESSAGES_MAX);
        let connections = Connections::default();
        let intake = Intake::new(sender, connections.clone(), self.cluster_id.clone());
        let lines = Lines::new(self.endpoint.clone(), connections, intake.clone());
        let accepting = tokio::spawn(accept(self.endpoint.clone(), intake)).abort_handle();
        if let Some(before) = self.accepting.lock().replace(accepting.clone()) {
            before.abort();
        }
        Ok(Box::new(GossipSocket { lines, inbox, accepting }))
    }
}

#[async_trait]
impl Socket for GossipSocket {
    /// Queues the message for its peer and never waits: this runs inside the gossip loop.
    async fn send(&mut self, to: SocketAddr, message: ChitchatMessage) -> anyhow::Result<()> {
        let mut bytes = Vec::with_capacity(message.serialized_len());
        message.serialize(&mut bytes);
        if bytes.len() > MESSAGE_BYTES_MAX {
            dropped("too_long");
        } else {
            self.lines.send(to, bytes.into());
        }
        Ok(())
    }

    async fn recv(&mut self) -> anyhow::Result<(SocketAddr, ChitchatMessage)> {
        self.inbox.recv().await.ok_or_else(|| anyhow::anyhow!("the peer endpoint is closed"))
    }
}

impl Drop for GossipSocket {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(endpoint: PeerEndpoint, intake: Intake) {
    while let Some(connection) = endpoint.accept(Alpn::Gossip).await {
        intake.take(connection);
    }
}

fn dropped(reason: &'static str) {
    counter!("weir_cluster_gossip_dropped_total", "reason" => reason).increment(1);
}

fn passed(way: &'static str) {
    counter!("weir_cluster_gossip_messages_total", "direction" => way).increment(1);
}
