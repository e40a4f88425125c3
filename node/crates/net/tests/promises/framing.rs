//! Clients that stall, or speak something else than the listener does.

use std::sync::Arc;

use quinn::crypto::rustls::QuicClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir_net::tls::dev_certificate;
use weir_net::{Config, EstablishError, Transport};

use crate::server::Server;

const HANDSHAKE: &str = "GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n";

#[tokio::test]
async fn compression_is_declined_and_bytes_go_on_uncompressed() {
    let server = Server::new(Transport::Ws);
    let mut tcp = TcpStream::connect(server.address()).await.expect("connected");
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";
    tcp.write_all(format!("{HANDSHAKE}{offer}").as_bytes()).await.expect("written");
    tcp.write_all(&[0x82, 0x81, 0, 0, 0, 0, b'x']).await.expect("written");
    let mut stream = server.next().await.expect("a websocket");
    assert_eq!(stream.read_u8().await.expect("a byte"), b'x');
    let mut answer = vec![0; 1000];
    let read = tcp.read(&mut answer).await.expect("an answer");
    let answer = String::from_utf8_lossy(&answer[..read]).to_lowercase();
    assert!(answer.starts_with("http/1.1 101 "), "{answer}");
    assert!(!answer.contains("sec-websocket-extensions"), "{answer}");
}

#[tokio::test]
async fn fragments_without_end_are_bytes_without_end_and_nothing_is_kept() {
    const FRAGMENTS: usize = 50_000;
    let server = Server::new(Transport::Ws);
    let mut tcp = TcpStream::connect(server.address()).await.expect("connected");
    tcp.write_all(format!("{HANDSHAKE}\r\n").as_bytes()).await.expect("written");
    let mut stream = server.next().await.expect("a websocket");
    let sending = async {
        tcp.write_all(&[0x02, 0x80, 0, 0, 0, 0]).await.expect("the first part");
        let fragment = [[0x00, 0x80, 0, 0, 0, 0, 0x00].as_slice(), &[0x81, 0, 0, 0, 0, b'x']].concat();
        tcp.write_all(&fragment.repeat(FRAGMENTS)).await.expect("an empty one and one byte each");
    };
    let reading = async {
        // The stream has no buffer of its own: what is here is all there is.
        let (mut buf, mut read) = ([0; 512], 0);
        while read < FRAGMENTS {
            read += stream.read(&mut buf).await.expect("bytes");
        }
        read
    };
    assert_eq!(tokio::join!(sending, reading).1, FRAGMENTS);
}

#[tokio::test]
async fn another_protocol_on_the_http_port_is_a_bad_request() {
    let config = Config { linger_timeout_ms: 100, ..Config::default() };
    let server = Server::with_config(Transport::Ws, config);
    let client = async {
        let mut tcp = TcpStream::connect(server.address()).await.expect("connected");
        tcp.write_all(b"\x10\x10\0\x04MQTT\x05\x02\0\0\0\0\x03abc").await.expect("written");
        let mut answer = Vec::new();
        tcp.read_to_end(&mut answer).await.expect("no reset");
        answer
    };
    let (upgraded, answer) = tokio::join!(server.next(), client);
    assert!(upgraded.is_none());
    assert!(answer.starts_with(b"HTTP/1.1 400 "), "{}", String::from_utf8_lossy(&answer));
}

/// A QUIC client of its own, and whether it would send before the handshake is done.
fn quic_client(server: &Server) -> (quinn::Endpoint, Arc<rustls::ClientConfig>) {
    let ca = dev_certificate(server.dir()).expect("found").ca;
    let mut roots = rustls::RootCertStore::empty();
    let ca = rustls_pki_types::pem::PemObject::from_pem_file(ca).expect("a certificate");
    roots.add(ca).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"mqtt".to_vec()];
    tls.enable_early_data = true;
    let mut endpoint = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).expect("an endpoint");
    let tls = Arc::new(tls);
    let crypto = QuicClientConfig::try_from(tls.clone()).expect("a cipher suite");
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
    (endpoint, tls)
}

#[tokio::test]
async fn a_quic_connection_that_never_opens_its_stream_is_given_up() {
    let server =
        Server::with_config(Transport::Quic, Config { handshake_timeout_ms: 500, ..Config::default() });
    let (endpoint, _) = quic_client(&server);
    let connecting = endpoint.connect(server.address(), "localhost").expect("an address");
    let accepting = async { server.listener.accept().await.expect("accepted").establish().await };
    let (connection, established) = tokio::join!(connecting, accepting);
    let connection = connection.expect("a handshake");
    assert!(matches!(established, Err(EstablishError::Timeout { after_ms: 500 })));
    connection.closed().await;
}

#[tokio::test]
async fn nothing_is_taken_before_the_handshake_of_a_resumed_quic_connection_is_done() {
    let server = Server::new(Transport::Quic);
    let (endpoint, _tls) = quic_client(&server);
    for round in 0..2 {
        let client = async {
            let connecting = endpoint.connect(server.address(), "localhost").expect("an address");
            let connection = match connecting.into_0rtt() {
                Ok(_) => panic!("round {round}: the server let a client send early"),
                Err(connecting) => connecting.await.expect("a handshake"),
            };
            let (mut send, mut recv) = connection.open_bi().await.expect("a stream");
            send.write_all(b".").await.expect("written");
            // The session to resume comes before the answer.
            assert_eq!(recv.read_u8().await.expect("a byte"), b'!');
        };
        let answer = async {
            let mut stream = server.next().await.expect("a stream");
            assert_eq!(stream.read_u8().await.expect("a byte"), b'.');
            stream.write_all(b"!").await.expect("written");
            stream
        };
        tokio::join!(client, answer);
    }
}

#[tokio::test]
async fn a_quic_client_that_is_asked_to_prove_its_address_comes_again_and_is_let_in() {
    let server = Server::new(Transport::Quic);
    let (endpoint, _) = quic_client(&server);
    let connecting = endpoint.connect(server.address(), "localhost").expect("an address");
    let client = async {
        let connection = connecting.await.expect("a handshake");
        let (mut send, recv) = connection.open_bi().await.expect("a stream");
        send.write_all(b".").await.expect("written");
        (connection, send, recv)
    };
    let accepting = async {
        let first = server.listener.accept().await.expect("accepted");
        assert!(first.challenge().is_none(), "its address may be forged");
        let again = server.listener.accept().await.expect("accepted").challenge();
        again.expect("it has proved it").establish().await.expect("established")
    };
    tokio::join!(client, accepting);
}
