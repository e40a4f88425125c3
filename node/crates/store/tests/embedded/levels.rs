//! Answers that do not wait for the disk, or do although the others do not.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use weir_store::suite::{ask_at, client, enqueue, message, open, resuming, rows, step, submitted_at};
use weir_store::{Config, Level, NotProved, SessionKey, Step, Store};

use crate::disk::{config, copy, last_segment, open_at, try_open};

/// How often this process has synced a commit log.
fn syncs() -> u64 {
    let text = recorder().render();
    let count = text.lines().find_map(|line| line.strip_prefix("weir_store_syncs_total "));
    count.map_or(0, |count| count.parse().unwrap())
}

fn recorder() -> &'static PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    RECORDER.get_or_init(|| PrometheusBuilder::new().install_recorder().expect("the only recorder"))
}

/// A store, a session in it, and its generation.
fn opened(level: Level, dir: &Path) -> (Arc<dyn Store>, SessionKey, u64) {
    recorder();
    let store = open_at(&Config { level: level.into(), ..config(u64::MAX) }, dir);
    let key = client("a");
    let generation = open(&*store, &key, resuming()).fence.generation;
    (store, key, generation)
}

fn put(key: &SessionKey, generation: u64, text: &str) -> Vec<Step> {
    vec![step(key, [enqueue(generation, message(text, 50))])]
}

#[test]
fn a_lowered_answer_waits_for_no_sync_and_the_next_one_that_does_brings_it_to_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (store, key, generation) = opened(Level::Fsynced, dir.path());
    let before = syncs();
    for text in ["1", "2"] {
        ask_at(&*store, Some(Level::Stored), put(&key, generation, text)).remove(0).unwrap();
    }
    assert_eq!(syncs(), before);
    assert_eq!(rows(&*store, &key).len(), 2, "what is answered can be read");
    ask_at(&*store, None, put(&key, generation, "3")).remove(0).unwrap();
    assert_eq!(syncs(), before + 1);
    // Nothing is written by it, but what it rests on is synced.
    ask_at(&*store, Some(Level::Stored), put(&key, generation, "4")).remove(0).unwrap();
    let gone = enqueue(generation + 1, message("5", 50));
    ask_at(&*store, None, vec![step(&key, [gone])]).remove(0).unwrap();
    assert_eq!(syncs(), before + 2);
}

#[test]
fn a_raised_answer_is_synced_where_the_others_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let (store, key, generation) = opened(Level::Stored, dir.path());
    let before = syncs();
    ask_at(&*store, None, put(&key, generation, "1")).remove(0).unwrap();
    assert_eq!(syncs(), before);
    ask_at(&*store, Some(Level::Fsynced), put(&key, generation, "2")).remove(0).unwrap();
    assert_eq!(syncs(), before + 1);
    let replicated = "replicated:1".parse().unwrap();
    assert_eq!(store.proves(replicated), Err(NotProved::Never));
}

#[test]
fn what_was_answered_at_the_level_stored_survives_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let (live, dead) = (dir.path().join("live"), dir.path().join("dead"));
    let (store, key, generation) = opened(Level::Fsynced, &live);
    for text in ["1", "2", "3"] {
        ask_at(&*store, Some(Level::Stored), put(&key, generation, text)).remove(0).unwrap();
    }
    // What a process that dies now leaves behind.
    copy(&live, &dead);
    assert_eq!(rows(&*open_at(&config(u64::MAX), &dead), &key).len(), 3);
}

#[test]
fn pages_of_an_unsynced_end_may_reach_the_disk_in_any_order() {
    let dir = tempfile::tempdir().unwrap();
    let (live, dead) = (dir.path().join("live"), dir.path().join("dead"));
    let (store, key, generation) = opened(Level::Fsynced, &live);
    ask_at(&*store, None, put(&key, generation, "synced")).remove(0).unwrap();
    let end = |dir: &Path| last_segment(dir).metadata().unwrap().len() as usize;
    let synced = end(&live);
    ask_at(&*store, Some(Level::Stored), put(&key, generation, "lost")).remove(0).unwrap();
    let lost = end(&live);
    ask_at(&*store, Some(Level::Stored), put(&key, generation, "there")).remove(0).unwrap();
    copy(&live, &dead);
    let segment = last_segment(&dead);
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[synced..lost].fill(0);
    std::fs::write(&segment, &bytes).unwrap();
    let (store, recovery) = try_open(&config(u64::MAX), &dead).unwrap();
    assert_eq!(rows(&*store, &key).len(), 1, "what was synced is there");
    assert_eq!(recovery.torn.map(|torn| torn.offset as usize), Some(synced));
    assert!(recovery.lost.is_empty());
    drop(store);
    assert_eq!(rows(&*open_at(&config(u64::MAX), &dead), &key).len(), 1);
}

#[test]
fn raised_and_lowered_answers_of_one_group_are_all_there() {
    let dir = tempfile::tempdir().unwrap();
    let (store, key, generation) = opened(Level::Fsynced, dir.path());
    let levels = [None, Some(Level::Stored), Some(Level::Fsynced), Some(Level::Stored)];
    let answers: Vec<_> =
        levels.iter().map(|level| submitted_at(&*store, *level, put(&key, generation, "m"))).collect();
    for answer in answers {
        answer.recv().unwrap().remove(0).unwrap();
    }
    assert_eq!(rows(&*store, &key).len(), 4);
}
