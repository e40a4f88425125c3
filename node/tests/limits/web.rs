//! What comes over HTTP: headers, bodies, connections that are kept, WebSocket frames.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use weir_testkit::{Node, PATIENCE};

use crate::scene::{is_limited, node};

fn connected(node: &Node) -> TcpStream {
    let tcp = TcpStream::connect_timeout(&node.address("http"), PATIENCE).expect("a connection");
    tcp.set_read_timeout(Some(PATIENCE)).expect("a socket");
    tcp
}

/// Sends this; all that is answered until the node closes.
fn answered(node: &Node, request: &[u8]) -> Vec<u8> {
    let mut tcp = connected(node);
    tcp.write_all(request).expect("sent");
    let mut answer = Vec::new();
    tcp.read_to_end(&mut answer).expect("an end in order");
    answer
}

fn status(answer: &[u8]) -> &str {
    answer.get(9..12).map_or("", |status| std::str::from_utf8(status).expect("digits"))
}

#[test]
fn headers_above_a_limit_are_answered_431_and_counted() {
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\nLong: {}\r\n\r\n", "x".repeat(20_000));
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "a: b\r\n".repeat(100));
    for request in [long, many] {
        let node = node().start();
        assert_eq!(status(&answered(&node, request.as_bytes())), "431");
        is_limited(&node, "net", "http.headers");
    }
}

#[test]
fn headers_that_do_not_come_end_the_connection_and_are_counted() {
    let node = node().set("net.http.header_timeout_ms", 100).start();
    answered(&node, b"GET / HTTP/1.1\r\nHos");
    is_limited(&node, "net", "http.header_timeout_ms");
}

#[test]
fn a_body_above_the_limit_is_answered_413_and_counted() {
    let node = node().set("net.http.body_bytes_max", 4).start();
    let announced = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(status(&answered(&node, announced)), "413");
    is_limited(&node, "net", "http.body_bytes_max");
}

#[test]
fn a_body_that_does_not_come_is_answered_408_and_counted() {
    let node = node().set("net.http.body_timeout_ms", 100).start();
    let half = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe";
    assert_eq!(status(&answered(&node, half)), "408");
    is_limited(&node, "net", "http.body_timeout_ms");
}

#[test]
fn a_connection_that_is_kept_for_too_long_is_ended_and_counted() {
    let node = node().set("net.http.connection_timeout_ms", 100).start();
    let answer = answered(&node, b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(status(&answer), "200");
    is_limited(&node, "net", "http.connection_timeout_ms");
}

#[test]
fn a_websocket_frame_above_the_limit_is_answered_1009_and_counted() {
    let node = node().set("net.ws_frame_bytes_max", 1000).start();
    let mut tcp = connected(&node);
    let request = b"GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Protocol: mqtt\r\n\r\n";
    // A binary frame of 1001 bytes, masked with zeros.
    let frame = [0x82, 0xFE, 0x03, 0xE9, 0, 0, 0, 0];
    tcp.write_all(&[&request[..], &frame].concat()).expect("sent");
    let mut answer = Vec::new();
    tcp.read_to_end(&mut answer).expect("an end in order");
    assert!(answer.ends_with(&[0x88, 2, 0x03, 0xF1]), "a close frame with 1009: {answer:02x?}");
    is_limited(&node, "net", "ws_frame_bytes_max");
}
