//! Stores on disk as the tests see them: opened, copied, looked at, spoiled.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use weir_model::Position;
use weir_store::suite::{
    Heard, Held, acquire, ask, claim, client, delay, detach, due, enqueue, enqueue_with, group, info, keyed,
    made, message, open, owner, partition, put_row, record, records, restore, resuming, retain, rows, step,
    stream_step, wait, will,
};
use weir_store::{
    Append, Attempt, Config, Due, Fence, Mark, Open, OpenError, OutboxEntry, OwedMessage, PartitionInfo,
    PartitionKey, PartitionOp, Progress, Queued, Record, Recovery, Restored, Retention, SessionKey,
    SessionOp, Start, Store, SubscriptionOptions, suite,
};

/// Everything a store holds, to be compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Contents {
    sessions: Vec<Restored>,
    queues: Vec<(SessionKey, Vec<Queued>)>,
    retained: Vec<(String, Position, Option<Bytes>)>,
    due: Vec<Due>,
    /// Without owners: after a restart there are none.
    partitions: Vec<(PartitionInfo, Vec<Record>)>,
    /// What the group `g` of each keeps and owes.
    effects: Vec<Effects>,
    tables: Vec<(String, u64, Option<Bytes>)>,
    /// Messages and bytes queued, delayed, retained, in streams; idempotency keys.
    held: [(u64, u64); 5],
}

/// Values by key, and entries.
type Effects = (Vec<(Bytes, Bytes)>, Vec<OwedMessage>);

fn effects(store: &dyn Store, key: &PartitionKey) -> Effects {
    let kept = wait(store.kept_page(key, "g", None, 100)).unwrap();
    (kept, wait(store.owed(key, "g", 0, 100)).unwrap())
}

pub fn contents(store: &dyn Store) -> Contents {
    let (heard, sessions): (Arc<Heard>, _) = restore(store);
    let queues = sessions.iter().map(|session| (session.key.clone(), rows(store, &session.key))).collect();
    let retained = heard.0.lock().unwrap().clone();
    let partitions = STREAMS.iter().filter_map(|name| {
        let mut found = info(store, &partition(name))?;
        found.groups.iter_mut().for_each(|place| place.owner = None);
        Some((found, records(store, &partition(name), Start::Earliest)))
    });
    let partitions = partitions.collect();
    let effects = STREAMS.iter().map(|name| effects(store, &partition(name))).collect();
    let account = store.account();
    assert!(account.is_balanced(), "{account:?}");
    let held = [
        (account.queued_messages, account.queued_bytes),
        (account.delayed_messages, account.delayed_bytes),
        (account.retained_messages, account.retained_bytes),
        (account.stream_records, account.stream_bytes),
        (account.idempotency_keys, 0),
    ];
    let (due, tables) = (due(store, u64::MAX), heard.table_rows());
    Contents { sessions, queues, retained, due, partitions, effects, tables, held }
}

/// The streams that a store is asked for.
const STREAMS: [&str; 2] = ["kept", "dropped"];

pub fn config(log_bytes_max: u64) -> Config {
    Config { log_bytes_max, ..suite::config("embedded") }
}

pub fn try_open(config: &Config, dir: &Path) -> Result<(Arc<dyn Store>, Recovery), OpenError> {
    weir_store::open(config, dir)
}

/// Opens a store that is sound.
pub fn open_at(config: &Config, dir: &Path) -> Arc<dyn Store> {
    let (store, recovery) = try_open(config, dir).unwrap();
    assert_eq!((recovery.torn, recovery.lost, recovery.harmless), (None, vec![], vec![]));
    store
}

/// Group commits, one after the other, that together leave rows of every kind.
pub struct Story {
    a: Fence,
    b: Fence,
    owed: Option<OutboxEntry>,
    of_group: u64,
}

impl Story {
    pub const CHAPTERS: usize = 22;
    /// Makes a partition and appends to it.
    pub const FIRST_RECORDS: usize = 14;

    pub fn begin(store: &dyn Store) -> Story {
        let of_a = Open { owner: Some(owner(Some("u"))), will: Some(will("will of a", 5)), ..resuming() };
        let a = open(store, &client("a"), of_a).fence;
        let b = open(store, &client("b"), Open { will: Some(will("will of b", 0)), ..resuming() }).fence;
        Story { a, b, owed: None, of_group: 0 }
    }

    /// Tells one chapter: one group commit.
    pub fn tell(&mut self, store: &dyn Store, chapter: usize) {
        let (a, b) = (client("a"), client("b"));
        let (of_a, of_b) = (self.a, self.b);
        let id = |count| weir_model::MessageId::received(77, 5, count);
        let op = |key: &SessionKey, op: SessionOp| {
            assert!(ask(store, vec![step(key, [op])])[0].is_ok(), "chapter {chapter}");
        };
        match chapter {
            0 => {
                let filter = weir_model::Filter::new("x/#").unwrap();
                let options = SubscriptionOptions { no_local: true, ..Default::default() };
                op(&a, SessionOp::Subscribe { fence: of_a, filter, options });
            }
            1 => op(&a, enqueue(of_a.generation, message("one", 30))),
            2 => op(&a, enqueue_with(of_a.generation, id(1), message("two", 30))),
            3 => op(&a, SessionOp::Pubrec { fence: of_a, number: 2 }),
            4 => op(&a, SessionOp::Ack { fence: of_a, number: 1 }),
            5 => op(&a, SessionOp::Receive { fence: of_a, packet_id: 9 }),
            6 => drop(retain(store, "kept", Some("value"))),
            7 => drop(delay(store, 1000, Some(id(2)), "later")),
            8 => self.share(store),
            9 => op(&group("$share/g/t"), enqueue(0, message("for the group", 30))),
            10 => op(&b, SessionOp::FireWill { generation: of_b.generation, fence: None }),
            11 => op(&b, SessionOp::End { generation: of_b.generation, fence: None }),
            12 => drop(retain(store, "kept", Some("newer"))),
            13 => op(&a, SessionOp::Detach { fence: of_a, detach: detach(9, 2, Some(900), Some(500)) }),
            14..20 => self.stream(store, chapter),
            20 => drop(put_row(store, "row", "value")),
            21 => drop(claim(store, "t", "key", 9)),
            _ => unreachable!("the story has {} chapters", Story::CHAPTERS),
        }
        let (_, found) = restore(store);
        self.owed = found.iter().flat_map(|session| session.outbox.first().cloned()).next();
    }

    /// A partition that is compacted and bounded, a group in it, and another partition that is dropped.
    fn stream(&mut self, store: &dyn Store, chapter: usize) {
        let key = partition("kept");
        let known = |count: u64, text: &str| {
            let id = weir_model::MessageId::received(5, 5, count);
            PartitionOp::Append(Append { id: Some(id), key: Bytes::new(), message: message(text, 10) })
        };
        let retention = Retention { records_max: 5, is_compacted: true, ..Retention::default() };
        let at = |number| Mark { number, ..Mark::default() };
        match chapter {
            14 => {
                let configure = PartitionOp::Configure { retention };
                let ops = [configure, keyed("k", "1"), keyed("l", "2"), keyed("k", "3"), known(1, "4")];
                assert!(ask(store, vec![stream_step(&key, ops)])[0].is_ok());
            }
            15 => {
                let ops = [record("5"), record("6"), keyed("k", "7"), record("8"), known(2, "9")];
                assert!(ask(store, vec![stream_step(&key, ops)])[0].is_ok());
            }
            16 => self.of_group = acquire(store, &key, Start::Earliest).0,
            17 => {
                let retry_at = Some(weir_model::UnixMillis(7));
                let attempts = vec![Attempt { at: at(7), deliveries: 2, retry_at }];
                let progress = Progress { low: at(5), done: vec![(at(8), at(9))], attempts };
                let held = Held { key, group: "g".into(), fence: self.of_group };
                let commit = PartitionOp::Commit { group: "g".into(), fence: self.of_group, progress };
                let kept = [held.keep("a", "1"), held.keep("b", "2"), held.forget("a")];
                let owed = [held.owe(1), held.owe(2), held.paid(1)];
                held.done(store, [commit].into_iter().chain(kept).chain(owed));
            }
            18 => {
                let dropped = made(store, "dropped", Retention::default());
                assert!(ask(store, vec![stream_step(&dropped, [known(1, "x"), record("y")])])[0].is_ok());
                acquire(store, &dropped, Start::Earliest);
            }
            _ => {
                let dropped: PartitionKey = partition("dropped");
                assert!(ask(store, vec![stream_step(&dropped, [PartitionOp::Drop])])[0].is_ok());
            }
        }
    }

    /// One message in the queues of many: stored once.
    fn share(&self, store: &dyn Store) {
        let shared = message("shared by all", 100);
        let keys: Vec<SessionKey> = (0..5).map(|n| group(&format!("$share/g{n}/t"))).collect();
        let steps = keys.iter().map(|key| step(key, [enqueue(0, shared.clone())])).collect();
        assert!(ask(store, steps).iter().all(Result::is_ok));
    }
}

/// A store that was told the whole story, and what is in it.
pub fn told(config: &Config, dir: &Path) -> Contents {
    let store = open_at(config, dir);
    let mut story = Story::begin(&*store);
    (0..Story::CHAPTERS).for_each(|chapter| story.tell(&*store, chapter));
    contents(&*store)
}

pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            copy_sparse(&entry.path(), &target);
        }
    }
}

/// The engine's journal is 64 MiB of nothing: it is copied as that.
fn copy_sparse(from: &Path, to: &Path) {
    let length = from.metadata().unwrap().len();
    if from.extension().is_some_and(|extension| extension == "jnl") {
        std::fs::File::create(to).unwrap().set_len(length).unwrap();
    } else {
        std::fs::copy(from, to).unwrap();
    }
}

/// All files below a directory, in a fixed order.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// The segments of the log, oldest first.
pub fn segments(dir: &Path) -> Vec<PathBuf> {
    files(&dir.join("store/log"))
}

/// The newest segment that has records.
pub fn last_segment(dir: &Path) -> PathBuf {
    segments(dir).into_iter().rfind(|path| path.metadata().unwrap().len() > 24).unwrap()
}

pub fn flip(path: &Path, place: usize, bits: u8) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[place] ^= bits;
    std::fs::write(path, bytes).unwrap();
}
