//! Who the client is when a proxy stands in between.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir_net::http::serve;
use weir_net::proxy::Trusted;
use weir_net::tls::{ServerConfig, dev_certificate};
use weir_net::{Config, EstablishError, Kind, Listener};

use crate::server::Echo;

fn trusting(network: &str) -> Trusted {
    Trusted::new(vec![network.parse().expect("a network")])
}

fn listener(kind: Kind, config: &Config, network: &str) -> Listener {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    Listener::bind(any, kind, config).expect("a listener").behind(trusting(network))
}

async fn connected(listener: &Listener) -> TcpStream {
    TcpStream::connect(listener.local_addr().expect("an address")).await.expect("connected")
}

/// What a listener for proxies on loopback makes of a client that sends this.
async fn identified(wire: &[u8], config: &Config) -> Result<weir_net::Incoming, EstablishError> {
    let listener = listener(Kind::Tcp, config, "127.0.0.0/8");
    let mut client = connected(&listener).await;
    client.write_all(wire).await.expect("written");
    listener.accept().await.expect("accepted").identify().await
}

#[tokio::test]
async fn the_client_a_proxy_names_is_the_peer_and_no_byte_of_its_own_is_lost() {
    let header = b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 1883\r\nits own";
    let incoming = identified(header, &Config::default()).await.expect("identified");
    let mut established = incoming.establish().await.expect("established");
    assert_eq!(established.peer.to_string(), "192.0.2.7:4711");
    let mut bytes = [0; 7];
    established.stream.read_exact(&mut bytes).await.expect("bytes");
    assert_eq!(&bytes, b"its own");
}

#[tokio::test]
async fn a_proxy_without_a_header_is_refused_and_a_silent_one_given_up() {
    let refused = identified(b"\x10\x10\0\x04MQTT\x05\x02\0\0\0\0\x03abc", &Config::default()).await;
    assert!(matches!(refused, Err(EstablishError::ProxyHeader(_))));
    let hasty = Config { handshake_timeout_ms: 20, ..Config::default() };
    let refused = identified(b"PROXY TCP4 192.0", &hasty).await;
    assert!(matches!(refused, Err(EstablishError::Timeout { after_ms: 20 })));
}

#[tokio::test]
async fn who_is_no_trusted_proxy_is_refused_before_a_byte_is_read() {
    let listener = listener(Kind::Tcp, &Config::default(), "10.0.0.0/8");
    let _client = connected(&listener).await;
    let refused = listener.accept().await.expect("accepted").identify().await;
    assert!(matches!(refused, Err(EstablishError::Untrusted { .. })));
}

#[tokio::test]
async fn tls_begins_behind_the_header() {
    let dir = tempfile::tempdir().expect("a directory");
    let made = dev_certificate(dir.path()).expect("made");
    let tls = ServerConfig::from_pem(&made.certificate, &made.key, None).expect("settings");
    let listener = listener(Kind::Tls(tls), &Config::default(), "127.0.0.1");
    let client = async {
        let mut tcp = connected(&listener).await;
        tcp.write_all(b"PROXY TCP6 2001:db8::7 ::1 4711 8883\r\n").await.expect("written");
        let mut roots = rustls::RootCertStore::empty();
        let ca = rustls_pki_types::pem::PemObject::from_pem_file(&made.ca).expect("a certificate");
        roots.add(ca).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        connector.connect("localhost".try_into().expect("a name"), tcp).await.expect("a handshake")
    };
    let accept = async {
        let incoming = listener.accept().await.expect("accepted").identify().await.expect("identified");
        incoming.establish().await.expect("established")
    };
    let (_client, established) = tokio::join!(client, accept);
    assert_eq!(established.peer.to_string(), "[2001:db8::7]:4711");
}

#[tokio::test]
async fn a_websocket_belongs_to_the_client_a_trusted_proxy_forwards_for() {
    for (network, peer) in [("127.0.0.0/8", "192.0.2.7:0"), ("10.0.0.0/8", "127.0.0.1:4711")] {
        let config = Config::default();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::bind(any, Kind::Http, &config).expect("a listener");
        let mut client = connected(&listener).await;
        let request = "GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            X-Forwarded-For: 198.51.100.1, 192.0.2.7\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
        client.write_all(request.as_bytes()).await.expect("written");
        let incoming = listener.accept().await.expect("accepted");
        let established = incoming.establish().await.expect("established");
        let from = SocketAddr::new(established.peer.ip(), 4711);
        let served = serve(established.stream, from, Some(trusting(network)), Arc::new(Echo), &config).await;
        assert_eq!(served.expect("http").expect("a websocket").peer.to_string(), peer);
    }
}
