//! Who is no member of this cluster: refused by name, counted, and of no effect on the others.

use std::net::{SocketAddr, UdpSocket};

use bytes::Bytes;
use weir_cluster::{StartError, StoreKind};
use weir_net::peer::{Alpn, PeerClosed, PeerEndpoint, code};

use crate::counted::{count, wait_for_more};
use crate::nodes::{Authority, Node, Options};

/// Whatever happened before: nodes still find each other.
fn all_is_well(authority: &Authority, first: &Node) {
    let count = first.members().count();
    let late = authority.start("late", Options::joining(first));
    late.wait_until(|members| members.count() == count + 1);
    first.wait_until(|members| members.count() == count + 1);
}

/// Sends one gossip message from a node that has a certificate; says how the connection ended.
fn end_after(authority: &Authority, to: &Node, message: Vec<u8>) -> PeerClosed {
    let tls = authority.tls("stranger");
    let address = to.address();
    to.run(async move {
        let endpoint = PeerEndpoint::bind(SocketAddr::from(([127, 0, 0, 1], 0)), tls).expect("an endpoint");
        let connection = endpoint.connect(address, Alpn::Gossip).await.expect("a connection");
        let mut stream = connection.open_uni().await.expect("a stream");
        // What is too long may be refused before it is all written.
        let _ = stream.write_chunk(Bytes::from(message)).await;
        let _ = stream.finish();
        connection.closed().await
    })
}

fn code_of(closed: &PeerClosed) -> Option<u64> {
    match closed {
        PeerClosed::ByPeer { code, .. } => Some(*code),
        _ => None,
    }
}

/// A greeting without any node in it: magic number, version, kind, no digests, name of the cluster.
fn greeting(cluster: &str) -> Vec<u8> {
    let mut bytes = 45_139_u16.to_le_bytes().to_vec();
    bytes.extend([0, 0, 0, 0]);
    bytes.extend((cluster.len() as u16).to_le_bytes());
    bytes.extend(cluster.as_bytes());
    bytes
}

#[test]
fn a_node_with_another_authority_sees_only_itself_and_is_seen_by_nobody() {
    let (authority, other) = (Authority::new(), Authority::new());
    let first = authority.start("n1", Options::alone());
    let outsider = other.start("outsider", Options::joining(&first));
    wait_for_more("weir_cluster_gossip_dropped_total{reason=unreachable}", 0);
    assert_eq!(outsider.members().count(), 1);
    assert_eq!(first.members().count(), 1);
    all_is_well(&authority, &first);
}

#[test]
fn a_node_with_another_authority_is_counted_even_if_it_believes_ours() {
    let (authority, other) = (Authority::new(), Authority::new());
    let first = authority.start("n1", Options::alone());
    let tls = other.tls_believing("outsider", &authority);
    let outsider = other.start_with(tls, "outsider", Options::joining(&first)).expect("a node");
    wait_for_more("weir_net_peer_refused_total{reason=certificate}", 0);
    assert_eq!(outsider.members().count(), 1);
    assert_eq!(first.members().count(), 1);
    all_is_well(&authority, &first);
}

#[test]
fn a_node_of_another_cluster_is_refused_by_name_on_both_sides() {
    let authority = Authority::new();
    let first = authority.start("n1", Options::alone());
    let mut options = Options::joining(&first);
    options.config.id = "elsewhere".to_owned();
    let stranger = authority.start("n2", options);
    wait_for_more("weir_cluster_refused_total{reason=other_cluster}", 0);
    wait_for_more("weir_cluster_refused_by_peer_total{code=other_cluster}", 0);
    assert_eq!(stranger.members().count(), 1);
    assert_eq!(first.members().count(), 1);
    let end = end_after(&authority, &first, greeting("elsewhere"));
    assert_eq!(code_of(&end), Some(code::OTHER_CLUSTER.into()));
    all_is_well(&authority, &first);
}

#[test]
fn a_node_with_an_embedded_store_can_neither_join_nor_be_joined() {
    let authority = Authority::new();
    let embedded = || Options { store: StoreKind::Embedded, store_id: String::new(), ..Options::alone() };
    let alone = authority.start("n1", embedded());
    let joining = Options { config: Options::joining(&alone).config, ..embedded() };
    assert!(matches!(authority.try_start("n2", joining), Err(StartError::EmbeddedStore)));

    let shared = authority.start("n3", Options::joining(&alone));
    wait_for_more("weir_cluster_refused_total{reason=embedded_store}", 1);
    assert_eq!(shared.members().count(), 1);
    assert_eq!(alone.members().count(), 1);
}

#[test]
fn a_node_on_another_store_is_refused_by_name() {
    let authority = Authority::new();
    let first = authority.start("n1", Options::alone());
    let other = Options { store_id: "store-2".to_owned(), ..Options::joining(&first) };
    let other = authority.start("n2", other);
    wait_for_more("weir_cluster_refused_total{reason=other_store}", 1);
    assert_eq!(first.members().count(), 1);
    assert_eq!(other.members().count(), 1);
    all_is_well(&authority, &first);
}

#[test]
fn a_certificate_for_another_name_is_found_out_at_start() {
    let authority = Authority::new();
    let first = authority.start("n1", Options::alone());
    let local = weir_cluster::Local { node_id: crate::nodes::id("n2"), ..first.cluster.local().clone() };
    let config = weir_cluster::Config::default();
    let started = first.run(weir_cluster::Cluster::start(&config, local, authority.tls("n1")));
    assert!(matches!(started.err(), Some(StartError::OtherName { .. })));
}

#[test]
fn garbage_on_the_port_harms_nobody() {
    let authority = Authority::new();
    let first = authority.start("n1", Options::alone());
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let mut noise: u64 = 0x9e37_79b9_7f4a_7c15;
    for length in 1..1400 {
        let packet: Vec<u8> = (0..length)
            .map(|_| {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (noise >> 56) as u8
            })
            .collect();
        // The system may refuse one or another when its buffers are full.
        let _ = socket.send_to(&packet, first.address());
    }
    all_is_well(&authority, &first);
}

#[test]
fn a_gossip_message_that_is_too_long_ends_its_connection() {
    let authority = Authority::new();
    let first = authority.start("n1", Options::alone());
    let end = end_after(&authority, &first, vec![0; 65_508]);
    assert_eq!(code_of(&end), Some(code::TOO_LONG.into()));
    assert!(count("weir_cluster_gossip_dropped_total{reason=too_long}") > 0);
    all_is_well(&authority, &first);
}

#[test]
fn what_is_no_gossip_ends_its_connection() {
    let authority = Authority::new();
    let first = authority.start("n1", Options::alone());
    let mut cut = greeting("weir");
    cut.truncate(7);
    for message in [b"hello".to_vec(), cut, vec![0xff; 1000], Vec::new()] {
        let end = end_after(&authority, &first, message);
        assert_eq!(code_of(&end), Some(code::MALFORMED.into()));
    }
    assert!(count("weir_cluster_gossip_dropped_total{reason=malformed}") >= 4);
    all_is_well(&authority, &first);
}
