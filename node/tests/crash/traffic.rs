//! Traffic that goes on while its node dies and comes back: publishers, subscribers, and what they noted.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use weir_model::Qos;
use weir_testkit::{Checker, Fault, Line, Node, eventually};
use weir_wire::mqtt::Packet;

use super::client::{Client, parse};
use super::publisher::Publisher;
use super::subscriber::{Habit, Subscriber};

pub const PUBLISHERS: u32 = 3;

/// What every subscriber takes.
pub const FILTER: &str = "crash/+/+";

/// What publishers and subscribers share.
pub struct Shared {
    pub address: SocketAddr,
    checker: Mutex<Checker>,
    enough: AtomicBool,
}

pub struct Traffic {
    shared: Arc<Shared>,
    publishers: Vec<JoinHandle<()>>,
    readers: Vec<JoinHandle<()>>,
    sleeper: Subscriber,
}

impl Shared {
    pub fn checker(&self) -> MutexGuard<'_, Checker> {
        self.checker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether publishers should come to their end.
    pub fn is_enough(&self) -> bool {
        self.enough.load(Ordering::Acquire)
    }

    /// A connection as soon as somebody answers.
    pub fn connect(&self, client_id: &str) -> Client {
        eventually("the node to take a client", || Client::connect(self.address, client_id))
    }
}

/// A node for traffic: queues that hold all of it, and a log small enough to be checkpointed often.
pub fn node() -> weir_testkit::node::Builder {
    Node::of(env!("CARGO_BIN_EXE_weir"))
        .on_own_address()
        .listen("http")
        // Its napping subscriber comes again and again.
        .set("gateway.flapping_connects_max", 0)
        .set("store.queue_messages_max", 1_000_000)
        .set("store.queue_bytes_max", 1 << 30)
        .set("store.log_segment_bytes", 64 << 10)
        .set("store.log_bytes_max", 128 << 10)
}

impl Traffic {
    /// Subscribes, then publishes without end.
    pub fn start(node: &Node) -> Traffic {
        let address = node.address("mqtt");
        let shared = Arc::new(Shared { address, checker: Mutex::default(), enough: AtomicBool::new(false) });
        let subscriber = |name, habit| Subscriber::subscribe(shared.clone(), name, habit);
        let reading = [subscriber("awake", Habit::Stays), subscriber("napping", Habit::Naps)];
        let sleeper = subscriber("asleep", Habit::Stays);
        let publisher = |id| {
            let publisher = Publisher::new(shared.clone(), id);
            std::thread::spawn(move || publisher.run())
        };
        Traffic {
            readers: reading.map(|mut one| std::thread::spawn(move || one.read_to_the_last())).into(),
            publishers: (0..PUBLISHERS).map(publisher).collect(),
            sleeper,
            shared,
        }
    }

    /// Waits until so many more messages have been acknowledged.
    pub fn wait_for(&self, messages: usize) {
        let enough = self.shared.checker().acknowledged() + messages;
        eventually("messages to be acknowledged", || {
            let failed = self.publishers.iter().chain(&self.readers).any(JoinHandle::is_finished);
            assert!(!failed, "a client of the traffic has failed");
            (self.shared.checker().acknowledged() >= enough).then_some(())
        });
    }

    /// What a newcomer is told is retained: on each topic the last acknowledged, or one sent later.
    pub fn check_retained(&self) {
        let lines = (0..PUBLISHERS).flat_map(|publisher| {
            [Qos::AtLeastOnce, Qos::ExactlyOnce].map(|qos| Line { publisher, topic: 0, qos })
        });
        let acknowledged = |line| Some((line, self.shared.checker().newest(line).0?));
        let mut owed: BTreeMap<Line, u64> = lines.filter_map(acknowledged).collect();
        let mut client = self.shared.connect(&format!("newcomer-{}", self.shared.checker().acknowledged()));
        client.subscribe(FILTER).expect("the node lives");
        while !owed.is_empty() {
            let frame = client.receive().expect("the node lives");
            let Packet::Publish(publish) = parse(&frame) else { continue };
            if !publish.retain {
                continue;
            }
            let (line, number, _) = read(publish.topic, publish.payload);
            let sent = self.shared.checker().newest(line).1;
            assert!(Some(number) <= sent, "{line:?}: {number} is retained, {sent:?} was the last sent");
            if let Some(at_least) = owed.remove(&line) {
                assert!(number >= at_least, "{line:?}: {number} is retained, {at_least} was acknowledged");
            }
        }
    }

    /// Lets publishers come to their end and readers to theirs, and says which promises were broken.
    pub fn finish(mut self) -> Vec<Fault> {
        self.shared.enough.store(true, Ordering::Release);
        for thread in self.publishers.into_iter().chain(self.readers) {
            thread.join().expect("a client of the traffic has failed");
        }
        self.sleeper.read_to_the_last();
        self.shared.checker().faults()
    }
}

/// Where a line goes.
pub fn topic(line: Line) -> String {
    format!("crash/{}/{}", line.qos as u8, line.publisher)
}

/// A payload says its number and whether it is the last of its line.
pub fn payload(number: u64, is_last: bool) -> String {
    format!("{number} {}", if is_last { "last" } else { "more" })
}

/// The line, number and end that [`topic`] and [`payload`] said.
pub fn read(topic: &str, payload: &[u8]) -> (Line, u64, bool) {
    let parsed = || {
        let (qos, publisher) = topic.strip_prefix("crash/")?.split_once('/')?;
        let qos = if qos == "1" { Qos::AtLeastOnce } else { Qos::ExactlyOnce };
        let (number, end) = std::str::from_utf8(payload).ok()?.split_once(' ')?;
        Some((
            Line { publisher: publisher.parse().ok()?, topic: 0, qos },
            number.parse().ok()?,
            end == "last",
        ))
    };
    parsed().unwrap_or_else(|| panic!("nobody published {payload:?} to {topic}"))
}
