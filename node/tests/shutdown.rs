//! Promise: a node that is told to end says goodbye, keeps what it was given, and ends in time.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use url::Url;
use weir_bench::Client;
use weir_bench::client::{Message, Options, Subscription};
use weir_model::Qos;
use weir_testkit::node::Builder;
use weir_testkit::{Closed, Node, PATIENCE, RawMqtt, eventually};
use weir_wire::mqtt::{Connect, Version, encode};

/// So long that nothing here ends by it.
const FOREVER_SECONDS: u64 = 3600;

fn node() -> Builder {
    Node::of(env!("CARGO_BIN_EXE_weir"))
}

/// A node that waits for its last client as long as that takes.
fn patient() -> Builder {
    node()
        .store("memory")
        .set("node.grace_seconds", FOREVER_SECONDS)
        .set("net.linger_timeout_ms", FOREVER_SECONDS * 1000)
        .set("gateway.goodbye_timeout_ms", FOREVER_SECONDS * 1000)
}

fn connected(node: &Node, version: Version) -> RawMqtt {
    let mut raw = RawMqtt::connect(node.address("mqtt"));
    let mut bytes = Vec::new();
    encode::connect(
        &mut bytes,
        &Connect::new(version, if version == Version::V5 { "five" } else { "three" }),
    );
    raw.send(&bytes);
    assert_eq!(raw.frame()[0], 0x20);
    raw
}

#[test]
fn clients_are_told_and_the_node_ends_with_0_once_they_are_gone() {
    let mut node = patient().start();
    let (mut five, mut three) = (connected(&node, Version::V5), connected(&node, Version::V311));
    node.sigterm();
    let goodbye = five.frame();
    assert_eq!((goodbye[0], goodbye[2]), (0xE0, 0x8B));
    assert_eq!(five.end_without_a_word(), Closed::Fin);
    assert_eq!(three.end_without_a_word(), Closed::Fin);
    assert!(node.is_running(), "it waits for its clients to close their side");
    drop((five, three));
    assert_eq!(node.wait().code(), Some(0));
}

#[test]
fn nobody_is_let_in_any_more_while_the_node_ends() {
    let node = patient().start();
    let mut last = connected(&node, Version::V5);
    node.sigterm();
    assert_eq!(last.frame()[0], 0xE0);
    eventually("the port to be closed", || RawMqtt::try_connect(node.address("mqtt")).err());
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut node = patient().start();
    let mut client = connected(&node, Version::V5);
    node.sigterm();
    // It has begun to end and waits for this client, which does not go.
    assert_eq!(client.frame()[0], 0xE0);
    node.sigterm();
    assert_eq!(node.wait().code(), Some(143));
}

#[test]
fn a_client_that_does_not_go_holds_up_the_end_no_longer_than_the_grace() {
    let mut node = patient().set("node.grace_seconds", 1).start();
    let _stays = connected(&node, Version::V5);
    assert_eq!(node.sigterm_and_wait().code(), Some(0));
    assert!(node.stderr().contains("grace period"), "what did not stop is named: {}", node.stderr());
}

#[test]
fn whoever_only_stands_at_the_door_does_not_keep_the_node() {
    let mut node = patient().set("gateway.connect_timeout_ms", FOREVER_SECONDS * 1000).start();
    let _silent = RawMqtt::connect(node.address("mqtt"));
    assert_eq!(node.sigterm_and_wait().code(), Some(0));
}

#[test]
fn a_node_without_clients_ends_by_itself_whatever_the_grace() {
    let mut node = patient().listen("http").listen("mqtts").listen("https").listen("quic").start();
    assert_eq!(node.sigterm_and_wait().code(), Some(0));
}

/// The status of the next answer on a connection that stays open.
fn status(http: &mut TcpStream, path: &str) -> String {
    write!(http, "GET {path} HTTP/1.1\r\nhost: here\r\n\r\n").expect("taken");
    let mut head = [0; 12];
    http.read_exact(&mut head).expect("an answer");
    let mut rest = [0; 4096];
    // The whole answer is one small write.
    let _ = http.read(&mut rest).expect("the rest");
    String::from_utf8_lossy(&head[9..]).into_owned()
}

#[test]
fn readiness_is_503_as_soon_as_the_node_ends_and_an_idle_scraper_does_not_keep_it() {
    let mut node = patient().listen("http").start();
    let mut http = TcpStream::connect(node.address("http")).expect("a connection");
    http.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    assert_eq!(status(&mut http, "/health/ready"), "200");
    assert_eq!(status(&mut http, "/health/live"), "200");
    let mut client = connected(&node, Version::V5);
    node.sigterm();
    assert_eq!(client.frame()[0], 0xE0);
    assert_eq!(status(&mut http, "/health/ready"), "503");
    drop(client);
    assert_eq!(node.wait().code(), Some(0));
}

#[tokio::test]
async fn what_was_acknowledged_at_any_level_is_there_after_an_orderly_end() {
    let mut node = node().on_own_address().set("store.level", "stored").start();
    let url = Url::parse(&format!("mqtt://{}", node.address("mqtt"))).expect("a URL");
    let options = |client_id: &str| Options {
        client_id: client_id.to_owned(),
        clean_start: false,
        session_expiry_seconds: Some(3600),
        timeout: PATIENCE,
        ..Options::default()
    };
    let mut sleeper = Client::connect(&url, &options("sleeper")).await.expect("connected");
    sleeper.subscribe(&[Subscription::new("q/#", Qos::ExactlyOnce)], None).await.expect("subscribed");
    sleeper.disconnect().await.expect("a goodbye");
    let mut publisher = Client::connect(&url, &options("publisher")).await.expect("connected");
    for number in 0..50u8 {
        let qos = if number % 2 == 0 { Qos::AtLeastOnce } else { Qos::ExactlyOnce };
        let message = Message { retain: true, ..Message::new(format!("q/{number}"), [number], qos) };
        publisher.publish(&message).await.expect("acknowledged");
    }

    assert_eq!(node.sigterm_and_wait().code(), Some(0));
    let node = node.restart();

    let mut sleeper = Client::connect(&url, &options("sleeper")).await.expect("connected");
    assert!(sleeper.session_present());
    for number in 0..50u8 {
        let message = sleeper.next().await.expect("a message");
        assert_eq!((message.topic, message.payload), (format!("q/{number}"), vec![number]));
    }
    let mut newcomer = Client::connect(&url, &options("newcomer")).await.expect("connected");
    newcomer.subscribe(&[Subscription::new("q/#", Qos::AtMostOnce)], None).await.expect("subscribed");
    for _ in 0..50 {
        assert!(newcomer.next().await.expect("a retained message").retain);
    }
    drop(node);
}
