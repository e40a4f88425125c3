//! Promise: an actor that panics is started again and counted, and no clean subscriber misses more than is counted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::task::JoinHandle;
use url::Url;
use weir_bench::Client;
use weir_bench::client::{Message, Options, Subscription, Will};
use weir_broker::Broker;
use weir_broker::ledger::Loss;
use weir_broker::outbox::Bell;
use weir_broker::timers::TimersMsg;
use weir_broker::topic::EXACT_SHARDS;
use weir_gateway::{Gateway, Listen};
use weir_model::Qos;
use weir_testkit::{Metrics, PATIENCE, RawMqtt};
use weir_wire::mqtt::{Connect, List, Subscribe, SubscribeOptions, UserProperties, Version, encode};

/// As many as the directory has.
const SESSION_SHARDS: usize = 16;

/// A broker and its gateway in this process.
struct Running {
    broker: Broker,
    gateway: Gateway,
    url: Url,
}

fn recorder() -> &'static PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    RECORDER.get_or_init(|| PrometheusBuilder::new().install_recorder().expect("the only recorder"))
}

fn restarts(kind: &str) -> f64 {
    let metrics = Metrics::read(&recorder().render());
    metrics.value(&format!("weir_broker_actor_restarts_total{{kind=\"{kind}\"}}"))
}

async fn start() -> Running {
    recorder();
    let config = weir_store::Config { url: "memory".to_owned(), ..weir_store::Config::default() };
    let (store, _) = weir_store::open(&config, std::path::Path::new("")).expect("a store");
    let access = Arc::new(weir_access::Access::open());
    let broker = Broker::start(weir_broker::Config::default(), store, access, weir_gateway::FORMS)
        .await
        .expect("a broker");
    let listen = Listen { mqtt: "127.0.0.1:0".parse().ok(), ..Listen::default() };
    let (config, net) = (weir_gateway::Config::default(), weir_net::Config::default());
    let render = Arc::new(|| recorder().render());
    let health = Arc::new(|| weir_gateway::Health::READY);
    let started = Gateway::start(broker.clone(), config, net, listen, render, health).await;
    let gateway = started.expect("a gateway");
    let url = Url::parse(&format!("mqtt://{}", gateway.addresses()[0].1)).expect("a URL");
    Running { broker, gateway, url }
}

async fn connect(url: &Url, client_id: &str) -> Client {
    let options = Options { client_id: client_id.to_owned(), timeout: PATIENCE, ..Options::default() };
    Client::connect(url, &options).await.expect("a client is taken")
}

async fn subscribe(client: &mut Client, filter: &str, qos: Qos) {
    client.subscribe(&[Subscription::new(filter, qos)], None).await.expect("subscribed");
}

/// Waits until `done`; nobody announces a metric.
async fn until(waiting_for: &str, done: impl Fn() -> bool) {
    let reached = async {
        while !done() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, reached)
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {waiting_for}"));
}

/// Everything is accounted for, panics or not.
async fn balanced(running: &Running) {
    until("the ledger to balance", || running.broker.balance().imbalance() == 0).await;
}

/// Publishes numbers to `topic` until told to stop; the last payload is `end`. Returns how many it published.
fn publish_on(url: &Url, topic: &'static str, qos: Qos, stop: Arc<AtomicBool>) -> JoinHandle<u64> {
    let url = url.clone();
    tokio::spawn(async move {
        let mut client = connect(&url, &format!("publisher-of-{topic}")).await;
        let mut sent = 0u64;
        while !stop.load(Ordering::Acquire) {
            client.publish(&Message::new(topic, sent.to_string(), qos)).await.expect("published");
            sent += 1;
            if sent.is_multiple_of(64) {
                client.ping().await.expect("an answer");
            }
        }
        client.publish(&Message::new(topic, "end", qos)).await.expect("published");
        client.ping().await.expect("an answer");
        sent
    })
}

/// Counts what comes until `end`, or until the connection is gone.
fn count_on(mut client: Client, received: Arc<AtomicU64>) -> JoinHandle<()> {
    tokio::spawn(async move {
        while let Ok(message) = client.next().await {
            if message.payload == b"end" {
                return;
            }
            received.fetch_add(1, Ordering::AcqRel);
        }
    })
}

/// Somebody new can come in, subscribe in every shard's way, and hear.
async fn a_newcomer_is_served(url: &Url, round: usize) {
    let mut client = connect(url, &format!("newcomer-{round}")).await;
    let (exact, wild) = (format!("new/{round}"), format!("new/{round}/+"));
    subscribe(&mut client, &exact, Qos::AtLeastOnce).await;
    subscribe(&mut client, &wild, Qos::AtLeastOnce).await;
    for topic in [exact.clone(), format!("{exact}/x")] {
        client.publish(&Message::new(&topic, "x", Qos::AtLeastOnce)).await.expect("acknowledged");
        assert_eq!(client.next().await.expect("a message").topic, topic);
    }
    client.disconnect().await.expect("a goodbye");
}

/// Panics `count` actors of one kind, one after the other, and waits for their successors.
async fn panic_each(running: &Running, kind: &str, count: usize, panic: fn(&Running, usize)) {
    for index in 0..count {
        let before = restarts(kind);
        panic(running, index);
        if kind == "listener" {
            // It panics when it is next heard of.
            drop(tokio::net::TcpStream::connect(running.gateway.addresses()[0].1).await);
        }
        until("a restart to be counted", || restarts(kind) > before).await;
        a_newcomer_is_served(&running.url, index).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_of_any_actor_is_counted_and_costs_no_clean_subscriber_anything() {
    let running = start().await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut readers = Vec::new();
    for (name, filter, qos) in [
        ("exact", "traffic/one", Qos::AtMostOnce),
        ("exact-qos1", "traffic/one", Qos::AtLeastOnce),
        ("wild", "traffic/#", Qos::AtLeastOnce),
    ] {
        let mut client = connect(&running.url, name).await;
        subscribe(&mut client, filter, qos).await;
        let received = Arc::new(AtomicU64::new(0));
        readers.push((name, received.clone(), count_on(client, received)));
    }
    let publisher = publish_on(&running.url, "traffic/one", Qos::AtLeastOnce, stop.clone());

    panic_each(&running, "topic_shard", EXACT_SHARDS + 1, |r, shard| r.broker.topics().panic(shard)).await;
    panic_each(&running, "session_shard", SESSION_SHARDS, |r, shard| r.broker.sessions().panic(shard)).await;
    panic_each(&running, "timers", 2, |r, _| assert!(r.broker.timers().cast(TimersMsg::Panic))).await;
    panic_each(&running, "listener", 2, |r, _| r.gateway.panic("mqtt")).await;

    stop.store(true, Ordering::Release);
    let sent = publisher.await.expect("the publisher was never disturbed");
    assert!(sent > 0);
    let lost: u64 = Loss::ALL.iter().map(|loss| running.broker.ledger().dropped(*loss)).sum();
    assert_eq!(lost, 0, "nobody was slow");
    for (name, received, reading) in readers {
        tokio::time::timeout(PATIENCE, reading).await.expect("the end in time").expect("no panic");
        assert_eq!(received.load(Ordering::Acquire), sent, "{name}");
    }
    balanced(&running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_of_a_connection_loses_no_more_than_is_counted_and_fires_its_will() {
    let running = start().await;
    let stop = Arc::new(AtomicBool::new(false));
    let will = Will { topic: "gone".to_owned(), payload: b"x".to_vec(), ..Will::default() };
    let doomed =
        Options { client_id: "doomed".to_owned(), will: Some(will), timeout: PATIENCE, ..Options::default() };
    let mut doomed = Client::connect(&running.url, &doomed).await.expect("a client is taken");
    let mut other = connect(&running.url, "other").await;
    let mut watcher = connect(&running.url, "watcher").await;
    subscribe(&mut watcher, "gone", Qos::AtMostOnce).await;
    for client in [&mut doomed, &mut other] {
        subscribe(client, "traffic", Qos::AtMostOnce).await;
    }
    let (by_doomed, by_other) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let readers = [count_on(doomed, by_doomed.clone()), count_on(other, by_other.clone())];
    let publisher = publish_on(&running.url, "traffic", Qos::AtMostOnce, stop.clone());

    until("traffic", || by_doomed.load(Ordering::Acquire) > 500).await;
    let realm = Arc::from(weir_model::DEFAULT_REALM);
    let session = running.broker.sessions().find(&realm, &Arc::from("doomed")).expect("it is known");
    session.outbox.ring(Bell::Panic);
    until("the panic to be counted", || restarts("connection") == 1.0).await;
    let will = tokio::time::timeout(PATIENCE, watcher.next()).await.expect("the will in time");
    assert_eq!(will.expect("the will").topic, "gone");
    a_newcomer_is_served(&running.url, 0).await;

    stop.store(true, Ordering::Release);
    let sent = publisher.await.expect("the publisher was never disturbed");
    for reading in readers {
        tokio::time::timeout(PATIENCE, reading).await.expect("an end in time").expect("no panic");
    }
    assert_eq!(by_other.load(Ordering::Acquire), sent, "the other one misses nothing");
    // Two for the newcomer, one will, and the end that `other` was told.
    let ledger = running.broker.ledger();
    let lost: u64 = Loss::ALL.iter().map(|loss| ledger.dropped(*loss)).sum();
    let received = by_doomed.load(Ordering::Acquire) + by_other.load(Ordering::Acquire);
    assert_eq!(received + lost + 4, ledger.matched.get(), "{lost} counted as lost");
    balanced(&running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_panicked_member_of_a_group_had_not_answered_goes_to_another_one() {
    let running = start().await;
    let mut doomed = RawMqtt::connect(running.gateway.addresses()[0].1);
    let mut bytes = Vec::new();
    encode::connect(&mut bytes, &Connect::new(Version::V5, "doomed"));
    let options = SubscribeOptions { qos: Qos::AtLeastOnce, ..SubscribeOptions::default() };
    let filters = [("$share/g/t", options)];
    let packet = Subscribe {
        packet_id: std::num::NonZeroU16::MIN,
        filters: List::of(&filters),
        subscription_id: None,
        user: UserProperties::default(),
    };
    encode::subscribe(&mut bytes, &packet, Version::V5);
    doomed.send(&bytes);
    assert_eq!((doomed.frame()[0], doomed.frame()[0]), (0x20, 0x90));
    let mut publisher = connect(&running.url, "publisher").await;
    publisher.publish(&Message::new("t", "shared", Qos::AtLeastOnce)).await.expect("acknowledged");
    assert_eq!(doomed.frame()[0], 0x32, "it has the message and does not answer");

    let mut other = connect(&running.url, "other").await;
    subscribe(&mut other, "$share/g/t", Qos::AtLeastOnce).await;
    let realm = Arc::from(weir_model::DEFAULT_REALM);
    let session = running.broker.sessions().find(&realm, &Arc::from("doomed")).expect("it is known");
    session.outbox.ring(Bell::Panic);

    let message = tokio::time::timeout(PATIENCE, other.next()).await.expect("the message in time");
    assert_eq!(message.expect("the message").payload, b"shared");
    balanced(&running).await;
}
