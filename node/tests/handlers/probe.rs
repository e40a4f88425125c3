//! `probe`, the handler that does what its message says: its versions, messages for it, and what it tells.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde::Deserialize;
use tokio::task::JoinHandle;
use url::Url;
use weir_admin::client::Client as Admin;
use weir_admin::proto::{HandlerBindingSpec, HandlerLimits, StreamRecord};
use weir_bench::Client;
use weir_bench::client::{Message, Options, Subscription};
use weir_model::Qos;
use weir_testkit::{Node, PATIENCE};

use crate::scene::{bind, binding, example, from_stream, read, stream, until, upload};

/// What the program says of itself, and where in that its version is.
const MARK: &[u8] = b"probe version 01";

/// Keys of a [`Load`].
const KEYS: usize = 7;

/// What `probe` tells of a message.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Told {
    pub seq: u64,
    pub count: u64,
    pub version: String,
    pub config: Option<String>,
}

impl Told {
    pub fn of(record: &StreamRecord) -> Told {
        serde_json::from_slice(&record.payload).expect("what probe tells")
    }
}

/// The program in this version, two digits.
pub fn program(version: &str) -> Vec<u8> {
    let mut bytes = example("probe");
    let places: Vec<usize> =
        bytes.windows(MARK.len()).enumerate().filter(|(_, at)| *at == MARK).map(|(at, _)| at).collect();
    let [at] = places[..] else { panic!("the mark stands {} times in the program", places.len()) };
    bytes[at + MARK.len() - 2..at + MARK.len()].copy_from_slice(version.as_bytes());
    bytes
}

/// `probe` is there in version 01, and streams are: `in` of these partitions, `first`, `second` and `dead`.
pub async fn prepare(admin: &Admin, partitions: u32) -> String {
    let digest = upload(admin, "probe", program("01")).await.expect("kept").digest;
    stream(admin, "in", "in/+", partitions).await;
    stream(admin, "first", "first/+", 2).await;
    stream(admin, "second", "second/+", 2).await;
    stream(admin, "dead", "nothing", 1).await;
    digest
}

/// More time for a call than any needs, however busy the machine is.
pub fn ample() -> HandlerLimits {
    HandlerLimits { time_ms: 60_000, wall_time_ms: 60_000, ..HandlerLimits::default() }
}

/// A binding of `probe` to `in` that tries quickly, and may tell what it has to.
pub fn from_in() -> HandlerBindingSpec {
    HandlerBindingSpec {
        dead_letter: "dead".to_owned(),
        backoff_ms: vec![10],
        attempts_max: Some(3),
        limits: Some(ample()),
        ..from_stream("probe", "in", &["first/+", "second/+"])
    }
}

/// Streams are there, and `probe` is bound as `b` to `in`.
pub async fn bound(admin: &Admin, partitions: u32) {
    prepare(admin, partitions).await;
    bind(admin, "b", from_in()).await.expect("bound");
}

pub async fn client(node: &Node) -> Client {
    connect(&url(node)).await.expect("the node takes a client")
}

fn url(node: &Node) -> Url {
    Url::parse(&format!("mqtt://{}", node.address("mqtt"))).expect("a URL")
}

async fn connect(url: &Url) -> Result<Client, weir_bench::client::Error> {
    Client::connect(url, &Options { timeout: PATIENCE, ..Options::default() }).await
}

pub async fn subscribe(client: &mut Client, filter: &str) {
    client.subscribe(&[Subscription::new(filter, Qos::AtLeastOnce)], None).await.expect("subscribed");
}

/// Publishes with QoS 1, and waits for the acknowledgement.
pub async fn send(client: &mut Client, topic: &str, payload: impl Into<Vec<u8>>) {
    client.publish(&Message::new(topic, payload, Qos::AtLeastOnce)).await.expect("published");
}

/// Topic and text of the next message.
pub async fn next(client: &mut Client) -> (String, String) {
    let message = tokio::time::timeout(PATIENCE, client.next()).await.expect("in time").expect("a message");
    (message.topic, String::from_utf8(message.payload).expect("text"))
}

/// A device that publishes to `in/0` to `in/6` with QoS 1, one after the other, whatever becomes of the node; what is
/// not acknowledged it publishes again.
pub struct Load {
    sent: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    device: JoinHandle<()>,
}

impl Load {
    pub fn start(node: &Node) -> Load {
        let (sent, is_over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let device = tokio::spawn(publish_all(url(node), sent.clone(), is_over.clone()));
        Load { sent, is_over, device }
    }

    /// How many were acknowledged.
    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::Acquire)
    }

    /// Waits until so many more are acknowledged.
    pub async fn more(&self, count: usize) {
        let wanted = self.sent() + count;
        until("acknowledgements", async || (self.sent() >= wanted).then_some(())).await;
    }

    /// Ends it; how many were acknowledged.
    pub async fn finish(self) -> usize {
        self.is_over.store(true, Ordering::Release);
        self.device.await.expect("the device");
        self.sent.load(Ordering::Acquire)
    }
}

async fn publish_all(url: Url, sent: Arc<AtomicUsize>, is_over: Arc<AtomicBool>) {
    let mut seq = 0;
    while !is_over.load(Ordering::Acquire) {
        let Ok(mut client) = connect(&url).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        while !is_over.load(Ordering::Acquire) {
            let message =
                Message::new(format!("in/{}", seq % KEYS), format!(r#"{{"seq": {seq}}}"#), Qos::AtLeastOnce);
            if client.publish(&message).await.is_err() {
                break;
            }
            seq += 1;
            sent.store(seq, Ordering::Release);
        }
    }
}

/// By the last level of their topics: what each record says of its number, in order.
fn numbers(records: &[StreamRecord]) -> BTreeMap<String, Vec<u64>> {
    #[derive(Deserialize)]
    struct Numbered {
        seq: u64,
    }
    let mut numbers: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for record in records {
        let who = record.topic.rsplit('/').next().unwrap_or_default().to_owned();
        let numbered: Numbered = serde_json::from_slice(&record.payload).expect("a number");
        numbers.entry(who).or_default().push(numbered.seq);
    }
    numbers
}

/// Waits until everything in `in` is handled, and fails unless each record has led to each of its events once, in order
/// by key, with a state that has seen each record once. `least`: so many records there are.
pub async fn assert_each_once(admin: &Admin, least: usize) {
    until("no lag", async || (binding(admin, "b").await.group?.lag == 0).then_some(())).await;
    let sent = read(admin, "in").await;
    assert!(sent.len() >= least, "{} records of {least} that were acknowledged", sent.len());
    let wanted = numbers(&sent);
    for which in ["first", "second"] {
        let found = until("all events", async || {
            Some(read(admin, which).await).filter(|found| found.len() >= sent.len())
        })
        .await;
        assert_eq!(numbers(&found), wanted, "{which}");
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for record in &found {
            let count = counts.entry(&record.topic).or_default();
            *count += 1;
            assert_eq!(Told::of(record).count, *count, "{}", record.topic);
        }
    }
    assert_eq!(read(admin, "dead").await, []);
}
