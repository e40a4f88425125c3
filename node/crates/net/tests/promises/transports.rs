//! Every transport carries bytes both ways, and is what it says.

use tokio::io::{AsyncReadExt, AsyncWriteExt, split};
use weir_net::client::{ClientOptions, ConnectError, connect};
use weir_net::{Config, EstablishError, Stream, Transport, close_gracefully};

use crate::server::Server;

/// More than any window or buffer on the way holds.
const BYTES: usize = 5 << 20;

async fn round_trip(transport: Transport) {
    let server = Server::new(transport);
    let sent: Vec<u8> = (0..BYTES).map(|i| (i * 7 / 3) as u8).collect();
    let client = async {
        let url = server.url().parse().expect("a url");
        let stream = connect(&url, &server.options()).await.expect("connected");
        assert_eq!(stream.transport(), transport);
        let (mut reading, mut writing) = split(stream);
        let writer = async {
            writing.write_all(&sent).await.expect("written");
            writing.flush().await.expect("flushed");
        };
        let mut received = vec![0; BYTES];
        let (_, read) = tokio::join!(writer, reading.read_exact(&mut received));
        read.expect("all of it");
        assert!(received == sent, "{transport} changed the bytes");
        close_gracefully(&mut reading.unsplit(writing), server.config.linger()).await
    };
    let (_, lingered) = tokio::join!(server.echo_once(), client);
    assert_eq!(lingered, weir_net::Lingered::Clean, "{transport}");
}

#[tokio::test]
async fn tcp_carries_bytes_both_ways() {
    round_trip(Transport::Tcp).await;
}

#[tokio::test]
async fn tls_carries_bytes_both_ways() {
    round_trip(Transport::Tls).await;
}

#[tokio::test]
async fn ws_carries_bytes_both_ways() {
    round_trip(Transport::Ws).await;
}

#[tokio::test]
async fn wss_carries_bytes_both_ways() {
    round_trip(Transport::Wss).await;
}

#[tokio::test]
async fn quic_carries_bytes_both_ways() {
    round_trip(Transport::Quic).await;
}

#[tokio::test]
async fn an_upgraded_stream_is_one_of_the_server_s_transports() {
    for transport in Transport::ALL {
        let (client, server) = Server::new(transport).pair().await;
        assert_eq!((client.transport(), server.transport()), (transport, transport));
        assert_eq!(matches!(server, Stream::Ws(_)), transport.as_str() == "ws");
    }
}

#[tokio::test]
async fn a_client_that_never_speaks_is_given_up_by_tls() {
    let config = Config { handshake_timeout_ms: 20, ..Config::default() };
    let server = Server::with_config(Transport::Tls, config);
    let _silent = tokio::net::TcpStream::connect(server.address()).await.expect("connected");
    let incoming = server.listener.accept().await.expect("accepted");
    let error = incoming.establish().await.expect_err("too slow");
    assert!(matches!(error, EstablishError::Timeout { after_ms: 20 }), "{error}");
}

#[tokio::test]
async fn a_quic_client_with_another_protocol_is_refused() {
    let server = Server::new(Transport::Quic);
    let options = ClientOptions { alpn: vec!["other".to_owned()], ..server.options() };
    let url = server.url().parse().expect("a url");
    let accepting = async {
        let incoming = server.listener.accept().await.expect("accepted");
        incoming.establish().await.expect_err("no common protocol")
    };
    let (accepted, connected) = tokio::join!(accepting, connect(&url, &options));
    assert!(matches!(accepted, EstablishError::Quic { .. }), "{accepted}");
    assert!(matches!(connected, Err(ConnectError::Quic { .. })));
}

#[tokio::test]
async fn the_protocol_chosen_by_quic_is_told() {
    let server = Server::new(Transport::Quic);
    let url = server.url().parse().expect("a url");
    let options = server.options();
    let client = async {
        let mut client = connect(&url, &options).await.expect("connected");
        client.write_all(b".").await.expect("written");
        client
    };
    let accepting = async {
        let incoming = server.listener.accept().await.expect("accepted");
        incoming.establish().await.expect("established")
    };
    let (_client, established) = tokio::join!(client, accepting);
    assert_eq!(established.alpn.as_deref(), Some(&b"mqtt"[..]));
}

#[tokio::test]
async fn a_port_nobody_listens_on_is_said_by_name() {
    let server = Server::new(Transport::Tcp);
    let (url, address) = (server.url().parse().expect("a url"), server.address());
    drop(server);
    let error = connect(&url, &ClientOptions::default()).await.expect_err("refused");
    assert!(error.to_string().contains(&address.port().to_string()), "{error}");
}

#[tokio::test]
async fn establishing_and_serving_are_small_futures() {
    let server = Server::new(Transport::Ws);
    let connecting = tokio::net::TcpStream::connect(server.address());
    let (client, accepted) = tokio::join!(connecting, server.listener.accept());
    let _client = client.expect("connected");
    let establishing = accepted.expect("accepted").establish();
    assert!(size_of_val(&establishing) <= 500, "{}", size_of_val(&establishing));
    let established = establishing.await.expect("established");
    let routes = std::sync::Arc::new(crate::server::Echo);
    let serving = weir_net::http::serve(established.stream, established.peer, None, routes, &server.config);
    assert!(size_of_val(&serving) <= 300, "{}", size_of_val(&serving));
}
