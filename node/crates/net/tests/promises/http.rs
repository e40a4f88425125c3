//! HTTP keeps its limits.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir_net::{Config, Transport, config};

use crate::server::Server;

/// All the server answers to `request`, until it closes.
async fn exchange(limits: config::Http, request: &[u8]) -> String {
    let config = Config { http: limits, linger_timeout_ms: 100, ..Config::default() };
    let server = Server::with_config(Transport::Ws, config);
    let client = async {
        let mut tcp = TcpStream::connect(server.address()).await.expect("connected");
        tcp.write_all(request).await.expect("written");
        let mut answer = Vec::new();
        tcp.read_to_end(&mut answer).await.expect("no reset");
        String::from_utf8(answer).expect("text")
    };
    let (upgraded, answer) = tokio::join!(server.next(), client);
    assert!(upgraded.is_none());
    answer
}

#[tokio::test]
async fn a_request_is_answered_with_its_body_complete() {
    let request = b"POST /any HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";
    let answer = exchange(config::Http::default(), request).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
}

#[tokio::test]
async fn a_body_over_the_limit_gets_413_announced_or_not() {
    let limits = || config::Http { body_bytes_max: 4, ..config::Http::default() };
    let announced = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
    let answer = exchange(limits(), announced).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let chunked = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let answer = exchange(limits(), chunked).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_body_that_does_not_come_gets_408() {
    let limits = config::Http { body_timeout_ms: 20, ..config::Http::default() };
    let request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe";
    let answer = exchange(limits, request).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn headers_that_do_not_come_end_the_connection() {
    let limits = config::Http { header_timeout_ms: 20, ..config::Http::default() };
    let answer = exchange(limits, b"GET / HTTP/1.1\r\nHos").await;
    assert!(!answer.contains(" 200 "), "{answer}");
}

#[tokio::test]
async fn headers_over_the_limit_get_431() {
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\nLong: {}\r\n\r\n", "x".repeat(20_000));
    let answer = exchange(config::Http::default(), long.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "a: b\r\n".repeat(100));
    let answer = exchange(config::Http::default(), many.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn a_connection_that_is_too_old_is_ended_between_requests() {
    let limits = config::Http { connection_timeout_ms: 20, ..config::Http::default() };
    let answer = exchange(limits, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_connection_kept_alive_without_a_request_is_ended() {
    let limits = config::Http { header_timeout_ms: 20, ..config::Http::default() };
    let answer = exchange(limits, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}
