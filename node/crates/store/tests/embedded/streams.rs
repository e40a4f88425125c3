//! What only the embedded store has to show of streams: nothing is lost or doubled between its layers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use weir_store::suite::{
    Held, acquire, append, ask, ask_stream, claim, info, made, message, partition, read, record, records,
    stream_step, told_from,
};
use weir_store::{
    Account, Config, Mark, Outcome, PartitionKey, PartitionOp, Progress, Refusal, Retention, Start, Store,
};

use crate::disk::{config, open_at};

const ALL: Retention = Retention { records_max: 0, bytes_max: 0, age_max_ms: 0, is_compacted: false };

/// A log so small that every few group commits a checkpoint begins.
fn small_log() -> Config {
    Config { log_segment_bytes: 2000, ..config(6000) }
}

#[test]
fn marks_fences_and_ids_go_on_where_they_were() {
    for log_bytes_max in [u64::MAX, 1] {
        let (dir, config) = (tempfile::tempdir().unwrap(), config(log_bytes_max));
        let key = made(&*open_at(&config, dir.path()), "s", Retention { records_max: 1, ..ALL });
        let (mut last, mut fence) = (Mark::default(), 0);
        for turn in 1..=3u64 {
            let store = open_at(&config, dir.path());
            let mark = append(&*store, &key, record("a"));
            assert!(mark.number == last.number + 1 && mark.position > last.position);
            let (newer, progress) = acquire(&*store, &key, Start::Earliest);
            assert!(newer > fence);
            assert_eq!(progress.low, last, "as it was committed");
            let progress = Progress { low: mark, ..Progress::default() };
            let commit = PartitionOp::Commit { group: "g".into(), fence: newer, progress };
            assert_eq!(ask_stream(&*store, &key, commit), Ok(Outcome::Done));
            ask_stream(&*store, &key, PartitionOp::Trim { before: Some(mark.position) }).unwrap();
            assert_eq!(claim(&*store, "t", "k", turn).0, claim(&*store, "t", "k", 99).0);
            (last, fence) = (mark, newer);
        }
        let store = open_at(&config, dir.path());
        assert_eq!(info(&*store, &key).unwrap().groups[0].owner, None, "nobody holds it after a restart");
        let seek = PartitionOp::Seek { group: "g".into(), start: Start::Latest };
        assert_eq!(ask_stream(&*store, &key, seek), Ok(Outcome::Done));
        let found = info(&*store, &key).unwrap().ends;
        assert_eq!((found.trimmed, found.tail, found.records), (last, last, 0));
    }
}

#[test]
fn records_are_read_whole_across_the_tables_and_what_is_not_in_them_yet() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(&small_log(), dir.path());
    let key = made(&*store, "s", Retention { is_compacted: true, ..ALL });
    let mut expected = Vec::new();
    for n in 0..600u64 {
        let of = format!("{}", n * n % 101);
        append(&*store, &key, weir_store::suite::keyed(&of, &n.to_string()));
        expected.retain(|(key, _)| *key != of);
        expected.push((of, n.to_string()));
        if n % 97 == 0 {
            let texts: Vec<&String> = expected.iter().map(|(_, text)| text).collect();
            assert_eq!(told_from(&*store, &key, Start::Earliest).iter().collect::<Vec<_>>(), texts);
        }
    }
    let before = records(&*store, &key, Start::Earliest);
    drop(store);
    let store = open_at(&small_log(), dir.path());
    assert_eq!(records(&*store, &key, Start::Earliest), before);
    append(&*store, &key, weir_store::suite::keyed("0", "last"));
    assert_eq!(records(&*store, &key, Start::Earliest).len(), before.len(), "it took the older one away");
}

/// Reads on and on; every record that is not seen was let go, and the reader could tell.
fn follow(store: &dyn Store, key: &PartitionKey, is_over: &AtomicBool) -> (u64, u64) {
    let (mut start, mut next, mut seen, mut missed) = (Start::Earliest, 1, 0, 0);
    loop {
        let ending = is_over.load(Ordering::Acquire);
        let page = read(store, key, start, 7);
        for record in &page.records {
            let number = record.mark.number;
            let trimmed = page.ends.trimmed.number;
            assert!(number == next || number - 1 <= trimmed, "{next} to {number} of {:?}", page.ends);
            assert_eq!(record.message, message(&(number - 1).to_string(), 10));
            missed += number - next;
            (next, seen, start) = (number + 1, seen + 1, Start::After(record.mark.position));
        }
        if ending && page.records.is_empty() {
            return (seen, missed);
        }
    }
}

#[test]
fn a_reader_sees_every_record_or_can_tell_that_it_was_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(&small_log(), dir.path());
    let key = made(&*store, "s", Retention { records_max: 40, ..ALL });
    let is_over = Arc::new(AtomicBool::new(false));
    let (reader, of_reader, over) = (store.clone(), key.clone(), is_over.clone());
    let reader = std::thread::spawn(move || follow(&*reader, &of_reader, &over));
    for n in 0..150 {
        let texts = (n * 20..(n + 1) * 20).map(|n: u64| record(&n.to_string()));
        assert!(ask(&*store, vec![stream_step(&key, texts)])[0].is_ok());
    }
    is_over.store(true, Ordering::Release);
    let (seen, missed) = reader.join().unwrap();
    assert_eq!(seen + missed, 3000);
    assert!(seen >= 40);
}

#[test]
fn what_was_let_go_takes_no_room_after_a_while() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { log_segment_bytes: 100_000, ..config(200_000) };
    let store = open_at(&config, dir.path());
    let key = made(&*store, "s", Retention { records_max: 100, ..ALL });
    let large = || message("m", 4000);
    for round in 0..12 {
        let other = made(&*store, &format!("dropped {round}"), ALL);
        for _ in 0..25 {
            let append = || {
                PartitionOp::Append(weir_store::Append {
                    id: None,
                    key: Default::default(),
                    message: large(),
                })
            };
            let steps = [&key, &other].map(|key| stream_step(key, (0..10).map(|_| append())));
            assert!(ask(&*store, steps.into()).iter().all(Result::is_ok));
        }
        ask_stream(&*store, &other, PartitionOp::Drop).unwrap();
    }
    let Account { stream_records, trimmed, stream_ended, .. } = store.account();
    assert_eq!((stream_records, trimmed, stream_ended), (100, 2900, 3000));
    drop(store);
    let store = open_at(&config, dir.path());
    assert_eq!(records(&*store, &key, Start::Earliest).len(), 100);
    let taken = crate::full::taken_bytes(dir.path());
    assert!(taken < 12 << 20, "{taken} bytes on the disk for 400 kB of records, of 24 MB appended");
    assert_eq!(info(&*store, &partition("dropped 3")), None);
}

#[test]
fn a_step_that_finds_no_room_on_the_disk_leaves_no_record() {
    let dir = tempfile::tempdir().unwrap();
    let free = Arc::new(std::sync::atomic::AtomicU64::new(1 << 40));
    let asked = free.clone();
    let probe: weir_store::Probe =
        Box::new(move |_| Ok(weir_store::Room { free: asked.load(Ordering::SeqCst), total: 1 << 40 }));
    let (store, _) = weir_store::open_embedded_with(&config(u64::MAX), dir.path(), probe).unwrap();
    let key = made(&*store, "s", ALL);
    let mark = append(&*store, &key, record("a"));
    let (fence, progress) = acquire(&*store, &key, Start::Earliest);
    let held = Held { key: key.clone(), group: "g".into(), fence };
    held.done(&*store, [held.keep("a", "1"), held.owe(1)]);
    free.store(1000, Ordering::SeqCst);
    let retention = ALL;
    for op in [record("b"), PartitionOp::Configure { retention }, held.keep("a", "2"), held.owe(2)] {
        assert_eq!(ask_stream(&*store, &key, op), Err(Refusal::DiskFull));
    }
    let put = weir_store::TableOp::Put { value: "v".into(), expect: weir_store::Expect::Anything };
    assert_eq!(weir_store::suite::ask_table(&*store, "k", put), Err(Refusal::DiskFull));
    let group: Arc<str> = "g".into();
    for op in [
        PartitionOp::Commit { group: group.clone(), fence, progress: progress.clone() },
        held.forget("a"),
        held.paid(1),
        PartitionOp::Release { group: group.clone(), fence, progress },
        PartitionOp::Trim { before: Some(mark.position) },
        PartitionOp::Forget { group },
        PartitionOp::Seal,
        PartitionOp::Drop,
    ] {
        assert_eq!(ask_stream(&*store, &key, op.clone()), Ok(Outcome::Done), "{op:?}");
    }
    free.store(1 << 40, Ordering::SeqCst);
    made(&*store, "s", ALL);
}
