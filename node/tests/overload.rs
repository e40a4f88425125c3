//! Promise: whoever sends too fast, too often or too much is slowed, held off or let go, which is counted; the node stays
//! within its memory, stays up and serves the others.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use url::Url;
use weir_bench::Client;
use weir_bench::client::{Message, Options, Subscription};
use weir_model::Qos;
use weir_testkit::{Node, PATIENCE, RawMqtt, eventually};
use weir_wire::mqtt::{
    Connect, List, Packet, Publish, Subscribe, SubscribeOptions, UserProperties, Version, decode, encode,
};

const MIB: u64 = 1 << 20;

fn node() -> weir_testkit::node::Builder {
    Node::of(env!("CARGO_BIN_EXE_weir")).store("memory").listen("http").set("broker.sys_interval_seconds", 0)
}

fn options(client_id: &str) -> Options {
    Options { client_id: client_id.to_owned(), timeout: PATIENCE, ..Options::default() }
}

async fn connect(node: &Node, client_id: &str) -> Client {
    let url = Url::parse(&format!("mqtt://{}", node.address("mqtt"))).expect("a URL");
    Client::connect(&url, &options(client_id)).await.expect("the node takes a client")
}

fn throttled(node: &Node, direction: &str, what: &str) -> f64 {
    let series = format!("weir_gateway_throttled_total{{direction=\"{direction}\",what=\"{what}\"}}");
    node.metrics().value(&series)
}

/// The first answer to a CONNECT, and the connection.
fn greeted(address: SocketAddr, version: Version, client_id: &str) -> (u8, RawMqtt) {
    greeting(RawMqtt::connect(address), version, client_id)
}

fn greeting(mut raw: RawMqtt, version: Version, client_id: &str) -> (u8, RawMqtt) {
    let mut bytes = Vec::new();
    encode::connect(&mut bytes, &Connect::new(version, client_id));
    raw.send(&bytes);
    let connack = raw.frame();
    assert_eq!(connack[0], 0x20, "{connack:02x?}");
    (connack[3], raw)
}

/// The code of the DISCONNECT that comes next; `None` when the connection ends without one.
fn goodbye(raw: &mut RawMqtt) -> Option<u8> {
    match decode(&raw.frame_or_end().ok()?, Version::V5).expect("a good frame") {
        Packet::Disconnect(disconnect) => Some(disconnect.code.as_u8()),
        other => panic!("{other:?}"),
    }
}

fn publish(topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode::publish(&mut bytes, &Publish::new(topic, payload), Version::V5);
    bytes
}

/// A clean session that has subscribed and reads nothing more.
fn deaf(node: &Node, filter: &str) -> RawMqtt {
    let (code, mut raw) = greeted(node.address("mqtt"), Version::V5, "");
    assert_eq!(code, 0);
    assert_eq!(suback(&mut raw, &[filter]), [0]);
    raw
}

/// The codes that answer a SUBSCRIBE.
fn suback(raw: &mut RawMqtt, filters: &[&str]) -> Vec<u8> {
    let filters: Vec<_> = filters.iter().map(|filter| (*filter, SubscribeOptions::default())).collect();
    let subscribe = Subscribe {
        packet_id: std::num::NonZeroU16::MIN,
        filters: List::of(&filters),
        subscription_id: None,
        user: UserProperties::default(),
    };
    let mut bytes = Vec::new();
    encode::subscribe(&mut bytes, &subscribe, Version::V5);
    raw.send(&bytes);
    let suback = raw.frame();
    assert_eq!(suback[0], 0x90);
    suback[suback.len() - filters.len()..].to_vec()
}

/// Publishes `messages` of `size` bytes at QoS 0 as fast as the node takes them; all of them must arrive.
async fn flows_whole(node: &Node, messages: u32, size: usize) {
    let mut reader = connect(node, "reader").await;
    reader.subscribe(&[Subscription::new("t", Qos::AtMostOnce)], None).await.expect("subscribed");
    let mut writer = connect(node, "writer").await;
    let writing = tokio::spawn(async move {
        for number in 0..messages {
            let mut payload = vec![0; size];
            payload[..4].copy_from_slice(&number.to_be_bytes());
            writer.publish(&Message::new("t", payload, Qos::AtMostOnce)).await.expect("taken");
        }
        writer.ping().await.expect("an answer");
    });
    for number in 0..messages {
        assert_eq!(reader.next().await.expect("a message").payload[..4], number.to_be_bytes());
    }
    writing.await.expect("all was sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_beyond_its_message_rate_waits_and_loses_nothing() {
    let node = node().set("gateway.messages_per_second_in_max", 200).start();
    flows_whole(&node, 500, 8).await;
    assert!(throttled(&node, "in", "messages") > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_beyond_its_byte_rate_waits_and_loses_nothing() {
    let node = node().set("gateway.bytes_per_second_in_max", 200 << 10).start();
    flows_whole(&node, 50, 10 << 10).await;
    assert!(throttled(&node, "in", "bytes") > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_is_sent_no_more_messages_than_its_rate_and_the_rest_waits() {
    let node = node().set("gateway.messages_per_second_out_max", 200).start();
    flows_whole(&node, 500, 8).await;
    assert!(throttled(&node, "out", "messages") > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_is_sent_no_more_bytes_than_its_rate_and_the_rest_waits() {
    let node = node().set("gateway.bytes_per_second_out_max", 200 << 10).start();
    flows_whole(&node, 50, 10 << 10).await;
    assert!(throttled(&node, "out", "bytes") > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_the_outbox_of_a_paced_subscriber_is_dropped_oldest_first_and_counted() {
    let node = node()
        .set("gateway.messages_per_second_out_max", 1)
        .set("broker.outbox_bytes_max", 64 << 10)
        .set("broker.outbox_bytes_high", 1 << 20)
        .start();
    let mut reader = connect(&node, "reader").await;
    reader.subscribe(&[Subscription::new("t", Qos::AtMostOnce)], None).await.expect("subscribed");
    let mut writer = connect(&node, "writer").await;
    for number in 0..250u8 {
        writer.publish(&Message::new("t", [number; 1000], Qos::AtMostOnce)).await.expect("taken");
    }
    writer.ping().await.expect("an answer");
    // At one a second the newest would take minutes if the oldest had not gone.
    while reader.next().await.expect("a message").payload[0] < 180 {}
    let dropped = node.metrics().value("weir_broker_copies_dropped_total{reason=\"outbox_full\"}");
    assert!(dropped >= 170.0, "{dropped}");
}

#[tokio::test]
async fn names_deeper_than_configured_are_refused_everywhere() {
    let node = node().set("broker.topic_levels_max", 3).start();
    let address = node.address("mqtt");

    let (_, mut raw) = greeted(address, Version::V5, "subscriber");
    assert_eq!(suback(&mut raw, &["a/b/c/d", "a/+/c/#", "$share/g/a/b/c", "a/b/c"]), [0x8F, 0x8F, 0, 0]);

    raw.send(&publish("a/b/c/d", b"x"));
    assert_eq!(goodbye(&mut raw), Some(0x90));

    let mut raw = RawMqtt::connect(address);
    let mut connect = Connect::new(Version::V5, "testator");
    connect.will = Some(weir_wire::mqtt::Will::new("a/b/c/d", b"gone"));
    let mut bytes = Vec::new();
    encode::connect(&mut bytes, &connect);
    raw.send(&bytes);
    assert_eq!(raw.frame()[3], 0x90);
    assert_eq!(node.metrics().sum("weir_broker_messages_refused_total"), 1.0);
    assert_eq!(node.metrics().sum("weir_gateway_subscriptions_refused_total"), 2.0);
}

#[tokio::test]
async fn one_subscription_too_many_is_refused_and_one_that_is_known_is_not() {
    let node = node().set("broker.subscriptions_max", 2).start();
    let (_, mut raw) = greeted(node.address("mqtt"), Version::V5, "subscriber");
    assert_eq!(suback(&mut raw, &["a", "b", "c"]), [0, 0, 0x97]);
    assert_eq!(suback(&mut raw, &["b", "d"]), [0, 0x97]);
    let refused = node.metrics().sum("weir_gateway_subscriptions_refused_total");
    assert_eq!(refused, 2.0);
}

#[tokio::test]
async fn a_delay_beyond_the_longest_is_refused() {
    let node = node().set("broker.delay_seconds_max", 60).start();
    let (_, mut raw) = greeted(node.address("mqtt"), Version::V5, "publisher");
    raw.send(&publish("$delayed/61/a", b"x"));
    assert_eq!(goodbye(&mut raw), Some(0x90));
    assert_eq!(node.metrics().sum("weir_broker_messages_refused_total"), 1.0);
}

#[tokio::test]
async fn a_flapping_client_is_held_off_and_no_other() {
    let node = node().set("gateway.flapping_connects_max", 3).start();
    let address = node.address("mqtt");
    for _ in 0..3 {
        assert_eq!(greeted(address, Version::V5, "restless").0, 0);
    }
    assert_eq!(greeted(address, Version::V5, "restless").0, 0x97);
    assert_eq!(greeted(address, Version::V311, "restless").0, 3);
    assert_eq!(greeted(address, Version::V5, "calm").0, 0);
    assert_eq!(node.metrics().value("weir_gateway_flapping_total"), 2.0);
}

#[tokio::test]
async fn an_address_that_guesses_passwords_is_refused_before_they_are_looked_at() {
    let node = node()
        .set("access.jwt.secret", "a secret nobody guesses in a test")
        .set("gateway.auth_failures_max", 3)
        .start();
    let guess = |version| {
        let mut raw = RawMqtt::connect(node.address("mqtt"));
        let mut connect = Connect::new(version, "guesser");
        (connect.username, connect.password) = (Some("JWT"), Some(b"not.a.token".as_slice()));
        let mut bytes = Vec::new();
        encode::connect(&mut bytes, &connect);
        raw.send(&bytes);
        raw.frame()[3]
    };
    for _ in 0..4 {
        assert_eq!(guess(Version::V5), 0x86);
    }
    assert_eq!(guess(Version::V5), 0x97);
    assert_eq!(guess(Version::V311), 3);
    assert_eq!(node.metrics().value("weir_gateway_auth_throttled_total"), 2.0);
}

/// A node that may use little more than it uses idle, with its levels far enough apart for a busy test machine.
fn short_of_memory(more_mib: u64) -> (Node, u64) {
    let idle = node().start().resident_bytes();
    let max = idle + more_mib * MIB;
    let node = node()
        .set("broker.memory_max_bytes", max)
        .set("broker.memory_stop_accepting_percent", 55)
        .set("broker.memory_stop_reading_percent", 60)
        .set("broker.memory_shed_percent", 70)
        .set("broker.memory_hold_seconds_max", 2)
        .set("gateway.connect_timeout_ms", 60_000)
        .start();
    (node, max)
}

/// How often it has logged this.
fn said(node: &Node, what: &str) -> usize {
    node.stderr().matches(what).count()
}

/// The node has recovered: a pair that behaves is served.
async fn a_pair_is_served(node: &Node) {
    eventually("somebody to be let in again", || {
        (greeted(node.address("mqtt"), Version::V5, "").0 == 0).then_some(())
    });
    let mut reader = connect(node, "good-reader").await;
    reader.subscribe(&[Subscription::new("good", Qos::AtLeastOnce)], None).await.expect("subscribed");
    let mut writer = connect(node, "good-writer").await;
    for number in 0..100u8 {
        writer.publish(&Message::new("good", [number], Qos::AtLeastOnce)).await.expect("acknowledged");
        assert_eq!(reader.next().await.expect("a message").payload, [number]);
    }
}

/// Floods all of `topics` until told to stop, again and again after being thrown out.
fn flood(address: SocketAddr, topics: usize, stop: Arc<AtomicBool>) -> JoinHandle<()> {
    let frames: Vec<_> = (0..topics).map(|n| publish(&format!("flood/{n}"), &[0; 64 << 10])).collect();
    std::thread::spawn(move || {
        while !stop.load(Ordering::Acquire) {
            let Ok(mut raw) = RawMqtt::try_connect(address) else { continue };
            let mut hello = Vec::new();
            encode::connect(&mut hello, &Connect::new(Version::V5, ""));
            let _ = raw.try_send(&hello);
            let mut frames = frames.iter().cycle();
            while !stop.load(Ordering::Acquire) && raw.try_send(frames.next().expect("endless")).is_ok() {}
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_short_of_memory_holds_publishers_and_sheds_and_serves_afterwards() {
    const DEAF: usize = 150;
    let (mut node, max) = short_of_memory(256);
    let deaf: Vec<_> = (0..DEAF).map(|n| deaf(&node, &format!("flood/{n}"))).collect();
    let (stop, mut peak) = (Arc::new(AtomicBool::new(false)), 0);
    let attacker = flood(node.address("mqtt"), DEAF, stop.clone());
    // What is shed makes room for more: it stays at its limit.
    eventually("memory to run short again and again", || {
        peak = peak.max(node.resident_bytes());
        (said(&node, "stop_reading") > 0 && said(&node, "waiting messages were shed") > 2).then_some(())
    });
    assert!(peak < max, "{} MiB of {} MiB", peak / MIB, max / MIB);

    stop.store(true, Ordering::Release);
    drop(deaf);
    a_pair_is_served(&node).await;
    attacker.join().expect("the attacker gave up");
    assert!(node.is_running());
    let metrics = node.metrics();
    assert!(metrics.value("weir_broker_copies_dropped_total{reason=\"shed\"}") > 0.0);
    assert!(metrics.value("weir_gateway_held_total") > 0.0);
    assert_eq!(metrics.value("weir_broker_memory_max_bytes"), max as f64);
    eventually("all levels to be left", || {
        (node.metrics().value("weir_broker_memory_pressure_level") == 0.0).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishes_half_sent_cannot_keep_a_node_out_of_memory() {
    let (node, max) = short_of_memory(128);
    let address = node.address("mqtt");
    let whole = publish("t", &vec![0; 1000 << 10]);
    // Accepted before memory runs short: later ones wait in the kernel.
    let mut early: Vec<_> = (0..50).map(|_| RawMqtt::connect(address)).collect();
    let mut stalling: Vec<_> = (0..300).map(|_| (greeted(address, Version::V5, "").1, 0)).collect();
    for (raw, _) in &stalling {
        raw.stream().set_nonblocking(true).expect("a socket");
    }
    eventually("the server to be busy", || {
        for (raw, sent) in &mut stalling {
            *sent += raw.stream().write(&whole[*sent..950 << 10]).unwrap_or(0);
        }
        assert!(node.resident_bytes() < max);
        let short = said(&node, "short of memory") > 0;
        (short && greeting(early.pop().expect("one that is left"), Version::V5, "").0 == 0x89).then_some(())
    });
    let told = eventually("somebody to be let go", || {
        stalling.iter().position(|(raw, _)| raw.stream().peek(&mut [0]).is_ok_and(|bytes| bytes > 0))
    });
    let (raw, _) = &mut stalling[told];
    raw.stream().set_nonblocking(false).expect("a socket");
    assert_eq!(goodbye(raw), Some(0x89));
    a_pair_is_served(&node).await;
}

/// Who had a connection before is refused at CONNECT; who comes later waits in the kernel and is let in afterwards.
#[tokio::test]
async fn a_node_short_of_memory_refuses_who_says_connect_and_lets_the_others_wait() {
    const MESSAGES: usize = 1200;
    let max = node().start().resident_bytes() + 64 * MIB;
    let node = node()
        .set("broker.memory_max_bytes", max)
        .set("broker.memory_stop_accepting_percent", 70)
        .set("broker.memory_stop_reading_percent", 0)
        .set("broker.memory_shed_percent", 0)
        .set("gateway.connect_timeout_ms", 60_000)
        .start();
    let address = node.address("mqtt");
    let mut publisher = connect(&node, "publisher").await;
    let early = [Version::V5, Version::V311].map(|version| (version, RawMqtt::connect(address)));
    let retained = |number: usize, payload: &[u8]| Message {
        retain: true,
        ..Message::new(format!("r/{number}"), payload, Qos::AtLeastOnce)
    };
    for number in 0..MESSAGES {
        publisher.publish(&retained(number, &[1; 64 << 10])).await.expect("kept");
    }
    eventually("memory to run short", || (said(&node, "short of memory") > 0).then_some(()));
    for ((version, raw), code) in early.into_iter().zip([0x89, 3]) {
        assert_eq!(greeting(raw, version, "").0, code);
    }
    let metrics = node.metrics();
    assert_eq!(metrics.value("weir_gateway_connections_refused_total{reason=\"pressure\"}"), 2.0);
    assert_eq!(metrics.sum("weir_gateway_connects_refused_total"), 2.0);

    let mut late = RawMqtt::connect(address);
    let mut bytes = Vec::new();
    encode::connect(&mut bytes, &Connect::new(Version::V5, "late"));
    late.send(&bytes);
    for number in 0..MESSAGES {
        publisher.publish(&retained(number, b"")).await.expect("taken away");
    }
    assert_eq!(late.frame()[3], 0);
}

/// `weir serve` says it before anybody comes.
#[test]
fn the_worst_case_of_the_configuration_is_said_at_start_by_its_largest_terms() {
    let node = node().set("gateway.packet_bytes_max", 256 * MIB).start();
    let said = node.stderr();
    assert!(said.contains("worst_case="), "{said}");
    assert!(said.contains("gateway.packet_bytes_max"), "{said}");
}
