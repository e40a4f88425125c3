//! Promises about partitions: order, dense marks, bounds, compaction, repeats, and reading from anywhere.

use super::shared::until;
use super::topics::{on_topic, topic_step};
use super::*;
use crate::{
    Account, Append, Mark, PartitionEnds, PartitionInfo, PartitionKey, PartitionOp, Record, Retention, Start,
    StreamPage,
};

/// A partition of the first generation.
pub fn partition(name: &str) -> PartitionKey {
    PartitionKey { realm: "default".into(), stream: name.into(), generation: 1, partition: 0 }
}

pub fn stream_step(key: &PartitionKey, ops: impl IntoIterator<Item = PartitionOp>) -> Step {
    Step::Partition { key: key.clone(), ops: ops.into_iter().collect() }
}

/// One op of one partition.
pub fn ask_stream(store: &dyn Store, key: &PartitionKey, op: PartitionOp) -> Result<Outcome, Refusal> {
    let mut answer = ask(store, vec![stream_step(key, [op])]);
    assert_eq!(answer.len(), 1);
    answer.remove(0).map(|mut outcomes| outcomes.remove(0))
}

/// Makes a partition that keeps so much.
pub fn made(store: &dyn Store, name: &str, retention: Retention) -> PartitionKey {
    let key = partition(name);
    assert_eq!(ask_stream(store, &key, PartitionOp::Configure { retention }), Ok(Outcome::Done));
    key
}

/// A record of 10 bytes.
pub fn record(text: &str) -> PartitionOp {
    keyed("", text)
}

pub fn keyed(key: &str, text: &str) -> PartitionOp {
    let key = Bytes::from(key.to_owned());
    PartitionOp::Append(Append { id: None, key, message: message(text, 10) })
}

fn known(id: MessageId, text: &str) -> PartitionOp {
    PartitionOp::Append(Append { id: Some(id), key: Bytes::new(), message: message(text, 10) })
}

pub fn append(store: &dyn Store, key: &PartitionKey, op: PartitionOp) -> Mark {
    match ask_stream(store, key, op) {
        Ok(Outcome::Appended { mark, first: true }) => mark,
        other => panic!("not appended: {other:?}"),
    }
}

/// Appends one record after the other.
pub fn fill_stream(store: &dyn Store, key: &PartitionKey, texts: &[&str]) -> Vec<Mark> {
    texts.iter().map(|text| append(store, key, record(text))).collect()
}

pub fn read(store: &dyn Store, key: &PartitionKey, start: Start, rows_max: usize) -> StreamPage {
    let page = Page { rows_max, bytes_max: usize::MAX };
    wait(store.read_stream(key.clone(), start, page)).expect("a partition can be read")
}

pub fn info(store: &dyn Store, key: &PartitionKey) -> Option<PartitionInfo> {
    wait(store.partition(key.clone())).expect("a partition can be shown")
}

/// All records from a start on, read in pages of three.
pub fn records(store: &dyn Store, key: &PartitionKey, start: Start) -> Vec<Record> {
    let (mut all, mut start) = (Vec::new(), start);
    loop {
        let page = read(store, key, start, 3);
        let Some(last) = page.records.last() else { return all };
        start = Start::After(last.mark.position);
        all.extend(page.records);
    }
}

/// First letters of the payloads of all records from a start on.
pub fn told_from(store: &dyn Store, key: &PartitionKey, start: Start) -> Vec<String> {
    let text = |record: &Record| {
        let payload = String::from_utf8_lossy(&record.message.payload).into_owned();
        payload.trim_end_matches('.').to_owned()
    };
    records(store, key, start).iter().map(text).collect()
}

fn ends(store: &dyn Store, key: &PartitionKey) -> PartitionEnds {
    let found = info(store, key).expect("a partition").ends;
    assert_eq!(read(store, key, Start::Latest, 1), StreamPage { records: vec![], ends: found });
    found
}

fn streamed(store: &dyn Store) -> [u64; 6] {
    let Account { stream_records, stream_bytes, appended, trimmed, compacted, stream_ended, .. } =
        store.account();
    assert!(store.account().is_balanced());
    [stream_records, stream_bytes, appended, trimmed, compacted, stream_ended]
}

const ALL: Retention = Retention { records_max: 0, bytes_max: 0, age_max_ms: 0, is_compacted: false };

pub fn records_are_read_in_order_each_under_its_own_mark(make: Make) {
    let store = make();
    let key = made(&*store, "s", ALL);
    let marks = fill_stream(&*store, &key, &["a", "b", "c", "d", "e"]);
    assert_eq!(marks.iter().map(|mark| mark.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert!(marks.is_sorted() && marks.windows(2).all(|two| two[0].position < two[1].position));
    let found = records(&*store, &key, Start::Earliest);
    assert_eq!(found.iter().map(|record| record.mark).collect::<Vec<_>>(), marks);
    assert_eq!(found[1].message, message("b", 10));
    let ends = ends(&*store, &key);
    assert_eq!((ends.trimmed, ends.tail, ends.records, ends.bytes), (Mark::default(), marks[4], 5, 50));
}

pub fn a_record_keeps_its_key_and_all_of_its_message(make: Make) {
    let store = make();
    let key = made(&*store, "s", ALL);
    let properties = weir_model::Properties {
        content_type: Some("text/x".into()),
        correlation_data: Some(Bytes::from_static(&[0, 255, 1])),
        user: vec![("a".into(), "1".into()), ("a".into(), "2\n".into())],
        ..Default::default()
    };
    let full = Message {
        payload: Bytes::from_static(&[0, 159, 146, 150]),
        expires_at: Some(UnixMillis(99)),
        retain: true,
        properties: Some(Box::new(properties)),
        ..(*on_topic("a/{b} c", "")).clone()
    };
    let (record_key, full) = (Bytes::from_static(&[0, 200, 10]), Arc::new(full));
    let op = Append { id: Some(id(1)), key: record_key.clone(), message: full.clone() };
    let mark = append(&*store, &key, PartitionOp::Append(op));
    assert_eq!(records(&*store, &key, Start::Earliest), [Record { mark, key: record_key, message: full }]);
}

pub fn a_partition_that_was_never_made_is_gone(make: Make) {
    let store = make();
    let key = partition("never");
    let (group, start) = (Arc::<str>::from("g"), Start::Earliest);
    for op in [
        record("a"),
        PartitionOp::Seal,
        PartitionOp::Acquire { group: group.clone(), start },
        PartitionOp::Seek { group: group.clone(), start },
    ] {
        assert_eq!(ask_stream(&*store, &key, op), Ok(Outcome::Gone));
    }
    for op in [PartitionOp::Trim { before: None }, PartitionOp::Forget { group }, PartitionOp::Drop] {
        assert_eq!(ask_stream(&*store, &key, op), Ok(Outcome::Done));
    }
    assert_eq!(info(&*store, &key), None);
    assert_eq!(read(&*store, &key, Start::Earliest, 10), StreamPage::default());
}

pub fn names_of_any_kind_and_generations_are_partitions_of_their_own(make: Make) {
    let store = make();
    let long = "x".repeat(64 << 10);
    let names = ["a", "a/b", "{a}", "a\nb", "a:1:0", "", long.as_str()];
    let mut keys: Vec<PartitionKey> = names.iter().map(|name| partition(name)).collect();
    keys.extend([
        PartitionKey { generation: 2, ..partition("a") },
        PartitionKey { partition: 1, ..partition("a") },
        PartitionKey { realm: "other".into(), ..partition("a") },
    ]);
    for (turn, key) in keys.iter().enumerate() {
        assert_eq!(ask_stream(&*store, key, PartitionOp::Configure { retention: ALL }), Ok(Outcome::Done));
        append(&*store, key, record(&turn.to_string()));
    }
    for (turn, key) in keys.iter().enumerate() {
        assert_eq!(told_from(&*store, key, Start::Earliest), [turn.to_string()]);
    }
}

pub fn a_repeat_is_answered_with_the_first_place_of_its_record(make: Make) {
    let store = make();
    let key = made(&*store, "s", Retention { records_max: 2, ..ALL });
    let mark = append(&*store, &key, known(id(1), "a"));
    let again = || ask_stream(&*store, &key, known(id(1), "a"));
    assert_eq!(again(), Ok(Outcome::Appended { mark, first: false }));
    append(&*store, &key, known(id(2), "b"));
    append(&*store, &key, known(id(3), "c"));
    append(&*store, &key, record("d"));
    assert_eq!(again(), Ok(Outcome::Appended { mark, first: false }), "also after its record was let go");
    append(&*store, &key, known(id(4), "e"));
    append(&*store, &key, known(id(5), "f"));
    assert!(matches!(again(), Ok(Outcome::Appended { first: true, .. })), "four ids are remembered");
    assert_eq!(told_from(&*store, &key, Start::Earliest), ["f", "a"]);
}

pub fn the_oldest_records_go_when_there_are_too_many(make: Make) {
    let store = make();
    let key = made(&*store, "s", Retention { records_max: 3, ..ALL });
    let marks = fill_stream(&*store, &key, &["a", "b", "c", "d", "e"]);
    assert_eq!(told_from(&*store, &key, Start::Earliest), ["c", "d", "e"]);
    let found = ends(&*store, &key);
    assert_eq!((found.trimmed, found.tail, found.records, found.bytes), (marks[1], marks[4], 3, 30));
    assert_eq!(streamed(&*store), [3, 30, 5, 2, 0, 0]);
}

pub fn the_oldest_records_go_when_they_take_too_many_bytes_but_never_the_newest(make: Make) {
    let store = make();
    let key = made(&*store, "s", Retention { bytes_max: 35, ..ALL });
    fill_stream(&*store, &key, &["a", "b", "c", "d"]);
    assert_eq!(told_from(&*store, &key, Start::Earliest), ["b", "c", "d"]);
    let large = Append { id: None, key: Bytes::new(), message: message("large", 100) };
    let mark = append(&*store, &key, PartitionOp::Append(large));
    assert_eq!(told_from(&*store, &key, Start::Earliest), ["large"]);
    let found = ends(&*store, &key);
    assert_eq!((found.trimmed.number, found.tail, found.bytes), (4, mark, 100));
}

pub fn records_that_are_too_old_go_when_their_partition_is_trimmed(make: Make) {
    let store = make();
    let key = made(&*store, "s", Retention { age_max_ms: 3_600_000, ..ALL });
    let marks = fill_stream(&*store, &key, &["a", "b"]);
    ask_stream(&*store, &key, PartitionOp::Trim { before: None }).unwrap();
    assert_eq!(told_from(&*store, &key, Start::Earliest), ["a", "b"], "they are not an hour old");
    let retention = Retention { age_max_ms: 1, ..ALL };
    ask_stream(&*store, &key, PartitionOp::Configure { retention }).unwrap();
    let left = until("both are older than a millisecond", || {
        ask_stream(&*store, &key, PartitionOp::Trim { before: None }).unwrap();
        Some(ends(&*store, &key)).filter(|ends| ends.records == 0)
    });
    assert_eq!((left.trimmed, left.tail, left.bytes), (marks[1], marks[1], 0));
    assert_eq!(append(&*store, &key, record("c")).number, 3, "numbers go on");
}

pub fn a_trim_lets_everything_go_up_to_its_position(make: Make) {
    let store = make();
    let key = made(&*store, "s", ALL);
    let marks = fill_stream(&*store, &key, &["a", "b", "c", "d"]);
    let trim = |before: Position| ask_stream(&*store, &key, PartitionOp::Trim { before: Some(before) });
    for _ in 0..2 {
        assert_eq!(trim(marks[1].position), Ok(Outcome::Done));
        assert_eq!(told_from(&*store, &key, Start::Earliest), ["c", "d"]);
    }
    let far = Position { ms: u64::MAX, ..marks[3].position };
    assert_eq!(trim(far), Ok(Outcome::Done));
    let found = ends(&*store, &key);
    assert_eq!((found.trimmed, found.tail, found.records), (marks[3], marks[3], 0));
    assert_eq!(append(&*store, &key, record("e")).number, 5);
    assert_eq!(told_from(&*store, &key, Start::Earliest), ["e"]);
}

pub fn narrower_bounds_hold_at_once(make: Make) {
    let store = make();
    let key = made(&*store, "s", ALL);
    fill_stream(&*store, &key, &["a", "b", "c", "d"]);
    let retention = Retention { records_max: 1, ..ALL };
    ask_stream(&*store, &key, PartitionOp::Configure { retention }).unwrap();
    assert_eq!(told_from(&*store, &key, Start::Earliest), ["d"]);
    let found = info(&*store, &key).unwrap();
    assert_eq!((found.retention, found.ends.records, found.ends.trimmed.number), (retention, 1, 3));
    ask_stream(&*store, &key, PartitionOp::Configure { retention: ALL }).unwrap();
    fill_stream(&*store, &key, &["e", "f"]);
    assert_eq!(told_from(&*store, &key, Start::Earliest), ["d", "e", "f"]);
}

pub fn compaction_keeps_the_last_record_of_each_key(make: Make) {
    let store = make();
    let key = made(&*store, "s", Retention { is_compacted: true, ..ALL });
    let ops = [("k", "1"), ("l", "2"), ("", "3"), ("k", "4"), ("", "5"), ("l", "6"), ("k", "7")];
    let marks: Vec<Mark> = ops.map(|(of, text)| append(&*store, &key, keyed(of, text))).into();
    assert_eq!(told_from(&*store, &key, Start::Earliest), ["3", "5", "6", "7"]);
    assert_eq!(told_from(&*store, &key, Start::After(marks[3].position)), ["5", "6", "7"]);
    let found = ends(&*store, &key);
    assert_eq!((found.trimmed, found.tail, found.records, found.bytes), (Mark::default(), marks[6], 4, 40));
    assert_eq!(streamed(&*store), [4, 40, 7, 0, 3, 0]);
    ask_stream(&*store, &key, PartitionOp::Trim { before: Some(marks[5].position) }).unwrap();
    append(&*store, &key, keyed("l", "8"));
    assert_eq!(told_from(&*store, &key, Start::Earliest), ["7", "8"]);
    assert_eq!(streamed(&*store), [2, 20, 8, 3, 3, 0]);
}

pub fn a_sealed_partition_takes_nothing_and_keeps_what_it_has(make: Make) {
    let store = make();
    let key = made(&*store, "s", ALL);
    let marks = fill_stream(&*store, &key, &["a", "b"]);
    for _ in 0..2 {
        assert_eq!(ask_stream(&*store, &key, PartitionOp::Seal), Ok(Outcome::Done));
    }
    assert_eq!(ask_stream(&*store, &key, record("c")), Ok(Outcome::Gone));
    ask_stream(&*store, &key, PartitionOp::Configure { retention: ALL }).unwrap();
    assert_eq!(ask_stream(&*store, &key, record("c")), Ok(Outcome::Gone), "it stays sealed");
    assert_eq!(told_from(&*store, &key, Start::Earliest), ["a", "b"]);
    let found = ends(&*store, &key);
    assert_eq!((found.is_sealed, found.tail), (true, marks[1]));
    let next = PartitionKey { generation: 2, ..key };
    ask_stream(&*store, &next, PartitionOp::Configure { retention: ALL }).unwrap();
    assert_eq!(append(&*store, &next, record("c")).number, 1, "numbers are of a generation");
}

pub fn a_dropped_partition_leaves_nothing_behind(make: Make) {
    let store = make();
    let key = made(&*store, "s", ALL);
    let marks = fill_stream(&*store, &key, &["a", "b"]);
    append(&*store, &key, known(id(1), "c"));
    let acquire = PartitionOp::Acquire { group: "g".into(), start: Start::Earliest };
    ask_stream(&*store, &key, acquire).unwrap();
    for _ in 0..2 {
        assert_eq!(ask_stream(&*store, &key, PartitionOp::Drop), Ok(Outcome::Done));
    }
    assert_eq!(ask_stream(&*store, &key, record("d")), Ok(Outcome::Gone));
    assert_eq!((info(&*store, &key), read(&*store, &key, Start::Earliest, 9)), (None, StreamPage::default()));
    assert_eq!(streamed(&*store), [0, 0, 3, 0, 0, 3]);
    made(&*store, "s", ALL);
    let mark = append(&*store, &key, known(id(1), "anew"));
    assert!(mark.number == 1 && mark.position > marks[1].position);
    assert_eq!(told_from(&*store, &key, Start::Earliest), ["anew"]);
    assert!(info(&*store, &key).unwrap().groups.is_empty());
}

pub fn a_reader_begins_where_it_says(make: Make) {
    let store = make();
    let key = made(&*store, "s", ALL);
    let marks = fill_stream(&*store, &key, &["a", "b", "c", "d"]);
    let from = |start| told_from(&*store, &key, start);
    assert!(from(Start::Latest).is_empty());
    assert_eq!(from(Start::After(Position::default())), ["a", "b", "c", "d"]);
    assert_eq!(from(Start::After(marks[1].position)), ["c", "d"]);
    assert!(from(Start::After(marks[3].position)).is_empty());
    assert_eq!(from(Start::At(UnixMillis(0))), ["a", "b", "c", "d"]);
    assert_eq!(from(Start::At(UnixMillis(marks[0].position.ms))), ["a", "b", "c", "d"]);
    assert!(from(Start::At(UnixMillis(marks[3].position.ms + 1))).is_empty());
    let at_last = marks.iter().position(|mark| mark.position.ms == marks[3].position.ms).unwrap();
    assert_eq!(from(Start::At(UnixMillis(marks[3].position.ms))), ["a", "b", "c", "d"][at_last..]);
}

pub fn a_reader_of_what_was_let_go_is_given_the_next_there_is_and_can_tell(make: Make) {
    let store = make();
    let key = made(&*store, "s", ALL);
    let marks = fill_stream(&*store, &key, &["a", "b", "c", "d"]);
    ask_stream(&*store, &key, PartitionOp::Trim { before: Some(marks[2].position) }).unwrap();
    for start in
        [Start::Earliest, Start::After(marks[0].position), Start::At(UnixMillis(marks[0].position.ms))]
    {
        let page = read(&*store, &key, start, 10);
        assert_eq!(page.records.iter().map(|record| record.mark).collect::<Vec<_>>(), [marks[3]]);
        assert!(page.ends.trimmed == marks[2] && page.ends.trimmed.position > marks[0].position);
    }
}

pub fn a_page_of_records_is_bounded_and_has_at_least_one(make: Make) {
    let store = make();
    let key = made(&*store, "s", ALL);
    fill_stream(&*store, &key, &["a", "b", "c"]);
    let read = |rows_max, bytes_max| {
        let page = Page { rows_max, bytes_max };
        let page = wait(store.read_stream(key.clone(), Start::Earliest, page)).unwrap();
        page.records.iter().map(|record| record.mark.number).collect::<Vec<_>>()
    };
    assert_eq!(read(2, 10_000), [1, 2]);
    assert_eq!(read(10, 20), [1, 2]);
    assert_eq!(read(10, 1), [1]);
    assert_eq!(read(10, 10_000), [1, 2, 3]);
}

pub fn many_records_are_all_there_in_order_across_pages(make: Make) {
    let store = make();
    let key = made(&*store, "s", ALL);
    for batch in 0..30 {
        let texts: Vec<String> = (0..40).map(|n| (batch * 40 + n).to_string()).collect();
        let steps = texts.iter().map(|text| stream_step(&key, [record(text)])).collect();
        assert!(ask(&*store, steps).iter().all(Result::is_ok));
    }
    let (mut start, mut next) = (Start::Earliest, 0);
    while next < 1200 {
        let page = read(&*store, &key, start, 500);
        for record in &page.records {
            assert_eq!(record.message, message(&next.to_string(), 10));
            next += 1;
            assert_eq!(record.mark.number, next);
        }
        start = Start::After(page.records.last().expect("not all were read").mark.position);
    }
    assert!(read(&*store, &key, start, 500).records.is_empty());
}

pub fn several_records_of_one_step_are_appended_together(make: Make) {
    let store = make();
    let key = made(&*store, "s", ALL);
    let steps = vec![
        stream_step(&key, [record("a"), record("b")]),
        stream_step(&partition("never"), [record("x")]),
        stream_step(&key, [record("c")]),
    ];
    let answer = ask(&*store, steps);
    let numbers = |step: usize| {
        let outcomes = answer[step].as_ref().unwrap().iter();
        let number = |outcome: &Outcome| match outcome {
            Outcome::Appended { mark, .. } => mark.number,
            Outcome::Gone => 0,
            other => panic!("not appended: {other:?}"),
        };
        outcomes.map(number).collect::<Vec<_>>()
    };
    assert_eq!((numbers(0), numbers(1), numbers(2)), (vec![1, 2], vec![0], vec![3]));
    assert_eq!(told_from(&*store, &key, Start::Earliest), ["a", "b", "c"]);
}

pub fn a_mirror_hears_of_appended_records_before_the_answer(make: Make) {
    let store = make();
    let (heard, _) = restore(&*store);
    let tails = || heard.tails();
    let key = made(&*store, "s", ALL);
    let mark = append(&*store, &key, record("a"));
    assert_eq!(tails().last(), Some(&(key.clone(), Some(mark))));
    let last = append(&*store, &key, record("b"));
    assert_eq!(tails().last(), Some(&(key.clone(), Some(last))));
    ask_stream(&*store, &key, PartitionOp::Drop).unwrap();
    assert_eq!(tails().last(), Some(&(key, None)));
}

/// For a store of [`limited`].
pub fn a_record_of_a_publish_whose_retained_message_is_refused_is_not_kept(make: Make) {
    let store = make();
    let key = made(&*store, "s", ALL);
    let large = Arc::new(Message { payload: vec![b'.'; 200].into(), ..(*on_topic("t", "")).clone() });
    let retain = topic_step("t", TopicOp::Retain { message: Some(large) });
    let answer = ask(&*store, vec![retain, stream_step(&key, [record("a")])]);
    assert!(answer.iter().all(|result| *result == Err(Refusal::RetainedFull)), "{answer:?}");
    assert!(records(&*store, &key, Start::Earliest).is_empty());
    append(&*store, &key, record("b"));
}
