//! What else survives kill -9: wills, delayed messages, and how long a session has left.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use url::Url;
use weir_bench::Client;
use weir_bench::client::{Incoming, Message, Options, Subscription, Will};
use weir_model::Qos;
use weir_testkit::{Node, PATIENCE, eventually};

fn node() -> Node {
    Node::of(env!("CARGO_BIN_EXE_weir")).on_own_address().start()
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

fn with_will(options: Options, delay_seconds: u32) -> Options {
    let topic = format!("will/{}", options.client_id);
    let payload = b"gone".to_vec();
    let will = Will { topic, payload, qos: Qos::AtLeastOnce, delay_seconds, ..Will::default() };
    Options { will: Some(will), ..options }
}

async fn connect(address: SocketAddr, options: &Options) -> Client {
    let url = Url::parse(&format!("mqtt://{address}")).expect("a URL");
    Client::connect(&url, options).await.expect("the node takes a client")
}

/// A persistent session that takes `filter` at QoS 2, connected.
async fn watcher(address: SocketAddr, filter: &str) -> Client {
    let mut client = connect(address, &persistent("watcher")).await;
    client.subscribe(&[Subscription::new(filter, Qos::ExactlyOnce)], None).await.expect("subscribed");
    client
}

async fn publish(address: SocketAddr, topic: &str) {
    let mut client = connect(address, &Options::default()).await;
    client.publish(&Message::new(topic, "x", Qos::AtLeastOnce)).await.expect("acknowledged");
}

/// Leaves when its acknowledgements are in the store: behind them is what the store confirms.
async fn settle(mut client: Client) {
    let kept = Message { retain: true, ..Message::new("settled", "x", Qos::AtLeastOnce) };
    client.publish(&kept).await.expect("acknowledged");
    client.disconnect().await.expect("a goodbye");
}

async fn next(client: &mut Client) -> Incoming {
    let next = tokio::time::timeout(PATIENCE, client.next()).await;
    next.expect("a message in time").expect("a connection that lives")
}

/// Topics that come until `last`, in order of their names.
async fn topics_until(client: &mut Client, last: &str) -> Vec<String> {
    let mut topics = Vec::new();
    loop {
        let topic = next(client).await.topic;
        if topic == last {
            topics.sort();
            return topics;
        }
        topics.push(topic);
    }
}

#[tokio::test]
async fn wills_of_sessions_alive_at_the_kill_are_fired_after_the_restart_and_no_others() {
    let mut node = node();
    let address = node.address("mqtt");
    drop(watcher(address, "will/#").await);
    let clean = Options { client_id: "clean".to_owned(), timeout: PATIENCE, ..Options::default() };
    let _clean = connect(address, &with_will(clean, 0)).await;
    let _persistent = connect(address, &with_will(persistent("persistent"), 0)).await;
    let _patient = connect(address, &with_will(persistent("patient"), 1)).await;
    let polite = connect(address, &with_will(persistent("polite"), 0)).await;
    polite.disconnect().await.expect("a goodbye");
    // A second connection of the same client is taken after the first one's goodbye.
    let again = connect(address, &persistent("polite")).await;
    assert!(again.session_present());

    node.kill9();
    let node = node.restart();

    let mut watcher = connect(address, &persistent("watcher")).await;
    assert!(watcher.session_present());
    let mut fired = Vec::new();
    while fired.len() < 3 {
        fired.push(next(&mut watcher).await.topic);
    }
    publish(address, "will/end").await;
    fired.extend(topics_until(&mut watcher, "will/end").await);
    fired.sort();
    assert_eq!(fired, ["will/clean", "will/patient", "will/persistent"]);
    drop(node);
}

#[tokio::test]
async fn a_fired_will_is_not_fired_again_by_the_next_kill() {
    let mut node = node();
    let address = node.address("mqtt");
    drop(watcher(address, "will/#").await);
    let will = connect(address, &with_will(persistent("once"), 0)).await;
    drop(will);
    let mut watcher = connect(address, &persistent("watcher")).await;
    assert_eq!(next(&mut watcher).await.topic, "will/once");
    settle(watcher).await;

    for _ in 0..2 {
        node.kill9();
        node = node.restart();
    }

    publish(address, "will/end").await;
    let mut watcher = connect(address, &persistent("watcher")).await;
    assert_eq!(topics_until(&mut watcher, "will/end").await, [""; 0]);
}

#[tokio::test]
async fn a_delayed_message_survives_the_kill_and_comes_once() {
    let mut node = node();
    let address = node.address("mqtt");
    drop(watcher(address, "later/#").await);
    publish(address, "$delayed/1/later/one").await;

    node.kill9();
    node = node.restart();
    let mut watcher = connect(address, &persistent("watcher")).await;
    assert_eq!(next(&mut watcher).await.topic, "later/one");
    settle(watcher).await;
    node.kill9();
    let _node = node.restart();

    publish(address, "later/end").await;
    let mut watcher = connect(address, &persistent("watcher")).await;
    assert_eq!(topics_until(&mut watcher, "later/end").await, [""; 0]);
}

#[tokio::test]
async fn session_expiry_counts_on_while_the_node_is_down() {
    let short = Options { session_expiry_seconds: Some(2), ..persistent("short") };
    let long = persistent("long");
    let mut node = node();
    let address = node.address("mqtt");
    for options in [&short, &long] {
        connect(address, options).await.disconnect().await.expect("a goodbye");
    }
    let left = Instant::now();
    let sessions = || connect(address, &long);
    // The node has heard both goodbyes when it takes the same client again.
    assert!(sessions().await.session_present());

    node.kill9();
    eventually("the short session's time to pass", || {
        (left.elapsed() > Duration::from_secs(3)).then_some(())
    });
    let _node = node.restart();

    assert!(
        !connect(address, &short).await.session_present(),
        "its two seconds were over before the restart"
    );
    assert!(connect(address, &long).await.session_present());
}
