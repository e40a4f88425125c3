//! The one UDP socket of a node's peer connections: it listens, dials and sorts what is accepted by ALPN.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use parking_lot::RwLock;
use quinn::congestion::CubicConfig;
use quinn::{
    ClientConfig, ConnectionError, Endpoint, EndpointConfig, Incoming, MtuDiscoveryConfig, TransportConfig,
};
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::tls::CLUSTER_NAME;
use super::{Alpn, NodeId, PeerBindError, PeerClosed, PeerConnectError, PeerConnection, PeerTls, code, var};
use crate::quic::udp_socket;

/// How long a peer that is dialled has for the whole handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long somebody who dials this node has for the whole handshake.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(3);
/// Handshakes under way at once; one more is refused.
const HANDSHAKES_MAX: usize = 256;
/// With more handshakes under way than this, a caller must first prove that it owns its address (RFC 9000 section 8.1.2).
const HANDSHAKES_UNPROVEN: usize = 32;
/// Accepted connections of one protocol that nobody has taken yet; one more is closed with [`code::BUSY`].
const ACCEPTED_MAX: usize = 64;
/// Silence after which a peer's connection is over. Gossip notices a death sooner; this ends what it does not see.
const IDLE_TIMEOUT_MS: u32 = 3_000;
/// Silence after which a connection is kept alive by a ping.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// Round trips within a cluster are short; this is the guess before the first is measured.
const INITIAL_RTT: Duration = Duration::from_millis(50);
/// Bytes under way on one connection, each way. More than a path within a cluster holds would only wait in
/// memory, and leave the processor's caches meanwhile.
const CONNECTION_WINDOW: u32 = 8 << 20;
/// Bytes under way on one stream.
const STREAM_WINDOW: u32 = 2 << 20;
/// Bytes of a packet at first: what Ethernet carries. Smaller paths are found out by lost probes.
const INITIAL_MTU: u16 = 1452;
/// Bytes of a packet where the path carries more, by jumbo frames or on one machine: each packet costs the
/// same whatever its length. Ten of them, as many as are given to the system at once, fit in one UDP send.
const MTU_MAX: u16 = 6500;
/// Bytes that may be under way before the path is known. Probes of [`MTU_MAX`] would fill the usual ten
/// packets of Ethernet's size, and a connection closed meanwhile could not say so.
const INITIAL_WINDOW: u64 = 128 << 10;
/// Streams a peer may have open at once, of each kind.
const STREAMS_MAX: u32 = 64;
/// Bytes of datagrams that wait to be read, and to be sent; beyond, the oldest are lost.
const DATAGRAMS_BYTES_MAX: usize = 1 << 20;

/// Listens for peers and dials them. Clones are the same endpoint; with the last of them all connections end.
#[derive(Clone, Debug)]
pub struct PeerEndpoint(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    endpoint: Endpoint,
    node: NodeId,
    /// What the next handshake uses.
    tls: RwLock<PeerTls>,
    transport: Arc<TransportConfig>,
    gossip: Mutex<mpsc::Receiver<PeerConnection>>,
    link: Mutex<mpsc::Receiver<PeerConnection>>,
    sorting: JoinHandle<()>,
}

/// A certificate that names another node than the one the endpoint speaks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this node is {node}, and the certificate is for {certificate}")]
pub struct OtherNode {
    pub node: NodeId,
    pub certificate: NodeId,
}

/// Where accepted connections go, by protocol. Bounded; a connection that finds no room is closed.
#[derive(Clone)]
struct Sorted {
    gossip: mpsc::Sender<PeerConnection>,
    link: mpsc::Sender<PeerConnection>,
}

impl PeerEndpoint {
    /// Binds the socket and begins to listen; within a tokio runtime.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn bind(address: SocketAddr, tls: PeerTls) -> Result<Self, PeerBindError> {
        let transport = Arc::new(transport());
        let server = server(&tls, &transport);
        let runtime = Arc::new(quinn::TokioRuntime);
        let mut config = EndpointConfig::default();
        // An error says that no packet may be so long.
        let _ = config.max_udp_payload_size(MTU_MAX);
        let endpoint = udp_socket(address)
            .and_then(|socket| Endpoint::new(config, Some(server), socket, runtime))
            .map_err(|source| PeerBindError::Socket { address, source })?;
        let (gossip, gossip_taken) = mpsc::channel(ACCEPTED_MAX);
        let (link, link_taken) = mpsc::channel(ACCEPTED_MAX);
        let sorting = tokio::spawn(sort(endpoint.clone(), Sorted { gossip, link }));
        let (gossip, link) = (Mutex::new(gossip_taken), Mutex::new(link_taken));
        let (node, tls) = (tls.node_id().clone(), RwLock::new(tls));
        Ok(Self(Arc::new(Shared { endpoint, node, tls, transport, gossip, link, sorting })))
    }

    /// The address that was bound.
    ///
    /// # Errors
    /// The system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.endpoint.local_addr()
    }

    /// The node this endpoint speaks for.
    #[must_use]
    pub fn node_id(&self) -> &NodeId {
        &self.0.node
    }

    /// Handshakes from now on, dialled or accepted, use this; connections that stand stay as they are.
    ///
    /// # Errors
    /// It is another node's.
    pub fn renew(&self, tls: PeerTls) -> Result<(), OtherNode> {
        if *tls.node_id() != self.0.node {
            return Err(OtherNode { node: self.0.node.clone(), certificate: tls.node_id().clone() });
        }
        self.0.endpoint.set_server_config(Some(server(&tls, &self.0.transport)));
        *self.0.tls.write() = tls;
        Ok(())
    }

    /// Dials a peer. The peer proves with its certificate that it belongs to the cluster; which node it is
    /// says [`PeerConnection::peer_node_id`]. The peer may still refuse this node: that ends the connection soon after.
    ///
    /// # Errors
    /// Nobody answered within 2 seconds, or it was nobody of the cluster.
    pub async fn connect(&self, address: SocketAddr, alpn: Alpn) -> Result<PeerConnection, PeerConnectError> {
        let mut config = ClientConfig::new(self.0.tls.read().client(alpn));
        config.transport_config(self.0.transport.clone());
        let connecting = self
            .0
            .endpoint
            .connect_with(config, address, CLUSTER_NAME)
            .map_err(|source| PeerConnectError::Dial { address, source })?;
        let millis = CONNECT_TIMEOUT.as_millis() as u64;
        let connection = timeout(CONNECT_TIMEOUT, connecting)
            .await
            .map_err(|_| PeerConnectError::Silent { address, millis })?
            .map_err(|error| PeerConnectError::Handshake { address, source: error.into() })?;
        PeerConnection::new(connection.clone(), true).ok_or_else(|| {
            connection.close(var(code::NO_NAME), b"the certificate names no node");
            PeerConnectError::NoName { address }
        })
    }

    /// Waits for the next peer that dialled for `alpn` and proved who it is; `None` once the endpoint is closed. Cancel safe.
    pub async fn accept(&self, alpn: Alpn) -> Option<PeerConnection> {
        match alpn {
            Alpn::Gossip => self.0.gossip.lock().await.recv().await,
            Alpn::Link => self.0.link.lock().await.recv().await,
        }
    }

    /// Ends all connections at once, with a number of [`code`] and words for people, and listens no more.
    pub fn close(&self, code: u32, reason: &str) {
        self.0.sorting.abort();
        self.0.endpoint.close(var(code), reason.as_bytes());
    }

    /// Waits until the peers have been told of the end of all connections, or do not answer.
    pub async fn wait_idle(&self) {
        self.0.endpoint.wait_idle().await;
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.sorting.abort();
        self.endpoint.close(var(code::DONE), b"");
    }
}

fn server(tls: &PeerTls, transport: &Arc<TransportConfig>) -> quinn::ServerConfig {
    let mut server = quinn::ServerConfig::with_crypto(tls.server.clone());
    server.transport_config(transport.clone()).max_incoming(HANDSHAKES_MAX);
    server
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(MTU_MAX);
    let mut congestion = CubicConfig::default();
    congestion.initial_window(INITIAL_WINDOW);
    transport
        .max_concurrent_bidi_streams(STREAMS_MAX.into())
        .max_concurrent_uni_streams(STREAMS_MAX.into())
        .datagram_receive_buffer_size(Some(DATAGRAMS_BYTES_MAX))
        .datagram_send_buffer_size(DATAGRAMS_BYTES_MAX)
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(CONNECTION_WINDOW.into())
        .send_window(CONNECTION_WINDOW.into())
        .initial_mtu(INITIAL_MTU)
        .mtu_discovery_config(Some(discovery))
        .congestion_controller_factory(Arc::new(congestion))
        .initial_rtt(INITIAL_RTT)
        .max_idle_timeout(Some(var(IDLE_TIMEOUT_MS).into()))
        .keep_alive_interval(Some(KEEP_ALIVE));
    transport
}

/// Takes callers until the endpoint is closed; each handshake is a task of its own.
async fn sort(endpoint: Endpoint, sorted: Sorted) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    while let Some(incoming) = endpoint.accept().await {
        let crowded = handshakes.available_permits() < HANDSHAKES_MAX - HANDSHAKES_UNPROVEN;
        if crowded && !incoming.remote_address_validated() && incoming.may_retry() {
            // An error says that it has been validated after all.
            let _ = incoming.retry();
            continue;
        }
        let Ok(permit) = handshakes.clone().try_acquire_owned() else {
            refused("busy");
            incoming.refuse();
            continue;
        };
        let sorted = sorted.clone();
        tokio::spawn(async move {
            sorted.admit(incoming).await;
            drop(permit);
        });
    }
}

impl Sorted {
    /// Completes one handshake and hands the connection on.
    async fn admit(&self, incoming: Incoming) {
        let remote = incoming.remote_address();
        let connection = match timeout(ACCEPT_TIMEOUT, async { incoming.accept()?.await }).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                refused(reason(&error));
                let error = PeerClosed::from(error);
                return tracing::warn!(%remote, %error, "no peer of this cluster, refused");
            }
            Err(_) => return refused("timeout"),
        };
        let Some(peer) = PeerConnection::new(connection.clone(), false) else {
            refused("name");
            connection.close(var(code::NO_NAME), b"the certificate names no node");
            return;
        };
        let queue = if peer.alpn() == Alpn::Gossip { &self.gossip } else { &self.link };
        if let Err(mpsc::error::TrySendError::Full(peer)) = queue.try_send(peer) {
            refused("busy");
            peer.close(code::BUSY, "too many connections wait to be served");
        }
    }
}

fn refused(reason: &'static str) {
    counter!("weir_net_peer_refused_total", "reason" => reason).increment(1);
}

/// TLS alerts are transport errors from 0x100 on (RFC 9001 section 4.8).
fn reason(error: &ConnectionError) -> &'static str {
    match error {
        ConnectionError::TransportError(error) if u64::from(error.code) >= 0x100 => "certificate",
        ConnectionError::ConnectionClosed(close) if u64::from(close.error_code) >= 0x100 => "certificate",
        ConnectionError::TimedOut => "timeout",
        _ => "handshake",
    }
}
