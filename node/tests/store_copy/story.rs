//! Clients that leave something of every kind behind, and what each of them has to find afterwards.

use std::num::NonZeroU16;

use url::Url;
use weir_bench::Client;
use weir_bench::client::{AckKind, Incoming, Message, Options, Subscription, Will};
use weir_model::Qos;
use weir_testkit::{Node, PATIENCE};

/// Messages that the reader finds in its queue.
const QUEUED: usize = 20;

/// Those of them that it was sent before, and has not answered for good.
const IN_FLIGHT: u16 = 4;

/// What was left behind, all under names of its own.
pub struct Story {
    name: &'static str,
    /// What the reader was sent and has not acknowledged.
    sent: Vec<Incoming>,
    /// The packet id that the writer has not released.
    unreleased: NonZeroU16,
    /// Still connected when the node ends; its session is not kept, but its will is.
    lost: Option<Client>,
}

impl Story {
    /// Plays the first half at this node. The wills wait for ten seconds, what is delayed for eight.
    pub async fn begin(name: &'static str, node: &Node) -> Story {
        let mut witness = connect(node, &kept(name, "witness")).await;
        for filter in ["will", "later"] {
            subscribe(&mut witness, &format!("{name}/{filter}/#"), Qos::AtLeastOnce).await;
        }
        witness.disconnect().await.expect("a goodbye");
        let mut worker = connect(node, &kept(name, "worker")).await;
        subscribe(&mut worker, &format!("$share/g/{name}/jobs"), Qos::AtLeastOnce).await;
        worker.disconnect().await.expect("a goodbye");

        let sent = begin_reading(name, node).await;
        let mut writer = connect(node, &kept(name, "writer")).await;
        let delayed = format!("$delayed/8/{name}/later");
        publish(&mut writer, &delayed, "delayed", Qos::AtLeastOnce).await;
        for number in 0..3 {
            publish(&mut writer, &format!("{name}/jobs"), &number.to_string(), Qos::AtLeastOnce).await;
            let message =
                Message::new(format!("{name}/state/{number}"), number.to_string(), Qos::AtLeastOnce);
            writer.publish(&Message { retain: true, ..message }).await.expect("published");
        }
        let unreleased = NonZeroU16::new(77).expect("not zero");
        let once = Message::new(format!("{name}/queue"), "once", Qos::ExactlyOnce);
        writer.publish_with_id(&once, unreleased, false).await.expect("sent");
        assert_eq!(writer.acknowledged().await.expect("an answer").kind, AckKind::Pubrec);
        drop(writer);
        drop(connect(node, &mourned(name)).await);
        Story { name, sent, unreleased, lost: None }
    }

    /// One more client, which has a will and stays until the node ends.
    pub async fn hold_on(&mut self, node: &Node) {
        let will = Will { delay_seconds: 0, payload: b"lost".to_vec(), ..will(self.name) };
        let client_id = format!("{}-lost", self.name);
        self.lost = Some(connect(node, &Options { client_id, will: Some(will), ..clean() }).await);
    }

    /// Plays the second half: some clients come to one node, some to the other.
    pub async fn go_on(&self, one: &Node, other: &Node) {
        let name = self.name;
        let mut reader = connect(one, &kept(name, "reader")).await;
        assert!(reader.session_present());
        self.finds_its_queue(&mut reader).await;

        let mut writer = connect(other, &kept(name, "writer")).await;
        let once = Message::new(format!("{name}/queue"), "once", Qos::ExactlyOnce);
        writer.publish_with_id(&once, self.unreleased, true).await.expect("sent");
        assert_eq!(writer.acknowledged().await.expect("an answer").kind, AckKind::Pubrec);
        writer.release(self.unreleased).await.expect("sent");
        assert_eq!(writer.acknowledged().await.expect("an answer").kind, AckKind::Pubcomp);
        publish(&mut writer, &format!("{name}/queue"), "behind", Qos::AtLeastOnce).await;
        assert_eq!(next(&mut reader).await, "behind", "what was sent again came once");

        let mut worker = connect(other, &kept(name, "worker")).await;
        let jobs = [next(&mut worker).await, next(&mut worker).await, next(&mut worker).await];
        assert_eq!(jobs, ["0", "1", "2"], "who is alone in a share group gets them in order");
        let mut newcomer = connect(one, &Options { client_id: format!("{name}-new"), ..clean() }).await;
        subscribe(&mut newcomer, &format!("{name}/state/+"), Qos::AtLeastOnce).await;
        let mut states = [next(&mut newcomer).await, next(&mut newcomer).await, next(&mut newcomer).await];
        states.sort();
        assert_eq!(states, ["0", "1", "2"]);

        let mut witness = connect(one, &kept(name, "witness")).await;
        let expected: &[&str] =
            if self.lost.is_some() { &["delayed", "lost", "will"] } else { &["delayed", "will"] };
        let mut came = Vec::new();
        while came.len() < expected.len() {
            came.push(next(&mut witness).await);
        }
        came.sort();
        assert_eq!(came, expected);
    }

    /// In order, each once, and under the packet ids it had.
    async fn finds_its_queue(&self, reader: &mut Client) {
        let mut ids = Vec::new();
        for expected in (1..=QUEUED).filter(|number| *number != 2) {
            let message = reader.next().await.expect("a message");
            assert_eq!(String::from_utf8_lossy(&message.payload), expected.to_string());
            assert_eq!(message.qos, qos_of(expected));
            if let Some(before) = self.sent.iter().find(|before| before.payload == message.payload) {
                assert_eq!(before.packet_id, message.packet_id);
                assert!(message.dup, "it may have come before");
            }
            ids.push(message.packet_id.expect("it has one").get());
        }
        let first = ids[0];
        let expected: Vec<u16> = (first..).take(QUEUED).filter(|id| *id != first + 1).collect();
        assert_eq!(ids, expected, "the packet ids follow the numbers of the queue");
        assert_eq!(next(reader).await, "once");
    }
}

/// Fills the reader's queue, and lets it begin: the first is not answered, the second is released, and of the third and
/// fourth nobody knows.
async fn begin_reading(name: &str, node: &Node) -> Vec<Incoming> {
    let options =
        Options { manual_acks: true, receive_maximum: NonZeroU16::new(IN_FLIGHT), ..kept(name, "reader") };
    let mut reader = connect(node, &options).await;
    subscribe(&mut reader, &format!("{name}/queue"), Qos::ExactlyOnce).await;
    let mut writer = connect(node, &Options { client_id: format!("{name}-filler"), ..clean() }).await;
    for number in 1..=QUEUED {
        publish(&mut writer, &format!("{name}/queue"), &number.to_string(), qos_of(number)).await;
    }
    writer.disconnect().await.expect("a goodbye");
    let mut sent = Vec::new();
    for _ in 0..IN_FLIGHT {
        sent.push(reader.next().await.expect("a message"));
    }
    reader.acknowledge(&sent[1]).await.expect("sent");
    sent
}

/// Odd ones at least once, even ones exactly once.
fn qos_of(number: usize) -> Qos {
    if number.is_multiple_of(2) { Qos::ExactlyOnce } else { Qos::AtLeastOnce }
}

fn mourned(name: &str) -> Options {
    Options { will: Some(will(name)), ..kept(name, "mourned") }
}

fn will(name: &str) -> Will {
    Will {
        topic: format!("{name}/will"),
        payload: b"will".to_vec(),
        qos: Qos::AtLeastOnce,
        delay_seconds: 10,
        ..Will::default()
    }
}

fn clean() -> Options {
    Options { timeout: PATIENCE, ..Options::default() }
}

/// A session that is kept.
fn kept(name: &str, who: &str) -> Options {
    let client_id = format!("{name}-{who}");
    Options { client_id, clean_start: false, session_expiry_seconds: Some(3600), ..clean() }
}

async fn connect(node: &Node, options: &Options) -> Client {
    let url = Url::parse(&format!("mqtt://{}", node.address("mqtt"))).expect("a URL");
    Client::connect(&url, options).await.expect("the node takes a client")
}

async fn subscribe(client: &mut Client, filter: &str, qos: Qos) {
    client.subscribe(&[Subscription::new(filter, qos)], None).await.expect("subscribed");
}

async fn publish(client: &mut Client, topic: &str, payload: &str, qos: Qos) {
    client.publish(&Message::new(topic, payload, qos)).await.expect("published");
}

/// The payload of the next message.
async fn next(client: &mut Client) -> String {
    let message = client.next().await.expect("a message");
    String::from_utf8(message.payload).expect("text")
}
