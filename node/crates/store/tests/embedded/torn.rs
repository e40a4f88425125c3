//! The end of the log, cut anywhere.

use std::path::Path;

use weir_store::OpenError;

use crate::disk::{Story, config, contents, copy, last_segment, open_at, try_open};

/// A store before and after its last group commit: the chapter given.
fn before_and_after(dir: &Path, chapter: usize) {
    let store = open_at(&config(u64::MAX), &dir.join("live"));
    let mut story = Story::begin(&*store);
    (0..4).for_each(|chapter| story.tell(&*store, chapter));
    copy(&dir.join("live"), &dir.join("before"));
    story.tell(&*store, chapter);
    copy(&dir.join("live"), &dir.join("after"));
}

#[test]
fn a_torn_end_that_nobody_was_told_of_is_cut_and_said() {
    a_torn_end_is_cut_and_said(4);
}

#[test]
fn torn_records_of_a_stream_are_cut_and_said() {
    a_torn_end_is_cut_and_said(Story::FIRST_RECORDS);
}

fn a_torn_end_is_cut_and_said(chapter: usize) {
    let dir = tempfile::tempdir().unwrap();
    before_and_after(dir.path(), chapter);
    let config = config(u64::MAX);
    let whole = std::fs::read(last_segment(&dir.path().join("after"))).unwrap();
    let begins = last_segment(&dir.path().join("before")).metadata().unwrap().len() as usize;
    let before = contents(&*open_at(&config, &dir.path().join("before")));
    let after = contents(&*open_at(&config, &dir.path().join("after")));
    assert_ne!(before, after);
    let all = begins..=whole.len();
    for end in all.clone().step_by(1 + all.count() / 150).chain([whole.len()]) {
        let case = dir.path().join(format!("cut at {end}"));
        copy(&dir.path().join("before"), &case);
        let segment = last_segment(&case);
        std::fs::write(&segment, &whole[..end]).unwrap();
        let (store, recovery) = try_open(&config, &case).unwrap();
        let torn = recovery.torn.map(|torn| (torn.offset as usize, torn.bytes as usize));
        if end == whole.len() {
            assert_eq!((contents(&*store), torn), (after.clone(), None));
        } else {
            assert_eq!(contents(&*store), before);
            assert_eq!(torn, (end > begins).then_some((begins, end - begins)));
        }
        drop(store);
        open_at(&config, &case);
    }
}

#[test]
fn an_end_that_was_acknowledged_is_never_cut() {
    let dir = tempfile::tempdir().unwrap();
    before_and_after(dir.path(), 4);
    let config = config(u64::MAX);
    let whole = std::fs::read(last_segment(&dir.path().join("after"))).unwrap();
    let begins = last_segment(&dir.path().join("before")).metadata().unwrap().len() as usize;
    let after = dir.path().join("after");
    let segment = last_segment(&after);
    for end in begins..whole.len() {
        std::fs::write(&segment, &whole[..end]).unwrap();
        match try_open(&config, &after) {
            Err(OpenError::Damaged { file, first, last, .. }) => {
                assert_eq!((&file, first, last), (&segment, 7, 7), "cut at {end}");
            }
            other => panic!("cut at {end}: {:?}", other.err()),
        }
    }
}
