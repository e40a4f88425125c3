//! Histories: what publishers and subscribers of a cluster did and saw, by the clock, and what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use weir_model::Qos;

use crate::{Checker, Fault, Line};

mod connection;
mod publisher;
mod report;
mod retained;
mod rivals;
mod subscriber;
mod traffic;
mod way;

pub use traffic::{Builder, Habit, Traffic};

/// What all clients of a test write into.
#[derive(Debug)]
pub struct History {
    started: Instant,
    /// Where each node takes clients, up or down.
    nodes: Vec<SocketAddr>,
    stage: AtomicU8,
    book: Mutex<Book>,
}

/// How far the traffic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Going,
    /// Publishers come to their end.
    Enough,
    /// Everybody stops, whatever is missing.
    Over,
}

#[derive(Debug, Default)]
struct Book {
    checker: Checker,
    sent: BTreeMap<(Line, u64), Sent>,
    arrived: BTreeMap<(String, Line), Vec<Arrival>>,
    /// The last payload on each topic, by receiver.
    last: BTreeMap<(String, String), String>,
    events: Vec<(Duration, String)>,
    faults: Vec<Fault>,
    subscribed: BTreeSet<String>,
    ended: BTreeSet<String>,
    expected: BTreeSet<String>,
    /// How often each client lost its connection to a node, however that was said.
    moves: BTreeMap<String, u32>,
    refused: u64,
    /// Messages sent on a second connection.
    repeats: u64,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    at: Duration,
    node: usize,
    acknowledged: Option<(Duration, usize)>,
    /// It was sent on more than one connection.
    repeated: bool,
    /// The connection of its publisher that it was sent on first.
    life: u32,
}

#[derive(Debug, Clone, Copy)]
struct Arrival {
    at: Duration,
    node: usize,
    number: u64,
    dup: bool,
}

/// What a receiver may expect once a publisher had to send messages on a second connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// The same as before: its session is kept.
    Kept,
    /// Every message comes, in its place, and perhaps again, or once more behind an older one as the retained value of
    /// its topic: a session that ends with its connection.
    Connected,
    /// Of such a message nothing: a session like that, which began perhaps between the first try and the second.
    None,
}

/// A message as it was given to a receiver.
#[derive(Debug, Clone, Copy)]
pub struct Arrived {
    pub number: u64,
    pub node: usize,
    pub dup: bool,
    /// The connection of the receiver.
    pub life: u32,
}

impl History {
    pub fn new(nodes: Vec<SocketAddr>) -> History {
        let stage = AtomicU8::new(Stage::Going as u8);
        History { started: Instant::now(), nodes, stage, book: Mutex::default() }
    }

    /// Something happened to the cluster.
    pub fn note(&self, what: impl Into<String>) {
        let at = self.started.elapsed();
        self.book().events.push((at, what.into()));
    }

    pub fn fault(&self, fault: Fault) {
        self.book().faults.push(fault);
    }

    pub fn expect(&self, receiver: &str) {
        let mut book = self.book();
        book.checker.expect(receiver);
        book.expected.insert(receiver.to_owned());
    }

    /// What an earlier session of this client has seen counts no more.
    pub fn forget_seen(&self, receiver: &str) {
        self.book().last.retain(|(who, _), _| who != receiver);
    }

    /// A clean session has subscribed.
    pub fn begin(&self, receiver: &str) {
        self.book().subscribed.insert(receiver.to_owned());
    }

    /// A receiver has the message that stands behind all others.
    pub fn end(&self, receiver: &str) {
        self.book().ended.insert(receiver.to_owned());
    }

    /// Clean sessions that have subscribed.
    fn subscribed(&self) -> usize {
        self.book().subscribed.len()
    }

    /// Whether everybody has what it is owed, and what stands behind.
    fn is_complete(&self) -> bool {
        let book = self.book();
        book.expected
            .iter()
            .all(|receiver| book.checker.is_complete(receiver) && book.ended.contains(receiver))
    }

    /// About to be sent for the first time, to that node on that connection of its publisher. Returns its number.
    pub fn send(&self, line: Line, node: usize, life: u32) -> u64 {
        let at = self.started.elapsed();
        let mut book = self.book();
        let number = book.checker.send(line);
        book.sent.insert((line, number), Sent { at, node, acknowledged: None, repeated: false, life });
        number
    }

    pub fn acknowledge(&self, line: Line, number: u64, node: usize) {
        let at = self.started.elapsed();
        let mut book = self.book();
        book.checker.acknowledge(line, number);
        if let Some(sent) = book.sent.get_mut(&(line, number)) {
            sent.acknowledged.get_or_insert((at, node));
        }
    }

    /// Sent once more, on another connection.
    pub fn repeat(&self, line: Line, number: u64) {
        let book = &mut *self.book();
        if let Some(sent) = book.sent.get_mut(&(line, number)) {
            sent.repeated = true;
            book.repeats += 1;
        }
    }

    /// Refused; `for_sure` if it was sent once only, so that no earlier try can have been done.
    pub fn refuse(&self, line: Line, number: u64, for_sure: bool) {
        let mut book = self.book();
        book.refused += 1;
        if for_sure {
            book.checker.refuse(line, number);
        }
    }

    /// A receiver was given a message; `promise` says what it may expect of repeats.
    pub fn receive(&self, (receiver, promise): (&str, Promise), line: Line, arrival: Arrived) {
        let Arrived { number, node, dup, life } = arrival;
        let at = self.started.elapsed();
        let mut book = self.book();
        let repeated = book.sent.get(&(line, number)).is_some_and(|sent| sent.repeated);
        let is_known =
            || book.arrived.get(&(receiver.to_owned(), line)).is_some_and(|arrivals| has(arrivals, number));
        let is_owed_once = match promise {
            Promise::Kept => true,
            Promise::Connected => !(book.repeats > 0 && is_known()),
            Promise::None => !(repeated || book.repeats > 0 && is_known()),
        };
        if line.qos == Qos::AtMostOnce {
            // Without a session there is no more than two connections to keep it in order, and once.
            let first = book.sent.get(&(line, number)).map_or(0, |sent| sent.life);
            book.checker.receive(
                &format!("{receiver} (connection {life} of publisher's {first})"),
                line,
                number,
            );
        } else if is_owed_once {
            book.checker.receive(receiver, line, number);
        }
        let arrivals = book.arrived.entry((receiver.to_owned(), line)).or_default();
        arrivals.push(Arrival { at, node, number, dup });
    }

    /// The newest a receiver has seen on a topic.
    pub fn saw(&self, receiver: &str, topic: &str, payload: &str) {
        self.book().last.insert((receiver.to_owned(), topic.to_owned()), payload.to_owned());
    }

    pub fn moved(&self, client_id: &str) {
        *self.book().moves.entry(client_id.to_owned()).or_default() += 1;
    }

    /// The most often that any client lost its connection.
    #[must_use]
    pub fn moves_max(&self) -> u32 {
        self.book().moves.values().max().copied().unwrap_or(0)
    }

    /// How often each did, and what happened meanwhile.
    #[must_use]
    pub fn moves(&self) -> String {
        let moves = format!("{:?}", self.book().moves);
        format!("{moves}\n{}", self.events())
    }

    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.book().checker.acknowledged()
    }

    /// Messages whose publishers were told that they are not done.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.book().refused
    }

    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        let book = self.book();
        let mut faults = book.checker.faults();
        faults.extend(book.faults.iter().cloned());
        faults
    }

    fn newest(&self, line: Line) -> (Option<u64>, Option<u64>) {
        self.book().checker.newest(line)
    }

    fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Acquire) {
            0 => Stage::Going,
            1 => Stage::Enough,
            _ => Stage::Over,
        }
    }

    fn set_stage(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Release);
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn has(arrivals: &[Arrival], number: u64) -> bool {
    arrivals.iter().any(|arrival| arrival.number == number)
}
