//! Promise: a full disk refuses what it cannot keep, loses nothing it has acknowledged, and recovers by itself.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use url::Url;
use weir_bench::Client;
use weir_bench::client::{Error, Message, Options, Subscription};
use weir_model::Qos;
use weir_testkit::{Node, PATIENCE};
use weir_wire::mqtt::Version;

/// Large enough for an empty store, small enough to be filled at once.
const DISK: &str = "size=64m";

const PAYLOAD_BYTES: usize = 32 << 10;

/// A small disk of its own; unmounted when dropped.
struct Disk(TempDir);

impl Disk {
    fn mount() -> Disk {
        let place = tempfile::tempdir().expect("a directory");
        run(
            "mount",
            &["-t".as_ref(), "tmpfs".as_ref(), "-o".as_ref(), DISK.as_ref(), "tmpfs".as_ref(), place.path()],
        );
        Disk(place)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a node that failed may still be in it.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn run(program: &str, arguments: &[&Path]) {
    let status = Command::new(program).args(arguments).status();
    let mounted = status.as_ref().is_ok_and(std::process::ExitStatus::success);
    assert!(mounted, "{program} {arguments:?}: {status:?}; mounting a tmpfs needs root");
}

fn node(disk: &Disk) -> Node {
    Node::of(env!("CARGO_BIN_EXE_weir"))
        .on_own_address()
        .listen("http")
        .data_dir(disk.0.path().join("data"))
        .set("store.queue_messages_max", 1_000_000)
        .set("store.queue_bytes_max", 1u64 << 40)
        .set("store.log_segment_bytes", 1 << 20)
        .set("store.log_bytes_max", 8 << 20)
        .start()
}

async fn connect(node: &Node, options: &Options) -> Client {
    let url = Url::parse(&format!("mqtt://{}", node.address("mqtt"))).expect("a URL");
    Client::connect(&url, options).await.expect("the node takes a client")
}

fn persistent(client_id: &str) -> Options {
    Options {
        client_id: client_id.to_owned(),
        clean_start: false,
        session_expiry_seconds: Some(3600),
        timeout: PATIENCE,
        ..Options::default()
    }
}

fn message(number: u32) -> Message {
    let payload = [&number.to_be_bytes()[..], &[0; PAYLOAD_BYTES]].concat();
    Message::new("q", payload, Qos::AtLeastOnce)
}

/// Publishes until it is refused; returns how many were acknowledged.
async fn fill(publisher: &mut Client) -> u32 {
    let mut acknowledged = 0;
    loop {
        match publisher.publish(&message(acknowledged)).await {
            Ok(_) => acknowledged += 1,
            Err(Error::PublishRefused { code, .. }) => {
                assert_eq!(code.as_u8(), 0x97, "quota exceeded");
                return acknowledged;
            }
            Err(error) => panic!("after {acknowledged} messages: {error}"),
        }
        assert!(acknowledged < 10_000, "the disk does not get full");
    }
}

/// Publishes until it is refused, for room may have come back meanwhile; says how that was said.
async fn until_refused(publisher: &mut Client) -> Error {
    for number in 0..10_000 {
        if let Err(error) = publisher.publish(&message(number)).await {
            return error;
        }
    }
    panic!("the disk does not get full");
}

/// Takes messages 0 to `count` in order.
async fn take(subscriber: &mut Client, count: u32) {
    for number in 0..count {
        let next = tokio::time::timeout(PATIENCE, subscriber.next()).await.expect("a message in time");
        assert_eq!(next.expect("a message").payload[..4], number.to_be_bytes());
    }
}

#[tokio::test]
async fn a_full_disk_refuses_with_0x97_and_takes_again_once_it_was_drained() {
    let disk = Disk::mount();
    let mut node = node(&disk);
    let mut sleeper = connect(&node, &persistent("sleeper")).await;
    sleeper.subscribe(&[Subscription::new("q", Qos::AtLeastOnce)], None).await.expect("subscribed");
    sleeper.disconnect().await.expect("a goodbye");
    let mut publisher = connect(&node, &persistent("publisher")).await;

    let acknowledged = fill(&mut publisher).await;
    assert!(acknowledged > 100, "{acknowledged} messages");
    for refused in ["weir_store_refused_total", "weir_broker_messages_refused_total"] {
        assert_eq!(node.metrics().value(&format!("{refused}{{reason=\"disk_full\"}}")), 1.0, "{refused}");
    }
    // Even now nothing is lost by a death.
    node.kill9();
    node = node.restart();
    let mut sleeper = connect(&node, &persistent("sleeper")).await;
    take(&mut sleeper, acknowledged).await;

    let mut publisher = connect(&node, &persistent("publisher")).await;
    let deadline = std::time::Instant::now() + PATIENCE;
    while let Err(error) = publisher.publish(&message(0)).await {
        assert!(matches!(error, Error::PublishRefused { .. }), "{error}");
        assert!(std::time::Instant::now() < deadline, "it does not recover: {error}");
    }
    take(&mut sleeper, 1).await;
    node.balanced();
}

#[tokio::test]
async fn a_full_disk_closes_a_3_1_1_publisher_without_an_answer() {
    let disk = Disk::mount();
    let node = node(&disk);
    let mut sleeper = connect(&node, &persistent("sleeper")).await;
    sleeper.subscribe(&[Subscription::new("q", Qos::AtLeastOnce)], None).await.expect("subscribed");
    sleeper.disconnect().await.expect("a goodbye");
    let mut filler = connect(&node, &persistent("filler")).await;
    fill(&mut filler).await;

    let old = Options { version: Version::V311, ..Options { client_id: "old".into(), ..Options::default() } };
    let mut old = connect(&node, &old).await;
    let refused = until_refused(&mut old).await;
    assert!(matches!(refused, Error::Closed { .. } | Error::Io { .. }), "{refused}");
    // Who needs no store is served.
    let mut old = connect(&node, &Options { client_id: "old".into(), ..Options::default() }).await;
    old.subscribe(&[Subscription::new("live", Qos::AtMostOnce)], None).await.expect("subscribed");
    old.publish(&Message::new("live", "x", Qos::AtMostOnce)).await.expect("taken");
    assert_eq!(old.next().await.expect("a message").payload, b"x");
    node.balanced();
}
