//! A reader is sent no more than it takes, and makes nobody wait.

use std::time::Duration;

use weir_access::{Access, Action, Anonymous, Explanation, Parts, Policy, PublishRights, RefusedSubscribe};
use weir_broker::stream::Spec;
use weir_model::{Filter, Level, Principal, Qos};
use weir_wire::mqtt::ReasonCode;

use crate::client::{CLEAN, Client, How, KEPT};
use crate::scene::Running;

const QUIET: Duration = Duration::from_millis(300);

fn publish(client: &mut Client, payloads: std::ops::RangeInclusive<u32>) {
    for payload in payloads {
        assert_eq!(client.publish("s/t", &payload.to_string()), ReasonCode::Success);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_in_flight_than_the_client_takes_and_live_messages_have_their_half() {
    let node = Running::start().await;
    node.stream("s", Spec::default()).await;
    let mut publisher = Client::connect(node.address, "publisher", CLEAN);
    publish(&mut publisher, 1..=30);
    for how in [CLEAN, KEPT] {
        let how = How { receive_maximum: Some(8), ..how };
        let mut reader = Client::connect(node.address, "reader", how);
        reader.subscribe("live", Qos::AtLeastOnce, None);
        reader.subscribe("$stream/s", Qos::AtLeastOnce, Some("earliest"));
        let held: Vec<_> = (0..4).map(|_| reader.next()).collect();
        assert_eq!(reader.next_within(QUIET), None, "half of the window");
        for payload in 0..6 {
            publisher.publish("live", &format!("live {payload}"));
        }
        let live: Vec<_> = (0..4).map(|_| reader.next()).collect();
        assert!(live.iter().all(|message| message.topic == "live"));
        assert_eq!(reader.next_within(QUIET), None, "all of the window");
        let mut ids: Vec<_> = held.iter().chain(&live).map(|record| record.packet_id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 8, "each has its own packet id");
        held.iter().chain(&live).for_each(|record| reader.answer(record));
        let rest = reader.take(28);
        let records = rest.iter().filter(|message| message.topic == "s/t").map(|message| &*message.payload);
        assert_eq!(records.collect::<Vec<_>>(), (5..=30).map(|n| n.to_string()).collect::<Vec<_>>());
        reader.leave();
    }
    publisher.leave();
    node.balanced();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_one_at_a_time_gets_everything() {
    let node = Running::start().await;
    node.stream("s", Spec::default()).await;
    let mut publisher = Client::connect(node.address, "publisher", CLEAN);
    publish(&mut publisher, 1..=20);
    let mut reader = Client::connect(node.address, "reader", How { receive_maximum: Some(1), ..KEPT });
    reader.subscribe("live", Qos::AtLeastOnce, None);
    reader.subscribe("$stream/s", Qos::AtLeastOnce, Some("earliest"));
    publisher.publish("live", "live");
    let mut payloads = reader.payloads(21);
    payloads.retain(|payload| payload != "live");
    assert_eq!(payloads, (1..=20).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_qos_0_reader_that_stops_reading_loses_nothing_and_delays_nobody() {
    let node = Running::start().await;
    node.stream("s", Spec::default()).await;
    let mut reader = Client::connect(node.address, "reader", CLEAN);
    reader.subscribe("$stream/s", Qos::AtMostOnce, None);
    let mut publisher = Client::connect(node.address, "publisher", CLEAN);
    let payload = "x".repeat(200_000);
    // More than sockets and buffers hold: were the reader waited for, this would not end.
    for number in 0..200 {
        assert_eq!(publisher.publish("s/t", &format!("{number} {payload}")), ReasonCode::Success);
    }
    for number in 0..200 {
        let record = reader.next();
        assert_eq!(record.payload.split(' ').next(), Some(&*number.to_string()));
    }
    reader.leave();
    publisher.leave();
    node.balanced();
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_topics_that_a_reader_may_not_have_are_left_out() {
    let node = Running::with(weir_broker::Config::default(), rules()).await;
    node.stream("s", Spec::default()).await;
    node.stream("t", Spec::default()).await;
    let mut client = Client::connect(node.address, "c", CLEAN);
    assert_eq!(client.subscribe("$stream/t", Qos::AtLeastOnce, None).0, ReasonCode::NotAuthorized);
    client.subscribe("$stream/s", Qos::AtLeastOnce, None);
    client.publish("s/secret", "1");
    client.publish("s/open/a", "2");
    client.publish("s/secret", "3");
    client.publish("s/open/b", "4");
    assert_eq!(client.payloads(2), ["2", "4"]);
    assert_eq!(node.broker.ledger().dropped(weir_broker::ledger::Loss::Denied), 2);
    // The right to the stream itself is taken away.
    node.broker.access().replace(parts(&["s/open/#"]));
    client.publish("s/open/c", "5");
    assert_eq!(client.next().property("weir-stream-end"), Some("denied"));
}

/// Everybody may publish; of what can be subscribed to, these may be had.
struct Allowed(&'static [&'static str]);

impl Allowed {
    fn has(&self, asked: &str) -> bool {
        self.0
            .iter()
            .any(|one| asked == *one || one.strip_suffix('#').is_some_and(|below| asked.starts_with(below)))
    }
}

impl Policy for Allowed {
    fn may_connect(&self, _: &Principal) -> bool {
        true
    }

    fn publish(&self, _: &Principal, _: &str) -> PublishRights {
        PublishRights::ALL
    }

    fn ack_level_min(&self, _: &Principal, _: &str, _: Qos, _: bool) -> Option<Level> {
        None
    }

    fn subscribe(&self, _: &Principal, filter: &Filter) -> Option<Qos> {
        self.has(filter.pattern()).then_some(Qos::ExactlyOnce)
    }

    fn receive(&self, _: &Principal, topic: &str) -> bool {
        self.has(topic)
    }

    fn may_call(&self, _: &Principal, _: &str) -> bool {
        false
    }

    fn may_register(&self, _: &Principal, _: &str) -> bool {
        false
    }

    fn explain(&self, _: &Principal, _: Action<'_>) -> Explanation {
        Explanation { allowed: false, rule: String::new() }
    }
}

fn parts(allowed: &'static [&'static str]) -> Parts {
    Parts {
        authenticators: Vec::new(),
        policy: Box::new(Allowed(allowed)),
        anonymous: Anonymous::Anywhere,
        refused_subscribe: RefusedSubscribe::Answer,
    }
}

fn rules() -> Access {
    Access::new(parts(&["$stream/s", "s/open/#"]))
}
