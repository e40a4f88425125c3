//! A store that was closed, or copied in the middle of its work, and opened again.

use weir_store::suite::{
    ask_one, client, delay, enqueue, enqueue_with, group, message, open, resuming, retain,
};
use weir_store::{OpenError, Outcome, Refusal, SessionOp};

use crate::disk::{Story, config, contents, copy, open_at, segments, told, try_open};

fn everything_is_there_after_a_restart(log_bytes_max: u64) {
    let dir = tempfile::tempdir().unwrap();
    let config = config(log_bytes_max);
    let before = told(&config, dir.path());
    for _ in 0..3 {
        let store = open_at(&config, dir.path());
        assert_eq!(contents(&*store), before);
    }
}

#[test]
fn everything_is_there_after_a_restart_from_the_log() {
    everything_is_there_after_a_restart(u64::MAX);
}

#[test]
fn everything_is_there_after_a_restart_from_the_tables() {
    everything_is_there_after_a_restart(1);
}

#[test]
fn everything_is_there_after_a_restart_from_both() {
    everything_is_there_after_a_restart(700);
}

#[test]
fn a_copy_taken_at_any_commit_boundary_holds_all_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(u64::MAX);
    let store = open_at(&config, &dir.path().join("live"));
    let mut story = Story::begin(&*store);
    let mut expected = Vec::new();
    for chapter in 0..Story::CHAPTERS {
        story.tell(&*store, chapter);
        copy(&dir.path().join("live"), &dir.path().join(chapter.to_string()));
        expected.push(contents(&*store));
    }
    for (chapter, expected) in expected.iter().enumerate() {
        let copy = open_at(&config, &dir.path().join(chapter.to_string()));
        assert_eq!(contents(&*copy), *expected, "after chapter {chapter}");
    }
}

#[test]
fn numbers_ids_and_positions_go_on_where_they_were() {
    for log_bytes_max in [u64::MAX, 1] {
        let dir = tempfile::tempdir().unwrap();
        let config = config(log_bytes_max);
        let id = |count| weir_model::MessageId::received(1, 1, count);
        let (a, shared) = (client("a"), group("$share/g/t"));
        let mut last = (0, 0, retain(&*open_at(&config, dir.path()), "t", Some("0")), 0);
        for turn in 1..=3 {
            let store = open_at(&config, dir.path());
            let opened = open(&*store, &a, resuming());
            assert!(opened.fence.fence > last.0, "fences rise");
            let fence = opened.fence;
            let number =
                match ask_one(&*store, &a, enqueue_with(fence.generation, id(turn), message("m", 10))) {
                    Ok(Outcome::Enqueued { number, .. }) => number,
                    other => panic!("{other:?}"),
                };
            assert_eq!(number, turn, "dense, although every row is gone by now");
            for old in 1..=turn {
                let again = ask_one(&*store, &a, enqueue_with(fence.generation, id(old), message("m", 10)));
                assert_eq!(again, Ok(Outcome::Duplicate));
            }
            ask_one(&*store, &a, SessionOp::Ack { fence, number }).unwrap();
            let use_count = match ask_one(&*store, &a, SessionOp::Receive { fence, packet_id: 1 }) {
                Ok(Outcome::Received { first: true, id }) => id.count,
                other => panic!("{other:?}"),
            };
            assert!(use_count > last.1, "a packet id's uses are never counted twice");
            ask_one(&*store, &a, SessionOp::Release { fence, packet_id: 1 }).unwrap();
            let position = retain(&*store, "t", None);
            assert!(position > last.2);
            let first = delay(&*store, 5, Some(id(99)), "m") == Ok(Outcome::Done);
            assert_eq!(first, turn == 1);
            let grouped = match ask_one(&*store, &shared, enqueue(0, message("m", 10))) {
                Ok(Outcome::Enqueued { number, .. }) => number,
                other => panic!("{other:?}"),
            };
            assert!(grouped > last.3, "an old group ack must not meet a new row");
            ask_one(&*store, &shared, SessionOp::GroupAck { number: grouped }).unwrap();
            last = (fence.fence, use_count, position, grouped);
        }
    }
}

#[test]
fn rows_that_belong_to_nothing_are_cleared_away() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(u64::MAX);
    let key = client("volatile");
    let store = open_at(&config, dir.path());
    let fence = open(&*store, &key, weir_store::Open { persistent: false, ..resuming() }).fence;
    ask_one(&*store, &key, enqueue(fence.generation, message("m", 10))).unwrap();
    drop(store);
    let bytes = |dir| segments(dir).iter().map(|path| path.metadata().unwrap().len()).sum::<u64>();
    let before = bytes(dir.path());
    drop(open_at(&config, dir.path()));
    let cleared = bytes(dir.path());
    assert!(cleared > before + 24, "the deletion was logged");
    drop(open_at(&config, dir.path()));
    assert!(bytes(dir.path()) <= cleared + 24, "once");
}

#[test]
fn a_data_directory_serves_one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(u64::MAX);
    let store = open_at(&config, dir.path());
    match try_open(&config, dir.path()) {
        Err(OpenError::Locked { pid, .. }) => assert_eq!(pid, std::process::id().to_string()),
        other => panic!("{:?}", other.err()),
    }
    drop(store);
    open_at(&config, dir.path());
}

#[test]
fn a_newer_layout_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    told(&config(u64::MAX), dir.path());
    let segment = segments(dir.path()).remove(0);
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[7] = 9;
    let crc = crc32fast::hash(&bytes[..20]);
    bytes[20..24].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&segment, bytes).unwrap();
    match try_open(&config(u64::MAX), dir.path()) {
        Err(OpenError::Layout { file, found: 9, .. }) => assert_eq!(file, segment),
        other => panic!("{:?}", other.err()),
    }
}

#[test]
fn a_full_intake_is_unavailable_and_nothing_is_lost_of_what_was_taken() {
    let dir = tempfile::tempdir().unwrap();
    let config = weir_store::Config { intake_records_max: 4, ..config(u64::MAX) };
    let store = open_at(&config, dir.path());
    let key = client("a");
    let generation = open(&*store, &key, resuming()).fence.generation;
    let (sender, answers) = std::sync::mpsc::channel();
    for _ in 0..2000 {
        let sender = sender.clone();
        let steps = vec![weir_store::suite::step(&key, [enqueue(generation, message("m", 10))])];
        store.submit(steps, Box::new(move |mut answer| sender.send(answer.remove(0)).unwrap()));
    }
    drop(sender);
    let (taken, refused): (Vec<_>, Vec<_>) = answers.iter().partition(Result::is_ok);
    assert_eq!(taken.len() + refused.len(), 2000);
    assert!(refused.iter().all(|answer| *answer == Err(Refusal::Unavailable)));
    assert_eq!(open(&*store, &key, resuming()).queue.tail, taken.len() as u64);
}
