//! The contract suite: what every store promises, run by each backend's tests.
//!
//! Each function takes a way to make an empty store with the limits of [`config`].

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use smallvec::SmallVec;
use weir_model::{Filter, Grant, Message, MessageId, Position, Principal, Qos, Topic, UnixMillis};

use crate::{
    Answer, Config, Delivery, Detach, Due, Enqueue, Fence, Mark, Mirror, Open, Opened, Outcome, Owner, Page,
    PartitionKey, Queued, Refusal, Restored, RowState, SessionChange, SessionKey, SessionKind, SessionOp,
    Step, Store, SubscriptionOptions, TableRow, TopicOp, Will,
};

mod copy;
mod effects;
mod groups;
mod guards;
mod levels;
mod limits;
mod names;
mod queues;
mod sessions;
mod shared;
mod streams;
mod tables;
mod topics;
mod wills;

pub use copy::*;
pub use effects::*;
pub use groups::*;
pub use guards::*;
pub use levels::*;
pub use limits::*;
pub use queues::*;
pub use sessions::*;
pub use shared::*;
pub use streams::*;
pub use tables::*;
pub use topics::*;
pub use wills::*;

/// Idempotency keys that a store of [`config`] remembers, of one topic.
pub const IDEMPOTENCY_KEYS_KEPT: usize = 50;

/// Makes an empty store.
pub type Make<'a> = &'a dyn Fn() -> Arc<dyn Store>;

/// The limits that the suite counts on: small queues and windows.
pub fn config(url: &str) -> Config {
    Config {
        url: url.to_owned(),
        queue_messages_max: 5,
        queue_bytes_max: 1000,
        dedup_ids_max: 4,
        inline_fanout_max: 3,
        idempotency_keys_max: IDEMPOTENCY_KEYS_KEPT,
        claim_ms: 0,
        ..Config::default()
    }
}

/// Submits and waits for the answer.
pub fn ask(store: &dyn Store, steps: Vec<Step>) -> Answer {
    let (sender, answer) = channel();
    store.submit(
        steps,
        Box::new(move |answer| {
            // Nobody waits any more only when the test has failed already.
            let _ = sender.send(answer);
        }),
    );
    answer.recv().expect("a submit is answered exactly once")
}

/// One op of one session.
pub fn ask_one(store: &dyn Store, key: &SessionKey, op: SessionOp) -> Result<Outcome, Refusal> {
    let mut answer = ask(store, vec![step(key, [op])]);
    assert_eq!(answer.len(), 1);
    answer.remove(0).map(|mut outcomes| outcomes.remove(0))
}

pub fn step(key: &SessionKey, ops: impl IntoIterator<Item = SessionOp>) -> Step {
    Step::Session { key: key.clone(), ops: ops.into_iter().collect() }
}

pub fn client(name: &str) -> SessionKey {
    SessionKey { realm: "default".into(), kind: SessionKind::Client, name: name.into() }
}

pub fn group(filter: &str) -> SessionKey {
    SessionKey { realm: "default".into(), kind: SessionKind::Group, name: filter.into() }
}

/// A message of `bytes` bytes as a queue counts them.
pub fn message(text: &str, bytes: usize) -> Arc<Message> {
    let mut payload = text.as_bytes().to_vec();
    payload.resize(bytes - 1, b'.');
    Arc::new(Message {
        topic: Topic::new("t").expect("a topic"),
        payload: Bytes::from(payload),
        qos: Qos::AtLeastOnce,
        retain: false,
        expires_at: None,
        properties: None,
    })
}

pub fn delivery(message: Arc<Message>) -> Delivery {
    let qos = Qos::AtLeastOnce;
    Delivery { message, qos, retain: false, subscription_ids: SmallVec::new(), group: None }
}

pub fn enqueue(generation: u64, message: Arc<Message>) -> SessionOp {
    SessionOp::Enqueue(Enqueue { generation, id: None, delivery: delivery(message) })
}

pub fn enqueue_with(generation: u64, id: MessageId, message: Arc<Message>) -> SessionOp {
    SessionOp::Enqueue(Enqueue { generation, id: Some(id), delivery: delivery(message) })
}

/// An owner of this user id, let in by an account.
pub fn owner(user_id: Option<&str>) -> Arc<Owner> {
    let principal = Principal { user_id: user_id.map(Arc::from), ..Principal::default() };
    let grant = user_id.map_or(Grant::Anonymous, |name| Grant::Account { name: name.into(), stamp: 7 });
    Arc::new(Owner { principal: Arc::new(principal), grant: Some(grant) })
}

/// A persistent session of an anonymous client that wants to be resumed.
pub fn resuming() -> Open {
    Open { owner: None, clean_start: false, persistent: true, expiry_seconds: 60, will: None }
}

pub fn open(store: &dyn Store, key: &SessionKey, open: Open) -> Opened {
    match ask_one(store, key, SessionOp::Open(open)) {
        Ok(Outcome::Opened(opened)) => *opened,
        other => panic!("not opened: {other:?}"),
    }
}

pub fn detach(at: u64, sent: u64, expires_at: Option<u64>, will_at: Option<u64>) -> Detach {
    Detach {
        at: UnixMillis(at),
        sent,
        expires_at: expires_at.map(UnixMillis),
        will_at: will_at.map(UnixMillis),
    }
}

pub fn will(text: &str, delay_seconds: u32) -> Will {
    Will { message: message(text, 20), delay_seconds, expiry_seconds: None }
}

/// Runs a read of the store to its end.
pub fn wait<T>(future: futures_util::future::BoxFuture<'static, T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(future)
}

/// All rows of a queue, read in pages of two.
pub fn rows(store: &dyn Store, key: &SessionKey) -> Vec<Queued> {
    let (mut rows, mut after) = (Vec::new(), 0);
    loop {
        let page = Page { rows_max: 2, bytes_max: usize::MAX };
        let read = wait(store.read_queue(key.clone(), after, page)).expect("a queue can be read");
        let Some(last) = read.last() else { return rows };
        after = last.number;
        rows.extend(read);
    }
}

/// Number and first letters of each row's payload; `-` where the message is released.
pub fn texts(store: &dyn Store, key: &SessionKey) -> Vec<(u64, String)> {
    let text = |row: &Queued| match &row.state {
        RowState::Waiting(delivery) => {
            let payload = String::from_utf8_lossy(&delivery.message.payload).into_owned();
            payload.trim_end_matches('.').to_owned()
        }
        RowState::Released => "-".to_owned(),
    };
    rows(store, key).iter().map(|row| (row.number, text(row))).collect()
}

/// What is due but what outboxes owe, which only shared stores say.
pub fn due(store: &dyn Store, now: u64) -> Vec<Due> {
    let due = wait(store.due(UnixMillis(now), 100)).expect("what is due can be read");
    due.into_iter().filter(|due| !matches!(due, Due::Owed { .. })).collect()
}

/// What a mirror heard, in order: retained messages, rows of tables, newest records of partitions.
#[derive(Default)]
pub struct Heard(
    pub Mutex<Vec<(String, Position, Option<Bytes>)>>,
    Mutex<Vec<TableRow>>,
    Mutex<Vec<(PartitionKey, Option<Mark>)>>,
);

impl Heard {
    /// Key, version and value.
    pub fn table_rows(&self) -> Vec<(String, u64, Option<Bytes>)> {
        let rows = self.1.lock().expect("no test panics in here");
        rows.iter().map(|row| (row.key.to_string(), row.version, row.value.clone())).collect()
    }

    pub fn tails(&self) -> Vec<(PartitionKey, Option<Mark>)> {
        self.2.lock().expect("no test panics in here").clone()
    }
}

impl Mirror for Heard {
    fn retained(&self, _: &Arc<str>, topic: &Topic, position: Position, message: Option<&Arc<Message>>) {
        let payload = message.map(|message| message.payload.clone());
        self.0.lock().expect("no test panics in here").push((topic.to_string(), position, payload));
    }

    fn session(&self, _: &SessionKey, _: SessionChange) {}

    fn table(&self, row: TableRow) {
        self.1.lock().expect("no test panics in here").push(row);
    }

    fn appended(&self, key: &PartitionKey, tail: Option<Mark>) {
        self.2.lock().expect("no test panics in here").push((key.clone(), tail));
    }
}

/// Everything a store has to say at start.
pub fn restore(store: &dyn Store) -> (Arc<Heard>, Vec<Restored>) {
    let (heard, mut found) = (Arc::new(Heard::default()), Vec::new());
    store.restore(heard.clone(), &mut |restored| found.push(restored)).expect("a store can be restored");
    found.sort_by(|one, other| one.key.cmp(&other.key));
    (heard, found)
}

fn number(outcome: Result<Outcome, Refusal>) -> u64 {
    match outcome {
        Ok(Outcome::Enqueued { number, .. }) => number,
        other => panic!("not enqueued: {other:?}"),
    }
}

pub fn filter(text: &str) -> Filter {
    Filter::new(text).expect("a filter")
}

fn id(count: u64) -> MessageId {
    MessageId::received(99, 1, count)
}
