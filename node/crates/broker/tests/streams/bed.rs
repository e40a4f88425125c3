//! Brokers over a memory store, streams in them, and members that do what the test says.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use weir_access::Access;
use weir_broker::stream::Spec;
use weir_broker::stream::group::{
    Batch, Delivered, Ended, GroupDefinition, GroupInfo, Member, MemberOptions, Receipt,
};
use weir_broker::stream::key::KeyRule;
use weir_broker::{Broker, Config};
use weir_model::{DEFAULT_REALM, Filter, Message, Qos, Topic, UnixMillis};
use weir_store::{NodeRef, SharedMemory, Store};

/// Far more than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn realm() -> Arc<str> {
    DEFAULT_REALM.into()
}

pub fn config() -> Config {
    Config {
        sys_interval_seconds: 0,
        stream_trim_ms: 0,
        group_commit_ms: 5,
        group_release_wait_ms: 200,
        group_lease_wait_ms: 500,
        ..Config::default()
    }
}

/// A node with a memory of its own.
pub async fn node() -> Broker {
    node_with(config()).await
}

pub async fn node_with(config: Config) -> Broker {
    let store = weir_store::Config { url: "memory".into(), ..weir_store::Config::default() };
    let (store, _) = weir_store::open(&store, std::path::Path::new("")).unwrap();
    start(config, store).await
}

async fn start(config: Config, store: Arc<dyn Store>) -> Broker {
    Broker::start(config, store, Arc::new(Access::open()), &[]).await.unwrap()
}

/// Nodes that share a memory.
pub struct Shared {
    pub store: SharedMemory,
    nodes: u64,
}

impl Shared {
    pub fn new() -> Shared {
        let clock = Arc::new(|| UnixMillis::from(SystemTime::now()));
        Shared { store: SharedMemory::new(&weir_store::Config::default(), clock), nodes: 0 }
    }

    /// One more.
    pub async fn node(&mut self) -> Broker {
        self.nodes += 1;
        let node = NodeRef { node_id: format!("n{}", self.nodes).into(), incarnation: self.nodes };
        start(config(), self.store.node(node)).await
    }

    /// The node is heard no more, and its lease is over.
    pub async fn kill(&self, node: Broker) {
        self.store.cut(node.incarnation());
        node.shutdown().await;
        node.store().close().await;
    }
}

/// A stream `s` of the topics `t/#`, with the last level of a topic as key of its records.
pub async fn stream(broker: &Broker, partitions: u32) {
    let filters = vec![Filter::new("t/#").unwrap()];
    let spec = Spec { filters, partitions, key: KeyRule::Topic, ..Spec::default() };
    broker.create_stream(&realm(), "s", spec).await.unwrap();
}

pub async fn group(broker: &Broker, definition: GroupDefinition) {
    broker.create_group(&realm(), "s", "g", definition).await.unwrap();
}

/// Publishes these payloads, each to a topic of so many.
pub async fn publish(broker: &Broker, topics: u64, payloads: impl IntoIterator<Item = u64>) {
    let space = broker.realm_or_new(&realm());
    for payload in payloads {
        let message = Arc::new(Message {
            topic: Topic::new(&format!("t/{}", payload % topics)).unwrap(),
            payload: Bytes::from(payload.to_string()),
            qos: Qos::AtLeastOnce,
            retain: false,
            expires_at: None,
            properties: None,
        });
        assert!(broker.publish(&space, &message, None).await);
    }
}

pub async fn join(broker: &Broker) -> Member {
    join_as(broker, MemberOptions::default()).await
}

pub async fn join_as(broker: &Broker, options: MemberOptions) -> Member {
    broker.join_group(&realm(), "s", "g", options).await.unwrap()
}

pub fn payload(delivered: &Delivered) -> u64 {
    std::str::from_utf8(&delivered.record.message.payload).unwrap().parse().unwrap()
}

pub fn payloads(records: &[Delivered]) -> Vec<u64> {
    records.iter().map(payload).collect()
}

pub fn receipts(records: &[Delivered]) -> Vec<Receipt> {
    records.iter().map(|delivered| delivered.receipt).collect()
}

/// What the member is told next.
pub async fn next(member: &mut Member) -> Result<Batch, Ended> {
    tokio::time::timeout(PATIENCE, member.next()).await.expect("there is something")
}

/// The next records, so many of them.
pub async fn take(member: &mut Member, count: usize) -> Vec<Delivered> {
    let mut records = Vec::new();
    while records.len() < count {
        records.extend(next(member).await.unwrap().records);
    }
    assert_eq!(records.len(), count);
    records
}

/// The next so many records, finished.
pub async fn finish(member: &mut Member, count: usize) -> Vec<u64> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let records = next(member).await.unwrap().records;
        assert_eq!(member.ack_sync(&receipts(&records)).await, []);
        seen.extend(payloads(&records));
    }
    assert_eq!(seen.len(), count);
    seen
}

/// Whether nothing comes as long as the store and the groups have something to do.
pub async fn is_given_nothing(member: &mut Member) -> bool {
    tokio::time::timeout(Duration::from_millis(300), member.next()).await.is_err()
}

pub async fn info(broker: &Broker) -> GroupInfo {
    broker
        .groups(&realm(), "s")
        .await
        .unwrap()
        .into_iter()
        .find(|group| &*group.name == "g")
        .expect("a group")
}

/// Records that the group has not finished, as the store knows it.
pub async fn lag(broker: &Broker) -> u64 {
    info(broker).await.partitions.iter().map(|partition| partition.lag()).sum()
}

/// Waits for a condition that is bound to come.
pub async fn until<F: Future<Output = bool>>(what: &str, mut is: impl FnMut() -> F) {
    let waiting = async {
        while !is().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "waited too long: {what}");
}
