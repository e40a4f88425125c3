//! Bytes that have changed on the disk: refused by name and range, or nothing is missing.

use std::path::Path;

use weir_store::{Config, OpenError};

use crate::disk::{
    Contents, Story, config, contents, copy, files, flip, last_segment, open_at, segments, told, try_open,
};

/// Opens a spoiled store: it must refuse by name, or hold everything.
fn refuses_or_holds(config: &Config, dir: &Path, expected: &Contents, case: &str) -> bool {
    match try_open(config, dir) {
        Ok((store, _)) => {
            assert_eq!(contents(&*store), *expected, "{case}: silently less");
            false
        }
        Err(OpenError::Damaged { first, last, .. }) => {
            assert!(first <= last, "{case}: no range");
            true
        }
        Err(other) => panic!("{case}: {other}"),
    }
}

/// Tells the story and notes where in the log each group commit ended.
fn told_with_ends(dir: &Path) -> (Contents, Vec<usize>) {
    let store = open_at(&config(u64::MAX), dir);
    let mut story = Story::begin(&*store);
    let mut ends = Vec::new();
    for chapter in 0..Story::CHAPTERS {
        story.tell(&*store, chapter);
        ends.push(last_segment(dir).metadata().unwrap().len() as usize);
    }
    (contents(&*store), ends)
}

#[test]
fn no_flipped_byte_in_the_middle_of_the_log_takes_anything_silently() {
    let dir = tempfile::tempdir().unwrap();
    let (expected, ends) = told_with_ends(dir.path());
    let segment = last_segment(dir.path());
    // Two group commits opened the sessions, so chapter 6 is the ninth.
    for place in ends[5]..ends[6] {
        flip(&segment, place, 0x10);
        let refused = refuses_or_holds(&config(u64::MAX), dir.path(), &expected, &format!("byte {place}"));
        assert!(refused, "byte {place} of an acknowledged record");
        let Err(OpenError::Damaged { file, first, last, offset, .. }) =
            try_open(&config(u64::MAX), dir.path())
        else {
            panic!("refused once and then not");
        };
        assert_eq!((&file, first, last, offset as usize), (&segment, 9, 9, ends[5]));
        flip(&segment, place, 0x10);
    }
}

#[test]
fn a_flipped_byte_of_a_segment_header_takes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let expected = told(&config(u64::MAX), &dir.path().join("sound"));
    for place in 0..24 {
        let case = dir.path().join(place.to_string());
        copy(&dir.path().join("sound"), &case);
        flip(&last_segment(&case), place, 0x40);
        assert!(!refuses_or_holds(&config(u64::MAX), &case, &expected, &format!("byte {place}")));
        open_at(&config(u64::MAX), &case);
    }
}

#[test]
fn a_loss_that_was_accepted_is_reported_once_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (_, ends) = told_with_ends(dir.path());
    flip(&last_segment(dir.path()), ends[5] + 40, 1);
    let accepting = Config { accept_loss: true, ..config(u64::MAX) };
    let (store, recovery) = try_open(&accepting, dir.path()).unwrap();
    assert_eq!(recovery.lost.iter().map(|lost| (lost.first, lost.last)).collect::<Vec<_>>(), [(9, 9)]);
    let found = contents(&*store);
    drop(store);
    assert_eq!(contents(&*open_at(&config(u64::MAX), dir.path())), found);
}

#[test]
fn damage_to_what_the_tables_already_hold_is_harmless() {
    let dir = tempfile::tempdir().unwrap();
    told(&config(u64::MAX), &dir.path().join("log"));
    let old_segment = last_segment(&dir.path().join("log"));
    let live = dir.path().join("live");
    copy(&dir.path().join("log"), &live);
    let expected = {
        let store = open_at(&config(1), &live);
        weir_store::suite::retain(&*store, "kept", Some("after"));
        contents(&*store)
    };
    let again = live.join("store/log").join(old_segment.file_name().unwrap());
    assert!(!again.exists(), "the checkpoint let go of it");
    std::fs::copy(&old_segment, &again).unwrap();
    flip(&again, 100, 1);
    let (store, recovery) = try_open(&config(u64::MAX), &live).unwrap();
    assert_eq!(contents(&*store), expected);
    assert!(!recovery.harmless.is_empty() && recovery.lost.is_empty());
}

#[test]
fn a_missing_segment_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let small = Config { log_segment_bytes: 300, ..config(u64::MAX) };
    told(&small, dir.path());
    let all = segments(dir.path());
    assert!(all.len() > 3);
    for segment in &all[..all.len() - 1] {
        let bytes = std::fs::read(segment).unwrap();
        std::fs::remove_file(segment).unwrap();
        match try_open(&small, dir.path()) {
            Err(OpenError::Damaged { first, last, .. }) => assert!(first <= last),
            other => panic!("without {}: {:?}", segment.display(), other.err()),
        }
        std::fs::write(segment, bytes).unwrap();
    }
}

#[test]
fn a_spoiled_slot_of_the_mark_takes_nothing_and_a_lost_mark_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let expected = told(&config(u64::MAX), dir.path());
    let mark = dir.path().join("store/mark");
    for place in (0..32).chain(4096..4128) {
        flip(&mark, place, 0x04);
        assert!(!refuses_or_holds(&config(u64::MAX), dir.path(), &expected, &format!("byte {place}")));
        flip(&mark, place, 0x04);
    }
    flip(&mark, 3, 1);
    flip(&mark, 4100, 1);
    assert!(refuses_or_holds(&config(u64::MAX), dir.path(), &expected, "both slots"));
    let accepting = Config { accept_loss: true, ..config(u64::MAX) };
    let (store, recovery) = try_open(&accepting, dir.path()).unwrap();
    assert_eq!((contents(&*store), recovery.lost.len()), (expected, 1));
}

#[test]
fn no_flipped_byte_of_the_tables_takes_anything_silently() {
    let dir = tempfile::tempdir().unwrap();
    let sound = dir.path().join("sound");
    let expected = told(&config(1), &sound);
    let (mut refused, mut cases) = (0, 0);
    for path in files(&sound.join("store/tables")) {
        let length = path.metadata().unwrap().len().min(8192) as usize;
        let case = dir.path().join("case");
        for place in (0..length).step_by(1 + length / 12) {
            copy(&sound, &case);
            flip(&case.join(path.strip_prefix(&sound).unwrap()), place, 0x20);
            let name = format!("{} byte {place}", path.display());
            refused += usize::from(refuses_or_holds(&config(u64::MAX), &case, &expected, &name));
            cases += 1;
            std::fs::remove_dir_all(&case).unwrap();
        }
    }
    assert!(refused > 0 && cases > 30, "{refused} of {cases} refused: the test must reach what matters");
}

#[test]
fn a_missing_file_of_the_tables_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let sound = dir.path().join("sound");
    let expected = told(&config(1), &sound);
    let (mut refused, case) = (0, dir.path().join("case"));
    for path in files(&sound.join("store/tables")) {
        copy(&sound, &case);
        std::fs::remove_file(case.join(path.strip_prefix(&sound).unwrap())).unwrap();
        let name = format!("without {}", path.display());
        refused += usize::from(refuses_or_holds(&config(u64::MAX), &case, &expected, &name));
        std::fs::remove_dir_all(&case).unwrap();
    }
    assert!(refused > 3);
}

#[test]
fn damaged_tables_are_set_aside_when_the_loss_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    told(&config(1), dir.path());
    for path in files(&dir.path().join("store/tables/keyspaces/1/tables")) {
        let length = path.metadata().unwrap().len() as usize;
        (0..length).step_by(7).for_each(|place| flip(&path, place, 0xff));
    }
    let accepting = Config { accept_loss: true, ..config(u64::MAX) };
    assert!(matches!(try_open(&config(u64::MAX), dir.path()), Err(OpenError::Damaged { .. })));
    let (store, recovery) = try_open(&accepting, dir.path()).unwrap();
    assert!(!recovery.lost.is_empty());
    assert!(dir.path().join("store/tables.damaged-1").exists());
    weir_store::suite::retain(&*store, "t", Some("works"));
    let found = contents(&*store);
    drop(store);
    assert_eq!(contents(&*open_at(&config(u64::MAX), dir.path())), found);
}

#[test]
fn whatever_stands_in_the_engines_journal_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let expected = told(&config(1), dir.path());
    for journal in ["0.jnl", "7.jnl"] {
        std::fs::write(dir.path().join("store/tables").join(journal), vec![0x5a; 3000]).unwrap();
        assert_eq!(contents(&*open_at(&config(u64::MAX), dir.path())), expected);
    }
}
