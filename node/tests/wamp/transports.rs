//! The same sessions over everything that carries bytes: TLS, WebSocket with and without batches, QUIC.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use weir_testkit::{Node, PATIENCE};

use crate::script::run_with;

fn with_tls() -> Node {
    let node = Node::of(env!("CARGO_BIN_EXE_weir")).listen("http").listen("https").listen("wamps");
    node.listen("quic").start()
}

fn localhost(address: SocketAddr) -> String {
    format!("localhost:{}", address.port())
}

#[test]
fn autobahn_python_finds_no_fault_behind_tls() {
    let node = with_tls();
    let urls = [
        "msgpack".to_owned(),
        format!("wss://{}/wamp", localhost(node.address("https"))),
        format!("rss://{}", localhost(node.address("wamps"))),
    ];
    run_with("python.py", &node, &urls);
}

#[test]
fn autobahn_js_and_wampy_hear_each_other_behind_tls() {
    let node = with_tls();
    let url = format!("wss://{}/wamp", localhost(node.address("https")));
    run_with("serializations.mjs", &node, &[url]);
}

#[test]
fn batches_are_taken_and_sent_in_every_serialization() {
    let node = with_tls();
    let urls = [
        format!("ws://{}/wamp", node.address("http")),
        format!("wss://{}/wamp", localhost(node.address("https"))),
    ];
    run_with("batched.mjs", &node, &urls);
}

/// A client over QUIC: messages in the frames of RawSocket, on the first stream it opens.
struct Client {
    send: SendStream,
    receive: RecvStream,
    _connection: Connection,
}

impl Client {
    async fn open(node: &Node, alpn: &str) -> Client {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        let file = node.data_dir().join("dev-tls/ca.pem");
        roots.add(CertificateDer::from_pem_file(file).expect("the authority")).expect("a certificate");
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let tls = QuicClientConfig::try_from(tls).expect("a cipher for Initial packets");
        let mut endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).expect("a socket");
        endpoint.set_default_client_config(ClientConfig::new(Arc::new(tls)));
        let connecting = endpoint.connect(node.address("quic"), "localhost").expect("an attempt");
        let connection =
            tokio::time::timeout(PATIENCE, connecting).await.expect("in time").expect("a handshake");
        let (send, receive) = connection.open_bi().await.expect("a stream");
        Client { send, receive, _connection: connection }
    }

    async fn say(&mut self, message: &[u8]) {
        let header = u32::try_from(message.len()).expect("a short message").to_be_bytes();
        self.send.write_all(&[&header, message].concat()).await.expect("written");
    }

    async fn hear(&mut self) -> Vec<u8> {
        let mut header = [0; 4];
        let read = self.receive.read_exact(&mut header);
        tokio::time::timeout(PATIENCE, read).await.expect("in time").expect("a frame");
        let mut message = vec![0; u32::from_be_bytes(header) as usize];
        self.receive.read_exact(&mut message).await.expect("a message");
        message
    }
}

#[tokio::test]
async fn quic_carries_every_serialization_by_its_alpn() {
    let node = with_tls();
    let mut json = Client::open(&node, "wamp.2.json").await;
    json.say(br#"[1,"default",{"roles":{"subscriber":{}}}]"#).await;
    assert!(json.hear().await.starts_with(b"[2,"));
    json.say(br#"[32,1,{},"q"]"#).await;
    assert!(json.hear().await.starts_with(b"[33,1,"));
    // `[1, "default", {"roles": {"publisher": {}}}]` and `[16, 1, {}, "q", [7]]`.
    let others: [(&str, &[u8], &[u8], u8); 2] = [
        (
            "wamp.2.msgpack",
            b"\x93\x01\xa7default\x81\xa5roles\x81\xa9publisher\x80",
            b"\x95\x10\x01\x80\xa1q\x91\x07",
            0x93,
        ),
        (
            "wamp.2.cbor",
            b"\x83\x01\x67default\xa1\x65roles\xa1\x69publisher\xa0",
            b"\x85\x10\x01\xa0\x61q\x81\x07",
            0x83,
        ),
    ];
    for (alpn, hello, publish, list) in others {
        let mut client = Client::open(&node, alpn).await;
        client.say(hello).await;
        assert!(client.hear().await.starts_with(&[list, 2]), "{alpn}");
        client.say(publish).await;
        let event = String::from_utf8(json.hear().await).expect("text");
        assert!(event.starts_with("[36,") && event.ends_with(",[7]]"), "{alpn}: {event}");
    }
}

#[tokio::test]
async fn a_stream_of_quic_that_says_nothing_of_wamp_is_ended() {
    let node = with_tls();
    let mut client = Client::open(&node, "wamp.2.json").await;
    client.say(b"GET / HTTP/1.1").await;
    let answer = String::from_utf8(client.hear().await).expect("text");
    assert!(answer.starts_with("[3,") && answer.contains("wamp.error.protocol_violation"), "{answer}");
    let end = tokio::time::timeout(PATIENCE, client.receive.read(&mut [0; 1])).await.expect("in time");
    assert!(matches!(end, Ok(None) | Err(_)), "{end:?}");
}
