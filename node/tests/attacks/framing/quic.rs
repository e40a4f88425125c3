//! Attacks on the QUIC listener: connections that carry nothing, and connection ids without end.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::net::UdpSocket;
use weir_testkit::{Node, PATIENCE};

use crate::pair::Pair;
use crate::scene::{Scene, node};

/// What a QUIC connection that has not said a word may take: keys, buffers of one flight, timers.
const QUIC_BYTES: u64 = 128 << 10;

fn scene(handshake_timeout_ms: u64) -> Scene {
    Scene::of(node().listen("quic").set("net.handshake_timeout_ms", handshake_timeout_ms))
}

/// An endpoint that believes this node's own certificate.
fn endpoint(node: &Node) -> Endpoint {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    let file = node.data_dir().join("dev-tls/ca.pem");
    roots.add(CertificateDer::from_pem_file(file).expect("the node's certificate")).expect("a certificate");
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"mqtt".to_vec()];
    let mut endpoint = Endpoint::client(([127, 0, 0, 1], 0).into()).expect("a socket");
    endpoint.set_default_client_config(ClientConfig::new(Arc::new(
        QuicClientConfig::try_from(tls).expect("a cipher for Initial packets"),
    )));
    endpoint
}

async fn connected(endpoint: &Endpoint, address: SocketAddr) -> Connection {
    endpoint.connect(address, "localhost").expect("an attempt").await.expect("a handshake")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_carry_nothing_are_given_up() {
    const ATTACKERS: u64 = 200;
    let scene = scene(2000);
    let endpoint = endpoint(&scene.node);
    let mut silent = Vec::new();
    for _ in 0..ATTACKERS {
        silent.push(connected(&endpoint, scene.node.address("quic")).await);
    }
    let other = Pair::over(&scene.node, "quic", "pair/quic");
    other.is_served();
    for connection in silent {
        tokio::time::timeout(PATIENCE, connection.closed()).await.expect("given up");
    }
    scene.counts("weir_gateway_handshakes_failed_total", ATTACKERS as f64);
    other.finish();
    scene.survives(ATTACKERS * QUIC_BYTES);
}

/// Lets a client's packets through to the node and no answer back; returns where clients see the node.
async fn deaf_relay(node: SocketAddr) -> SocketAddr {
    let front = UdpSocket::bind(("127.0.0.1", 0)).await.expect("a socket");
    let back = UdpSocket::bind(("127.0.0.1", 0)).await.expect("a socket");
    let address = front.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut packet = [0; 2048];
        while let Ok((length, _)) = front.recv_from(&mut packet).await {
            // A full socket loses it, as a network would.
            let _ = back.send_to(&packet[..length], node).await;
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_that_are_never_finished_are_given_up() {
    const ATTACKERS: u64 = 500;
    let scene = scene(3000);
    let endpoint = endpoint(&scene.node);
    let relay = deaf_relay(scene.node.address("quic")).await;
    let unfinished: Vec<_> =
        (0..ATTACKERS).map(|_| endpoint.connect(relay, "localhost").expect("an attempt")).collect();
    let other = Pair::over(&scene.node, "quic", "pair/quic");
    other.is_served();
    scene.serves_others();
    // Each has a connection id of its own; some packets may be lost on the way.
    scene.counts("weir_gateway_handshakes_failed_total", ATTACKERS as f64 / 2.0);
    drop(unfinished);
    other.finish();
    scene.survives(ATTACKERS * QUIC_BYTES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_made_up_connection_ids_leaves_nothing_behind() {
    const PACKETS: u32 = 20_000;
    let scene = scene(10_000);
    let address = scene.node.address("quic");
    let socket = UdpSocket::bind(("127.0.0.1", 0)).await.expect("a socket");
    for number in 0..PACKETS {
        // Initial packets, Handshake packets, short headers, and versions nobody speaks (RFC 9000, 17).
        let first = [0xC3, 0xE3, 0x43, 0xC3][number as usize % 4];
        let version: u32 = if number % 4 == 3 { 0x0a0a_0a0a } else { 1 };
        let mut packet = vec![first];
        packet.extend_from_slice(&version.to_be_bytes());
        packet.push(20);
        packet.extend_from_slice(&[&number.to_be_bytes()[..], &[7; 16]].concat());
        packet.extend_from_slice(&[0, 0, 0x44, 0x80]);
        packet.resize(1200, number as u8);
        let _ = socket.send_to(&packet, address).await;
    }
    let other = Pair::over(&scene.node, "quic", "pair/quic");
    other.is_served();
    other.finish();
    scene.survives(0);
}
