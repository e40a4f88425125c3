//! Traffic over a cluster that goes on while nodes, links and Redis fail: its clients, its end, its verdict.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use weir_model::Qos;
use weir_wire::mqtt::{Packet, Publish, ReasonCode};

use super::connection::{Connection, Gone, parse};
use super::publisher::Publisher;
use super::rivals::Rivals;
pub use super::subscriber::Habit;
use super::subscriber::Subscriber;
use super::way::Way;
use super::{History, Stage, retained};
use crate::{Cluster, Fault, Line, Node, PATIENCE, eventually};

/// What every subscriber takes.
pub const FILTER: &str = "faults/#";

/// Published behind everything else.
pub const END: &str = "faults/end";

/// Topics that a publisher has for itself.
pub const TOPICS: u8 = 2;

/// The topic that all publishers share.
pub const CONTESTED: u8 = TOPICS;

/// Clients, to be started.
pub struct Builder {
    history: Arc<History>,
    publishers: Vec<usize>,
    subscribers: Vec<(usize, Habit)>,
    sleepers: Vec<usize>,
    rivals: Vec<usize>,
}

/// Clients at work.
pub struct Traffic {
    pub history: Arc<History>,
    publishers: Vec<JoinHandle<()>>,
    readers: Vec<JoinHandle<()>>,
    sleepers: Vec<Subscriber>,
}

impl Builder {
    /// A publisher at each of these nodes, with QoS 0, 1 and 2 on topics of its own and one that all share.
    #[must_use]
    pub fn publishers(mut self, homes: &[usize]) -> Builder {
        self.publishers.extend(homes);
        self
    }

    /// A subscriber at each of these nodes.
    #[must_use]
    pub fn subscribers(mut self, habit: Habit, homes: &[usize]) -> Builder {
        self.subscribers.extend(homes.iter().map(|home| (*home, habit)));
        self
    }

    /// A kept session subscribed at each of these nodes and offline until the end.
    #[must_use]
    pub fn sleepers(mut self, homes: &[usize]) -> Builder {
        self.sleepers.extend(homes);
        self
    }

    /// Clients that take their session from themselves, beginning at these nodes.
    #[must_use]
    pub fn rivals(mut self, homes: &[usize]) -> Builder {
        self.rivals.extend(homes);
        self
    }

    /// Subscribes all, then publishes without end.
    #[must_use]
    pub fn start(self) -> Traffic {
        let history = &self.history;
        let subscribe = |(number, (home, habit)): (usize, &(usize, Habit))| {
            let name = format!("{habit:?}-{number}").to_lowercase();
            let subscriber = Subscriber::new(history, &name, *habit, *home);
            std::thread::spawn(move || subscriber.run())
        };
        let mut readers: Vec<_> = self.subscribers.iter().enumerate().map(subscribe).collect();
        let sleep = |(number, home): (usize, &usize)| {
            Subscriber::new(history, &format!("asleep-{number}"), Habit::Stays, *home)
        };
        let sleepers = self.sleepers.iter().enumerate().map(sleep).collect();
        let spared = self.subscribers.iter().filter(|(_, habit)| *habit == Habit::Spared).count();
        eventually("clean sessions to subscribe", || (history.subscribed() >= spared).then_some(()));
        let publish = |(number, home): (u32, &usize)| {
            let publisher = Publisher::new(history, number, *home);
            std::thread::spawn(move || publisher.run())
        };
        let publishers = (0..).zip(&self.publishers).map(publish).collect();
        readers.extend(self.rivals.iter().enumerate().map(|(number, home)| {
            let rivals = Rivals::new(history, number, *home);
            std::thread::spawn(move || rivals.run())
        }));
        Traffic { history: self.history, publishers, readers, sleepers }
    }
}

impl Traffic {
    /// Over the nodes that run now, which keep their addresses whatever happens to them.
    #[must_use]
    pub fn over(cluster: &Cluster) -> Builder {
        let nodes = cluster.running().map(|node| node.address("mqtt")).collect();
        let history = Arc::new(History::new(nodes));
        Builder { history, publishers: vec![], subscribers: vec![], sleepers: vec![], rivals: vec![] }
    }

    /// Everything there is, at every node.
    #[must_use]
    pub fn of_all_kinds(cluster: &Cluster) -> Builder {
        let everywhere: Vec<usize> = (0..cluster.running().count()).collect();
        Traffic::over(cluster)
            .publishers(&everywhere)
            .subscribers(Habit::Stays, &everywhere[..2])
            .subscribers(Habit::Roams, &everywhere[1..2])
            .subscribers(Habit::Clean, &everywhere[2..])
            .sleepers(&everywhere[..1])
            .rivals(&everywhere[..1])
    }

    /// Waits until so many more messages have been acknowledged.
    ///
    /// # Panics
    /// They are not, or a client saw what no node may do. Says what has happened so far.
    pub fn wait_for(&self, messages: usize) {
        let (deadline, enough) = (Instant::now() + 2 * PATIENCE, self.history.acknowledged() + messages);
        while self.history.acknowledged() < enough {
            let failed = self.publishers.iter().chain(&self.readers).any(JoinHandle::is_finished);
            assert!(!failed, "a client of the traffic has failed\n{}", self.history.events());
            let has = self.history.acknowledged();
            let late = Instant::now() >= deadline;
            assert!(!late, "{has} of {enough} messages are acknowledged\n{}", self.history.events());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Something is done to the cluster now.
    pub fn note(&self, what: impl Into<String>) {
        self.history.note(what);
    }

    /// Lets publishers come to their end and subscribers to theirs, and says which promises were broken.
    /// All nodes that run are whole again.
    pub fn finish(self, cluster: &Cluster) -> (Arc<History>, Vec<Fault>) {
        let Traffic { history, publishers, mut readers, sleepers } = self;
        history.note("publishers come to their end");
        history.set_stage(Stage::Enough);
        join_all(publishers, &history);
        publish_end(&history);
        readers.extend(sleepers.into_iter().map(|sleeper| std::thread::spawn(move || sleeper.run())));
        let stored = retained::read(&history, cluster);
        let deadline = Instant::now() + PATIENCE;
        while !(history.is_complete() && retained::is_seen_by_all(&history, &stored))
            && Instant::now() < deadline
        {
            std::thread::sleep(Duration::from_millis(10));
        }
        history.set_stage(Stage::Over);
        for reader in readers {
            reader.join().expect("a client of the traffic has failed");
        }
        retained::check(&history, &stored);
        let faults = history.faults();
        (history, faults)
    }

    /// The end, with no promise broken and the ledger of every node balanced.
    ///
    /// # Panics
    /// Something is wrong: it is named with what happened around it.
    pub fn kept_every_promise(self, cluster: &Cluster) -> Arc<History> {
        let (history, faults) = self.finish(cluster);
        assert!(faults.is_empty(), "{}", history.report(&faults));
        cluster.running().for_each(Node::balanced);
        history
    }
}

fn join_all(publishers: Vec<JoinHandle<()>>, history: &History) {
    let deadline = Instant::now() + 2 * PATIENCE;
    while !publishers.iter().all(JoinHandle::is_finished) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    if Instant::now() >= deadline {
        history.set_stage(Stage::Over);
        panic!("publishers are not answered\n{}", history.events());
    }
    for publisher in publishers {
        publisher.join().expect("a publisher has failed");
    }
}

/// Says to every subscriber, now and later, that nothing comes any more.
fn publish_end(history: &Arc<History>) {
    let mut way = Way::new(history, "end", false, 0);
    eventually("the end to be published", || {
        let mut connection = way.connect()?;
        let said = say_end(&mut connection);
        said.inspect_err(|gone| way.leave(gone)).ok()
    });
}

fn say_end(connection: &mut Connection) -> Result<(), Gone> {
    let id = std::num::NonZeroU16::MIN;
    let end =
        Publish { qos: Qos::AtLeastOnce, retain: true, packet_id: Some(id), ..Publish::new(END, b"end") };
    connection.send(&Packet::Publish(end))?;
    loop {
        let Some(frame) = connection.receive()? else { continue };
        return match parse(&frame) {
            Packet::Puback(ack) if ack.code.as_u8() < 0x80 => Ok(()),
            _ => Err(Gone::Told { code: ReasonCode::UnspecifiedError, reference: None }),
        };
    }
}

/// Where a line goes.
pub fn topic(line: Line) -> String {
    match line.topic {
        CONTESTED => "faults/contested".to_owned(),
        topic => format!("faults/{}/{topic}/{}", line.publisher, line.qos as u8),
    }
}

/// A payload says whose it is.
pub fn payload(line: Line, number: u64) -> String {
    format!("{} {} {} {number}", line.publisher, line.topic, line.qos as u8)
}

/// The line and number that [`payload`] said.
pub fn read(payload: &str) -> (Line, u64) {
    let numbers: Vec<u64> = payload.split(' ').filter_map(|number| number.parse().ok()).collect();
    let parsed = || {
        let [publisher, topic, qos, number] = numbers[..] else { return None };
        let qos = Qos::from_bits(u8::try_from(qos).ok()?)?;
        Some((Line { publisher: publisher.try_into().ok()?, topic: topic.try_into().ok()?, qos }, number))
    };
    parsed().unwrap_or_else(|| panic!("nobody published {payload:?}"))
}
