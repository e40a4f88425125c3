//! The open gossip connections by their peers' addresses.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use parking_lot::Mutex;
use tokio::time::Instant;
use weir_net::peer::PeerConnection;

/// Gossip connections at once; one more is refused.
const CONNECTIONS_MAX: usize = 1024;

/// How long a peer that refused this node, or was refused, is not dialled.
const SHUNNED: Duration = Duration::from_secs(5);

/// Shared by all that send and receive. When both sides dialled, the newest connection carries what is sent;
/// the other ends of idleness.
#[derive(Clone, Default)]
pub(super) struct Connections(Arc<Mutex<Open>>);

#[derive(Default)]
struct Open {
    newest: HashMap<SocketAddr, PeerConnection>,
    count: usize,
    /// Until when peers are not dialled.
    shunned: HashMap<SocketAddr, Instant>,
}

impl Connections {
    /// Adds one; false if there are too many.
    pub fn insert(&self, connection: &PeerConnection) -> bool {
        let mut open = self.0.lock();
        if open.count >= CONNECTIONS_MAX {
            return false;
        }
        open.count += 1;
        open.newest.insert(connection.remote(), connection.clone());
        gauge!("weir_cluster_gossip_connections").set(open.count as f64);
        true
    }

    /// Takes one that was added out.
    pub fn remove(&self, connection: &PeerConnection) {
        let mut open = self.0.lock();
        open.count -= 1;
        open.newest.retain(|_, newest| newest.id() != connection.id());
        gauge!("weir_cluster_gossip_connections").set(open.count as f64);
    }

    /// The connection to a peer, if there is one that lives.
    pub fn get(&self, address: SocketAddr) -> Option<PeerConnection> {
        let open = self.0.lock();
        open.newest.get(&address).filter(|connection| connection.close_reason().is_none()).cloned()
    }

    /// Leaves a peer alone for a while: one of the two has refused the other.
    pub fn shun(&self, address: SocketAddr) {
        let now = Instant::now();
        let mut open = self.0.lock();
        open.shunned.retain(|_, until| now < *until);
        if open.shunned.len() < CONNECTIONS_MAX {
            open.shunned.insert(address, now + SHUNNED);
        }
    }

    /// Whether a peer is to be left alone.
    pub fn is_shunned(&self, address: SocketAddr) -> bool {
        self.0.lock().shunned.get(&address).is_some_and(|until| Instant::now() < *until)
    }
}
