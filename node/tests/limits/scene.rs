//! Nodes with small limits, clients that go beyond them, and the counters that say so.

use url::Url;
use weir_bench::Client;
use weir_bench::client::{Options, Subscription};
use weir_model::Qos;
use weir_testkit::node::Builder;
use weir_testkit::{Node, PATIENCE, RawMqtt, eventually};
use weir_wire::mqtt::{Connect, List, Subscribe, SubscribeOptions, UserProperties, Version, encode};

pub fn node() -> Builder {
    Node::of(env!("CARGO_BIN_EXE_weir")).store("memory").listen("http")
}

pub fn options(client_id: &str) -> Options {
    Options { client_id: client_id.to_owned(), timeout: PATIENCE, ..Options::default() }
}

/// With a session that is kept.
pub fn kept(client_id: &str) -> Options {
    Options { clean_start: false, session_expiry_seconds: Some(3600), ..options(client_id) }
}

pub async fn connect(node: &Node, options: &Options) -> Client {
    let url = Url::parse(&format!("mqtt://{}", node.address("mqtt"))).expect("a URL");
    Client::connect(&url, options).await.expect("the node takes a client")
}

/// A session that has subscribed at QoS 1 and is away.
pub async fn sleeper(node: &Node, client_id: &str, filter: &str) {
    let mut client = connect(node, &kept(client_id)).await;
    client.subscribe(&[Subscription::new(filter, Qos::AtLeastOnce)], None).await.expect("subscribed");
    client.disconnect().await.expect("a goodbye");
}

/// An MQTT 5 client with a clean session that has subscribed and does nothing by itself.
pub fn passive(node: &Node, filter: &str, qos: Qos) -> RawMqtt {
    let mut raw = RawMqtt::connect(node.address("mqtt"));
    let filters = [(filter, SubscribeOptions { qos, ..SubscribeOptions::default() })];
    let subscribe = Subscribe {
        packet_id: std::num::NonZeroU16::MIN,
        filters: List::of(&filters),
        subscription_id: None,
        user: UserProperties::default(),
    };
    let mut bytes = Vec::new();
    encode::connect(&mut bytes, &Connect::new(Version::V5, ""));
    encode::subscribe(&mut bytes, &subscribe, Version::V5);
    raw.send(&bytes);
    assert_eq!((raw.frame()[0], raw.frame()[0]), (0x20, 0x90));
    raw
}

pub fn counted(node: &Node, metric: &str, reason: &str) -> f64 {
    node.metrics().value(&format!("{metric}{{reason=\"{reason}\"}}"))
}

pub fn dropped(node: &Node, reason: &str) -> f64 {
    counted(node, "weir_broker_copies_dropped_total", reason)
}

/// How often a limit of this crate, which refuses nothing, was met.
pub fn limited(node: &Node, of: &str, limit: &str) -> f64 {
    node.metrics().value(&format!("weir_{of}_limited_total{{limit=\"{limit}\"}}"))
}

/// Waits until it was met.
pub fn is_limited(node: &Node, of: &str, limit: &str) {
    eventually(limit, || (limited(node, of, limit) > 0.0).then_some(()));
}

/// Waits until connections have ended for this reason.
pub fn is_ended(node: &Node, reason: &str) {
    eventually(reason, || (counted(node, "weir_gateway_disconnects_total", reason) > 0.0).then_some(()));
}
