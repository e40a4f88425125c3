//! Nodes on one Redis, and clients that connect to one or the other.

use url::Url;
use weir_bench::Client;
use weir_bench::client::{Message, Options, Subscription};
use weir_model::Qos;
use weir_testkit::cluster::Builder;
use weir_testkit::{Cluster, Node, PATIENCE, Redis};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_weir");

pub const EVERY_QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

/// A cluster and the Redis it works on, ended in this order.
pub struct Scene {
    pub cluster: Cluster,
    pub redis: Redis,
}

impl Scene {
    /// Three nodes.
    pub fn start() -> Scene {
        Scene::start_with(|builder| builder)
    }

    pub fn start_with(change: impl FnOnce(Builder) -> Builder) -> Scene {
        let redis = Redis::start();
        let cluster = change(Cluster::of(PROGRAM, &redis.url())).start();
        Scene { cluster, redis }
    }

    pub async fn connect(&self, node: usize, options: &Options) -> Client {
        connect(self.cluster.node(node), options).await
    }

    /// A client with a clean session.
    pub async fn client(&self, node: usize, client_id: &str) -> Client {
        self.connect(node, &clean(client_id)).await
    }
}

pub async fn connect(node: &Node, options: &Options) -> Client {
    Client::connect(&url(node), options).await.expect("the node takes a client")
}

pub fn url(node: &Node) -> Url {
    Url::parse(&format!("mqtt://{}", node.address("mqtt"))).expect("a URL")
}

/// A session that ends with its connection.
pub fn clean(client_id: &str) -> Options {
    Options { client_id: client_id.to_owned(), timeout: PATIENCE, ..Options::default() }
}

/// A session that is kept.
pub fn kept(client_id: &str) -> Options {
    Options { clean_start: false, session_expiry_seconds: Some(3600), ..clean(client_id) }
}

pub async fn subscribe(client: &mut Client, filter: &str, qos: Qos) {
    client.subscribe(&[Subscription::new(filter, qos)], None).await.expect("subscribed");
}

/// Publishes and waits for the acknowledgement.
pub async fn publish(client: &mut Client, topic: &str, payload: &str, qos: Qos) {
    client.publish(&Message::new(topic, payload, qos)).await.expect("published");
}

/// The same, retained.
pub async fn retain(client: &mut Client, topic: &str, payload: &str, qos: Qos) {
    let message = Message { retain: true, ..Message::new(topic, payload, qos) };
    client.publish(&message).await.expect("published");
}

/// The payload of the next message.
pub async fn next(client: &mut Client) -> String {
    let message = client.next().await.expect("a message");
    String::from_utf8(message.payload).expect("text")
}

/// The next so many payloads.
pub async fn next_many(client: &mut Client, count: usize) -> Vec<String> {
    let mut payloads = Vec::new();
    while payloads.len() < count {
        payloads.push(next(client).await);
    }
    payloads
}
