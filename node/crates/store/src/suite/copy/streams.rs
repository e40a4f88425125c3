//! Promises about copies of streams: records, groups, tables and idempotency keys go on where they were.

use super::*;
use crate::copy::PartitionCopy;
use crate::{
    Append, Attempt, Expect, GroupPlace, Mark, PartitionInfo, PartitionKey, PartitionOp, Progress, Record,
    Retention, Start, Table, TableOp,
};

/// Records of the long partition.
const MANY: usize = 2_000;

/// What a store answered while its streams were filled.
pub(super) struct Streams {
    log: PartitionKey,
    marks: Vec<Mark>,
    /// Of the group that nobody has given back.
    fence: u64,
    version: u64,
    /// Of the keys `done` and `begun`.
    claims: [(MessageId, Position, bool); 2],
}

fn append_known(text: &str, number: u64) -> PartitionOp {
    PartitionOp::Append(Append { id: Some(id(number)), key: Bytes::new(), message: message(text, 10) })
}

fn acquire_as(store: &dyn Store, key: &PartitionKey, group: &str) -> (u64, Progress) {
    let op = PartitionOp::Acquire { group: group.into(), start: Start::Earliest };
    match ask_stream(store, key, op) {
        Ok(Outcome::Acquired { fence, progress }) => (fence, progress),
        other => panic!("not acquired: {other:?}"),
    }
}

fn put_into(store: &dyn Store, table: Table, key: &str, expect: Expect) -> Result<Outcome, Refusal> {
    let op = TableOp::Put { value: Bytes::from(key.to_owned()), expect };
    ask(store, vec![Step::Table { table, key: key.into(), op }]).remove(0).map(|mut all| all.remove(0))
}

/// Something of every kind.
pub(super) fn fill_streams(store: &dyn Store) -> Streams {
    let log = made(store, "log", Retention { records_max: 1_000, ..Retention::default() });
    let mut marks = fill_stream(store, &log, &["a", "b", "c", "d"]);
    marks.push(append(store, &log, append_known("e", 7)));
    marks.push(append(store, &log, keyed("k", "f")));
    ask_stream(store, &log, PartitionOp::Trim { before: Some(marks[0].position) }).unwrap();
    let (fence, _) = acquire_as(store, &log, "g");
    let attempt = |at, retry_at| Attempt { at, deliveries: 2, retry_at };
    let backed_off = Some(UnixMillis(5_000_000_000_000));
    let attempts = vec![attempt(marks[2], None), attempt(marks[4], backed_off)];
    let progress = Progress { low: marks[1], done: vec![(marks[3], marks[3])], attempts };
    let group: Arc<str> = "g".into();
    fill_effects(store, &log, fence);
    ask_stream(store, &log, PartitionOp::Release { group, fence, progress }).unwrap();
    let (fence, _) = acquire_as(store, &log, "held");

    let sealed = made(store, "sealed", Retention::default());
    fill_stream(store, &sealed, &["x"]);
    ask_stream(store, &sealed, PartitionOp::Seal).unwrap();
    let compacted = made(store, "compacted", Retention { is_compacted: true, ..Retention::default() });
    for (key, text) in [("1", "old"), ("2", "two"), ("1", "new")] {
        append(store, &compacted, keyed(key, text));
    }
    made(store, "empty", Retention { bytes_max: u64::MAX, ..Retention::default() });
    let gone = made(store, "gone", Retention::default());
    fill_stream(store, &gone, &["y"]);
    ask_stream(store, &gone, PartitionOp::Drop).unwrap();

    let version = put_row(store, "k", "definition");
    put_into(store, Table::Groups, "a:b/c", Expect::Absent).unwrap();
    put_into(store, Table::Members, "a:b/c/7", Expect::Absent).unwrap();
    let claims = [claim(store, "t", "done", 1), claim(store, "t/u", "begun", 2)];
    settle(store, "t", "done", 1);
    Streams { log, marks, fence, version, claims }
}

/// What the group `g` keeps and owes.
fn fill_effects(store: &dyn Store, key: &PartitionKey, fence: u64) {
    let group: Arc<str> = "g".into();
    for (name, value) in [("one", "1"), ("two\n", "2")] {
        let (name, value) = (Bytes::from(name), Some(Bytes::from(value)));
        ask_stream(store, key, PartitionOp::Keep { group: group.clone(), fence, key: name, value }).unwrap();
    }
    for count in [11, 12, 13] {
        let owe =
            PartitionOp::Owe { group: group.clone(), fence, id: id(count), message: message("owed", 10) };
        ask_stream(store, key, owe).unwrap();
    }
    ask_stream(store, key, PartitionOp::Paid { group, fence, through: 1 }).unwrap();
}

/// Partitions as an operator sees them, with their records; nobody holds a place.
fn shown(store: &dyn Store) -> Vec<(Option<PartitionInfo>, Vec<Record>)> {
    let keys = ["log", "sealed", "compacted", "empty", "gone"].map(partition);
    let shown = keys.iter().map(|key| {
        let mut found = info(store, key);
        let groups = found.iter_mut().flat_map(|found| &mut found.groups);
        groups.for_each(|place| place.owner = None);
        // A bound that no store of another kind can have is none.
        found.iter_mut().for_each(|found| found.retention.bytes_max = 0);
        (found, records(store, key, Start::Earliest))
    });
    shown.collect()
}

pub fn streams_of_a_copy_are_as_they_were((from, to): Pair) {
    let store = opened(from);
    restore(&*store);
    let filled = fill_streams(&*store);
    let before = shown(&*store);
    closed(store);
    copied(from, to);

    let copy = opened(to);
    restore(&*copy);
    assert_eq!(before, shown(&*copy));
    let [_, b, c, d, e, _] = filled.marks.as_slice() else { panic!("six records") };
    assert_eq!(told_from(&*copy, &filled.log, Start::After(b.position)), ["c", "d", "e", "f"]);
    let place =
        info(&*copy, &filled.log).and_then(|found| found.groups.into_iter().find(|g| &*g.group == "g"));
    let GroupPlace { owner, progress, .. } = place.expect("the group");
    assert_eq!((owner, progress.low, progress.done[0].0), (None, *b, *d));
    let attempts: Vec<_> = progress.attempts.iter().map(|tried| (tried.at, tried.retry_at)).collect();
    assert_eq!(attempts, [(*c, None), (*e, Some(UnixMillis(5_000_000_000_000)))]);
    let account = copy.account();
    assert!(account.is_balanced(), "{account:?}");
    assert_eq!((account.stream_records, account.idempotency_keys), (8, 2));
    closed(copy);
}

pub fn streams_of_a_copy_go_on_behind_what_was_copied((from, to): Pair) {
    let store = opened(from);
    restore(&*store);
    let Streams { log, marks, fence, .. } = fill_streams(&*store);
    closed(store);
    copied(from, to);

    let copy = opened(to);
    restore(&*copy);
    let (first, last) = (marks[4], marks[5]);
    let known = ask_stream(&*copy, &log, append_known("again", 7));
    assert_eq!(known, Ok(Outcome::Appended { mark: first, first: false }));
    let next = append(&*copy, &log, record("next"));
    assert!(next.number == last.number + 1 && next.position > last.position, "{next:?}");
    assert_eq!(told_from(&*copy, &log, Start::After(last.position)), ["next"]);
    assert_eq!(ask_stream(&*copy, &partition("sealed"), record("z")), Ok(Outcome::Gone));
    let compacted = partition("compacted");
    append(&*copy, &compacted, keyed("1", "newest"));
    assert_eq!(told_from(&*copy, &compacted, Start::Earliest), ["two", "newest"]);

    let late = PartitionOp::Commit { group: "held".into(), fence, progress: Progress::default() };
    assert_eq!(ask_stream(&*copy, &log, late), Err(Refusal::Fenced), "its owner is of another store");
    let (again, progress) = acquire_as(&*copy, &log, "held");
    assert!(again > fence);
    assert_eq!(progress.low, marks[0], "it began behind what was trimmed");
    let (other, progress) = acquire_as(&*copy, &log, "g");
    assert!(other > fence && progress.low == marks[1]);
    ask_stream(&*copy, &log, PartitionOp::Commit { group: "g".into(), fence: other, progress }).unwrap();
    assert!(copy.account().is_balanced(), "{:?}", copy.account());
    closed(copy);
}

pub fn what_groups_keep_and_owe_is_in_a_copy((from, to): Pair) {
    let store = opened(from);
    restore(&*store);
    let log = fill_streams(&*store).log;
    let seen = |store: &dyn Store| {
        let kept = wait(store.kept_page(&log, "g", None, 10)).expect("what it keeps");
        (kept, wait(store.owed(&log, "g", 0, 10)).expect("what it owes"))
    };
    let before = seen(&*store);
    assert_eq!((before.0.len(), before.1.len()), (2, 2));
    closed(store);
    copied(from, to);

    let copy = opened(to);
    restore(&*copy);
    assert_eq!(before, seen(&*copy));
    let (fence, _) = acquire_as(&*copy, &log, "g");
    let owe = |count| {
        let message = message("owed", 10);
        ask_stream(&*copy, &log, PartitionOp::Owe { group: "g".into(), fence, id: id(count), message })
    };
    assert_eq!(owe(13), Ok(Outcome::Owed { entry: 3 }), "it is owed already");
    assert_eq!(owe(14), Ok(Outcome::Owed { entry: 4 }));
    let value = Some(Bytes::from("more"));
    let keep = PartitionOp::Keep { group: "g".into(), fence, key: Bytes::from("one"), value };
    ask_stream(&*copy, &log, keep).unwrap();
    assert_eq!(seen(&*copy).0[0].1, Bytes::from("more"));
    closed(copy);
}

pub fn rows_of_tables_and_idempotency_keys_go_on_in_a_copy((from, to): Pair) {
    let store = opened(from);
    restore(&*store);
    let Streams { version, claims, .. } = fill_streams(&*store);
    closed(store);
    copied(from, to);

    let copy = opened(to);
    let rows = restore(&*copy).0.table_rows();
    let keys: BTreeMap<_, _> = rows.iter().map(|(key, version, _)| (key.as_str(), *version)).collect();
    assert_eq!((keys.len(), keys["k"]), (2, version), "and no members, which are of other nodes: {rows:?}");
    let change = |expect| put_into(&*copy, Table::Streams, "k", expect);
    assert_eq!(change(Expect::Version(version + 1)), Ok(Outcome::Differs { version: Some(version) }));
    match change(Expect::Version(version)) {
        Ok(Outcome::Put { version: next }) => assert!(next > version),
        other => panic!("not put: {other:?}"),
    }
    let [(id_done, done, _), (id_begun, begun, _)] = claims;
    assert_eq!(claim(&*copy, "t", "done", 8), (id_done, done, true));
    assert_eq!(claim(&*copy, "t/u", "begun", 9), (id_begun, begun, false));
    settle(&*copy, "t/u", "begun", 2);
    assert_eq!(claim(&*copy, "t/u", "begun", 9), (id_begun, begun, true));
    let (_, new, _) = claim(&*copy, "t", "new", 10);
    assert!(new > done.max(begun), "{new:?}");
    closed(copy);
}

pub fn a_long_stream_is_copied_a_page_at_a_time((from, to): Pair) {
    let store = opened(from);
    restore(&*store);
    let key = made(&*store, "long", Retention::default());
    for some in (0..MANY).collect::<Vec<_>>().chunks(500) {
        let step = |number: &usize| stream_step(&key, [record(&format!("{number:04}"))]);
        assert!(ask(&*store, some.iter().map(step).collect()).iter().all(Result::is_ok));
    }
    closed(store);
    let mut pages = Vec::new();
    let mut source = from.source().unwrap();
    source
        .read(&mut |rows| {
            let records = |row: &CopyRow| match row {
                CopyRow::Records { records, .. } => records.len(),
                _ => 0,
            };
            pages.push(rows.iter().map(records).sum::<usize>());
            Ok(())
        })
        .unwrap();
    drop(source);
    assert_eq!(pages.iter().sum::<usize>(), MANY);
    assert!(pages.iter().all(|records| *records <= 512), "{pages:?}");
    copied(from, to);
    let copy = opened(to);
    restore(&*copy);
    let texts = told_from(&*copy, &key, Start::Earliest);
    assert!(texts.iter().enumerate().all(|(number, text)| *text == format!("{number:04}")));
    assert_eq!(texts.len(), MANY);
    closed(copy);
}

pub fn every_epoch_of_a_stream_is_in_a_copy((from, to): Pair) {
    let key = partition("old");
    let mut marks = Vec::new();
    for round in 0..12 {
        let store = opened(from);
        restore(&*store);
        if round == 0 {
            made(&*store, "old", Retention::default());
        }
        marks.push(append(&*store, &key, record("a")));
        marks.push(append(&*store, &key, record("b")));
        closed(store);
    }
    copied(from, to);
    let copy = opened(to);
    restore(&*copy);
    // Each time in a new epoch, too.
    marks.push(append(&*copy, &key, record("c")));
    let found: Vec<Mark> = records(&*copy, &key, Start::Earliest).iter().map(|record| record.mark).collect();
    assert_eq!(found, marks);
    for (place, mark) in marks.iter().enumerate() {
        let behind = records(&*copy, &key, Start::After(mark.position));
        assert_eq!(behind.len(), marks.len() - place - 1, "behind {mark:?}");
    }
    closed(copy);
}

pub fn records_of_a_clock_that_was_ahead_are_followed_by_later_ones((from, to): Pair) {
    let key = partition("ahead");
    let ahead = UnixMillis::from(std::time::SystemTime::now()).0 + 3_600_000;
    let mark = Mark { position: Position { epoch: 5, ms: ahead, seq: 3 }, number: 9 };
    let (retention, trimmed) = (Retention::default(), Mark::default());
    let partition = PartitionCopy { key: key.clone(), retention, trimmed, tail: mark, is_sealed: false };
    let record_of = Record { mark, key: Bytes::new(), message: message("ahead", 10) };
    let rows = vec![
        CopyRow::Partition(Box::new(partition)),
        CopyRow::Records { key: key.clone(), records: vec![record_of] },
    ];
    let mut source = Rows { rows, marks: Marks { epoch: 5, ..Marks::default() } };
    run(&mut source, &mut *from.target().unwrap(), &mut |_| ()).unwrap();
    let store = opened(from);
    restore(&*store);
    let next = append(&*store, &key, record("next"));
    assert!(next.number == 10 && next.position.ms >= ahead && next.position.epoch > 5, "{next:?}");
    closed(store);
    copied(from, to);
    let copy = opened(to);
    restore(&*copy);
    let last = append(&*copy, &key, record("last"));
    assert!(last.position > next.position && last.position.ms >= ahead);
    assert_eq!(told_from(&*copy, &key, Start::Earliest), ["ahead", "next", "last"]);
    closed(copy);
}

pub fn what_a_store_only_remembers_does_not_stand_in_the_way((from, to): Pair) {
    let store = opened(from);
    restore(&*store);
    fill_streams(&*store);
    closed(store);
    let other = opened(to);
    restore(&*other);
    delay(&*other, 50, Some(id(1)), "soon").unwrap();
    for due in due(&*other, 60) {
        if let Due::Delayed { entry, .. } = due {
            let op = TopicOp::Delayed { entry: entry.entry };
            ask(&*other, vec![topic_step(&entry.message.topic, op)]).remove(0).unwrap();
        }
    }
    claim_until(&*other, "t", "over", 3, 1);
    put_into(&*other, Table::Members, "a:b/c/9", Expect::Absent).unwrap();
    let gone = made(&*other, "theirs", Retention::default());
    fill_stream(&*other, &gone, &["x"]);
    ask_stream(&*other, &gone, PartitionOp::Drop).unwrap();
    closed(other);
    copied(from, to);

    let refused = failure(to.target()).to_string();
    let holds = ["4 partitions", "2 table_rows", "2 idempotency"];
    assert!(holds.iter().all(|held| refused.contains(held)), "{refused}");
}

/// A source that has these rows.
struct Rows {
    rows: Vec<CopyRow>,
    marks: Marks,
}

impl CopySource for Rows {
    fn marks(&mut self) -> Result<Marks, CopyError> {
        Ok(self.marks)
    }

    fn read(&mut self, sink: Sink<'_>) -> Result<(), CopyError> {
        sink(self.rows.clone())
    }
}
