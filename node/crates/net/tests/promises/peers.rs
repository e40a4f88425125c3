//! Connections between nodes: whom they believe, and what they carry.

use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use quinn::crypto::rustls::QuicClientConfig;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_net::peer::{
    Alpn, AuthorityError, CA_FILE, CA_KEY_FILE, NODE_FILE, NODE_KEY_FILE, NodeId, PeerAuthority, PeerClosed,
    PeerConnectError, PeerConnection, PeerEndpoint, PeerTls, StreamError, code,
};

/// An authority with the files of its nodes.
struct Cluster {
    authority: PeerAuthority,
    dir: TempDir,
}

impl Cluster {
    fn new() -> Self {
        weir_net::tls::install_ring();
        Self {
            authority: PeerAuthority::generate().expect("an authority"),
            dir: tempfile::tempdir().expect("a directory"),
        }
    }

    fn files(&self, node: &str) -> PathBuf {
        let dir = self.dir.path().join(node);
        if !dir.exists() {
            self.authority.issue_node(&id(node), &dir).expect("files");
        }
        dir
    }

    fn tls(&self, node: &str) -> PeerTls {
        self.tls_believing(node, self)
    }

    /// The node shows this cluster's certificate and believes those of another.
    fn tls_believing(&self, node: &str, other: &Self) -> PeerTls {
        let (ca, own) = (other.files(node), self.files(node));
        PeerTls::from_pem(&ca.join(CA_FILE), &own.join(NODE_FILE), &own.join(NODE_KEY_FILE))
            .expect("settings")
    }

    fn endpoint(&self, node: &str) -> PeerEndpoint {
        bind(self.tls(node))
    }
}

fn id(name: &str) -> NodeId {
    name.parse().expect("a name")
}

fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn bind(tls: PeerTls) -> PeerEndpoint {
    PeerEndpoint::bind(any(), tls).expect("an endpoint")
}

fn address(endpoint: &PeerEndpoint) -> SocketAddr {
    endpoint.local_addr().expect("an address")
}

/// Both ends of a connection between two new nodes, the dialling one first, with their endpoints.
async fn connected(alpn: Alpn) -> (PeerConnection, PeerConnection, [PeerEndpoint; 2], Cluster) {
    let cluster = Cluster::new();
    let (a, b) = (cluster.endpoint("a"), cluster.endpoint("b"));
    let dialled = a.connect(address(&b), alpn).await.expect("a connection");
    let accepted = b.accept(alpn).await.expect("a connection");
    (dialled, accepted, [a, b], cluster)
}

#[tokio::test]
async fn both_sides_know_which_node_the_other_is_and_where_it_listens() {
    let (dialled, accepted, [a, b], _cluster) = connected(Alpn::Link).await;
    assert_eq!(dialled.peer_node_id(), &id("b"));
    assert_eq!(accepted.peer_node_id(), &id("a"));
    assert_eq!(dialled.remote(), address(&b));
    assert_eq!(accepted.remote(), address(&a), "one socket listens and dials");
    assert!(dialled.dialled() && !accepted.dialled());
}

#[tokio::test]
async fn connections_are_sorted_by_what_they_are_for() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.endpoint("a"), cluster.endpoint("b"));
    let _link = a.connect(address(&b), Alpn::Link).await.expect("a link");
    let _gossip = a.connect(address(&b), Alpn::Gossip).await.expect("gossip");
    assert_eq!(b.accept(Alpn::Gossip).await.map(|accepted| accepted.alpn()), Some(Alpn::Gossip));
    assert_eq!(b.accept(Alpn::Link).await.map(|accepted| accepted.alpn()), Some(Alpn::Link));
}

#[tokio::test]
async fn streams_carry_bytes_in_order_both_ways() {
    let (a, b, _ends, _cluster) = connected(Alpn::Link).await;
    let (mut send, mut recv) = a.open_bi().await.expect("a stream");
    send.write_chunk(Bytes::from_static(b"one ")).await.expect("written");
    send.write_all(b"two").await.expect("written");
    send.finish().expect("finished");
    let (mut answer, mut question) = b.accept_bi().await.expect("a stream");
    assert_eq!(question.read_to_end(100).await.expect("read"), b"one two");
    answer.write_all(b"three").await.expect("written");
    answer.shutdown().await.expect("finished");
    let mut text = String::new();
    recv.read_to_string(&mut text).await.expect("read");
    assert_eq!(text, "three");
}

#[tokio::test]
async fn a_stream_longer_than_its_reader_takes_is_told() {
    let (a, b, _ends, _cluster) = connected(Alpn::Gossip).await;
    let mut send = a.open_uni().await.expect("a stream");
    send.write_chunk(Bytes::from(vec![0; 1000])).await.expect("written");
    send.finish().expect("finished");
    let mut recv = b.accept_uni().await.expect("a stream");
    assert_eq!(recv.read_to_end(999).await, Err(StreamError::TooLong { bytes_max: 999 }));
}

#[tokio::test]
async fn datagrams_up_to_the_size_of_the_path_arrive() {
    let (a, b, _ends, _cluster) = connected(Alpn::Gossip).await;
    let fits = Bytes::from(vec![7; a.max_datagram()]);
    a.send_datagram(fits.clone()).expect("sent");
    assert_eq!(b.read_datagram().await, Ok(fits));
    let large = Bytes::from(vec![7; a.max_datagram() + 1]);
    assert!(a.send_datagram(large).is_err());
}

#[tokio::test]
async fn the_reason_for_an_end_reaches_the_other_side() {
    let (a, b, _ends, _cluster) = connected(Alpn::Link).await;
    a.close(code::LEAVING, "gone fishing");
    let reason = "gone fishing".to_owned();
    assert_eq!(b.closed().await, PeerClosed::ByPeer { code: code::LEAVING.into(), reason });
    assert_eq!(a.closed().await, PeerClosed::Here);
}

#[tokio::test]
async fn a_node_of_another_authority_is_not_believed_when_it_is_dialled() {
    let (ours, theirs) = (Cluster::new(), Cluster::new());
    let (a, b) = (ours.endpoint("a"), theirs.endpoint("b"));
    let refused = a.connect(address(&b), Alpn::Gossip).await;
    assert!(matches!(refused.err(), Some(PeerConnectError::Handshake { .. })));
}

#[tokio::test]
async fn a_node_of_another_authority_is_not_let_in_when_it_dials() {
    let (ours, theirs) = (Cluster::new(), Cluster::new());
    let server = ours.endpoint("b");
    let outsider = bind(theirs.tls_believing("a", &ours));
    // The dialling side may take the handshake for done before its certificate is looked at.
    if let Ok(connection) = outsider.connect(address(&server), Alpn::Gossip).await {
        assert!(matches!(connection.closed().await, PeerClosed::Transport(_)));
    }
    let insider = ours.endpoint("c");
    let _connection = insider.connect(address(&server), Alpn::Gossip).await.expect("a connection");
    let first = server.accept(Alpn::Gossip).await.expect("a connection");
    assert_eq!(first.peer_node_id(), &id("c"), "the outsider came first and was not let in");
}

#[tokio::test]
async fn a_caller_without_a_certificate_is_not_let_in() {
    let cluster = Cluster::new();
    let server = cluster.endpoint("b");
    let ca = std::fs::read(cluster.files("b").join(CA_FILE)).expect("an authority");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&ca).expect("a certificate")).expect("an authority");
    let mut settings = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    settings.alpn_protocols = vec![Alpn::Gossip.as_str().into()];
    let crypto = QuicClientConfig::try_from(settings).expect("settings");
    let stranger = quinn::Endpoint::client(any()).expect("an endpoint");
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let connecting = stranger.connect_with(config, address(&server), "weir.cluster").expect("dialled");
    if let Ok(connection) = connecting.await {
        assert!(matches!(connection.closed().await, quinn::ConnectionError::ConnectionClosed(_)));
    }
    let insider = cluster.endpoint("c");
    let _connection = insider.connect(address(&server), Alpn::Gossip).await.expect("a connection");
    let first = server.accept(Alpn::Gossip).await.expect("a connection");
    assert_eq!(first.peer_node_id(), &id("c"));
}

#[tokio::test]
async fn nobody_there_is_told_as_silence() {
    let cluster = Cluster::new();
    let a = cluster.endpoint("a");
    let nobody = UdpSocket::bind(any()).expect("a socket");
    let refused = a.connect(nobody.local_addr().expect("an address"), Alpn::Link).await;
    assert!(matches!(refused.err(), Some(PeerConnectError::Silent { .. })));
}

#[tokio::test]
async fn a_closed_endpoint_accepts_nobody_and_says_goodbye() {
    let (a, _b, [_first, second], _cluster) = connected(Alpn::Link).await;
    second.close(code::LEAVING, "the node leaves");
    assert!(second.accept(Alpn::Link).await.is_none());
    assert!(matches!(a.closed().await, PeerClosed::ByPeer { code, .. } if code == u64::from(code::LEAVING)));
}

#[test]
fn keys_can_be_read_by_their_owner_only_and_nothing_is_overwritten() {
    let cluster = Cluster::new();
    let dir = cluster.dir.path().join("authority");
    cluster.authority.write(&dir).expect("written");
    let node = cluster.files("a");
    for key in [dir.join(CA_KEY_FILE), node.join(NODE_KEY_FILE)] {
        let mode = std::fs::metadata(key).expect("a key").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    assert_eq!(PeerAuthority::read(&dir).expect("read"), cluster.authority);
    assert!(matches!(cluster.authority.write(&dir), Err(AuthorityError::Write { .. })));
    let again = cluster.authority.issue_node(&id("a"), &node);
    assert!(matches!(again, Err(AuthorityError::Write { .. })));
}

#[test]
fn a_name_that_cannot_stand_in_a_certificate_names_no_node() {
    for name in ["", ".", "a.", ".a", "a..b", "a/b", "a b", "*", "ä", &"x".repeat(64), &"x.".repeat(150)] {
        assert!(name.parse::<NodeId>().is_err(), "{name:?}");
    }
    for name in ["a", "node-1", "Node_1", "weir-0.weir.default.svc", &"x".repeat(63)] {
        assert_eq!(name.parse::<NodeId>().expect("a name").as_str(), name);
    }
}
