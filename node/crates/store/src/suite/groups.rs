//! Promises about groups: one owner at a time, fenced; where a group begins and how far it has come.

use super::*;
use crate::{Attempt, GroupPlace, Mark, PartitionKey, PartitionOp, Progress, Retention, Start};

fn group() -> Arc<str> {
    "g".into()
}

/// Takes a group's place: its fence and how far it had come.
pub fn acquire(store: &dyn Store, key: &PartitionKey, start: Start) -> (u64, Progress) {
    match ask_stream(store, key, PartitionOp::Acquire { group: group(), start }) {
        Ok(Outcome::Acquired { fence, progress }) => (fence, progress),
        other => panic!("not acquired: {other:?}"),
    }
}

fn commit(fence: u64, progress: &Progress) -> PartitionOp {
    PartitionOp::Commit { group: group(), fence, progress: progress.clone() }
}

fn release(fence: u64, progress: &Progress) -> PartitionOp {
    PartitionOp::Release { group: group(), fence, progress: progress.clone() }
}

fn seek(start: Start) -> PartitionOp {
    PartitionOp::Seek { group: group(), start }
}

fn place(store: &dyn Store, key: &PartitionKey) -> Option<GroupPlace> {
    info(store, key).expect("a partition").groups.pop()
}

fn low(mark: Mark) -> Progress {
    Progress { low: mark, ..Progress::default() }
}

fn filled(store: &dyn Store) -> (PartitionKey, Vec<Mark>) {
    let key = made(store, "s", Retention::default());
    let marks = fill_stream(store, &key, &["a", "b", "c", "d"]);
    (key, marks)
}

pub fn a_group_begins_where_its_first_member_says(make: Make) {
    let store = make();
    let (key, marks) = filled(&*store);
    ask_stream(&*store, &key, PartitionOp::Trim { before: Some(marks[0].position) }).unwrap();
    let at = marks[3].position.ms;
    let before =
        marks.iter().rfind(|mark| mark.position.ms < at).map_or(marks[0], |mark| marks[0].max(*mark));
    for (start, expected) in [
        (Start::Earliest, marks[0]),
        (Start::Latest, marks[3]),
        (Start::After(marks[2].position), marks[2]),
        (Start::At(UnixMillis(at)), before),
        (Start::At(UnixMillis(at + 1)), marks[3]),
    ] {
        let (_, progress) = acquire(&*store, &key, start);
        assert_eq!(progress, low(expected), "{start:?}");
        ask_stream(&*store, &key, PartitionOp::Forget { group: group() }).unwrap();
    }
    acquire(&*store, &key, Start::Latest);
    assert_eq!(acquire(&*store, &key, Start::Earliest).1, low(marks[3]), "a place that is there stays");
}

pub fn a_group_s_progress_is_kept_as_it_was_committed(make: Make) {
    let store = make();
    let (key, marks) = filled(&*store);
    let (fence, _) = acquire(&*store, &key, Start::Earliest);
    let attempt = |at, retry_at| Attempt { at, deliveries: 3, retry_at };
    let progress = Progress {
        low: marks[0],
        done: vec![(marks[1], marks[1]), (marks[3], marks[3])],
        attempts: vec![attempt(marks[2], Some(UnixMillis(77))), attempt(marks[3], None)],
    };
    assert_eq!(ask_stream(&*store, &key, commit(fence, &progress)), Ok(Outcome::Done));
    let kept = place(&*store, &key).unwrap();
    assert_eq!((kept.group, kept.fence, &kept.progress), (group(), fence, &progress));
    assert!(kept.owner.is_some());
    assert_eq!(ask_stream(&*store, &key, release(fence, &low(marks[1]))), Ok(Outcome::Done));
    let kept = place(&*store, &key).unwrap();
    assert_eq!((kept.owner, kept.progress), (None, low(marks[1])));
}

pub fn an_older_fence_of_a_group_is_refused(make: Make) {
    let store = make();
    let (key, marks) = filled(&*store);
    let (old, _) = acquire(&*store, &key, Start::Earliest);
    let (fence, _) = acquire(&*store, &key, Start::Earliest);
    assert!(fence > old, "the same owner again gets a higher one");
    for op in [commit(old, &low(marks[3])), release(old, &low(marks[3])), commit(fence + 1, &low(marks[3]))] {
        assert_eq!(ask_stream(&*store, &key, op), Err(Refusal::Fenced));
    }
    assert_eq!(place(&*store, &key).unwrap().progress, low(Mark::default()));
    ask_stream(&*store, &key, release(fence, &low(marks[0]))).unwrap();
    for op in [commit(fence, &low(marks[3])), release(fence, &low(marks[3]))] {
        assert_eq!(ask_stream(&*store, &key, op), Err(Refusal::Fenced), "it was given back");
    }
    assert_eq!(acquire(&*store, &key, Start::Earliest).1, low(marks[0]));
    let gone = partition("never");
    assert_eq!(ask_stream(&*store, &gone, commit(fence, &low(marks[0]))), Err(Refusal::Fenced));
}

pub fn a_step_with_an_older_fence_does_nothing_at_all(make: Make) {
    let store = make();
    let (key, marks) = filled(&*store);
    let (old, _) = acquire(&*store, &key, Start::Earliest);
    let (fence, _) = acquire(&*store, &key, Start::Earliest);
    let answer = ask(&*store, vec![stream_step(&key, [record("e"), commit(old, &low(marks[3]))])]);
    assert_eq!(answer[0], Err(Refusal::Fenced));
    let again = PartitionOp::Acquire { group: group(), start: Start::Earliest };
    let answer = ask(&*store, vec![stream_step(&key, [again, commit(fence, &low(marks[3]))])]);
    assert_eq!(answer[0], Err(Refusal::Fenced), "no fence is known before the step that gives it");
    assert_eq!(told_from(&*store, &key, Start::Earliest), ["a", "b", "c", "d"]);
    assert_eq!(ask_stream(&*store, &key, commit(fence, &low(marks[1]))), Ok(Outcome::Done));
}

pub fn a_forgotten_group_is_no_more_and_its_owner_refused(make: Make) {
    let store = make();
    let (key, marks) = filled(&*store);
    let (fence, _) = acquire(&*store, &key, Start::Earliest);
    ask_stream(&*store, &key, commit(fence, &low(marks[2]))).unwrap();
    for _ in 0..2 {
        assert_eq!(ask_stream(&*store, &key, PartitionOp::Forget { group: group() }), Ok(Outcome::Done));
    }
    assert_eq!(place(&*store, &key), None);
    assert_eq!(ask_stream(&*store, &key, commit(fence, &low(marks[3]))), Err(Refusal::Fenced));
    assert_eq!(acquire(&*store, &key, Start::Earliest).1, Progress::default());
}

pub fn a_group_is_moved_only_while_nobody_holds_its_place(make: Make) {
    let store = make();
    let (key, marks) = filled(&*store);
    assert_eq!(ask_stream(&*store, &key, seek(Start::After(marks[1].position))), Ok(Outcome::Done));
    let (fence, progress) = acquire(&*store, &key, Start::Earliest);
    assert_eq!(progress, low(marks[1]), "it was given a place");
    assert!(matches!(ask_stream(&*store, &key, seek(Start::Earliest)), Ok(Outcome::Held { .. })));
    let done = vec![(marks[3], marks[3])];
    let progress = Progress { done, ..low(marks[2]) };
    ask_stream(&*store, &key, release(fence, &progress)).unwrap();
    assert_eq!(ask_stream(&*store, &key, seek(Start::After(marks[0].position))), Ok(Outcome::Done));
    assert_eq!(
        place(&*store, &key).unwrap().progress,
        low(marks[0]),
        "nothing above it is finished any more"
    );
    assert_eq!(ask_stream(&*store, &key, commit(fence, &progress)), Err(Refusal::Fenced));
    assert_eq!(ask_stream(&*store, &key, seek(Start::Latest)), Ok(Outcome::Done));
    assert_eq!(acquire(&*store, &key, Start::Earliest).1, low(marks[3]));
}

pub fn a_group_below_what_was_let_go_stays_where_it_is(make: Make) {
    let store = make();
    let (key, marks) = filled(&*store);
    let (fence, _) = acquire(&*store, &key, Start::Earliest);
    ask_stream(&*store, &key, commit(fence, &low(marks[0]))).unwrap();
    ask_stream(&*store, &key, PartitionOp::Trim { before: Some(marks[2].position) }).unwrap();
    let kept = place(&*store, &key).unwrap();
    assert_eq!((kept.progress, kept.fence), (low(marks[0]), fence));
    assert_eq!(info(&*store, &key).unwrap().ends.trimmed, marks[2]);
    ask_stream(&*store, &key, commit(fence, &low(marks[2]))).unwrap();
}

pub fn groups_of_a_partition_are_told_by_name(make: Make) {
    let store = make();
    let (key, _) = filled(&*store);
    let long = "x".repeat(64 << 10);
    for name in ["b/{c}", "a", "", "a\nb", long.as_str()] {
        let acquire = PartitionOp::Acquire { group: name.into(), start: Start::Latest };
        assert!(matches!(ask_stream(&*store, &key, acquire), Ok(Outcome::Acquired { .. })));
    }
    let found: Vec<Arc<str>> = info(&*store, &key).unwrap().groups.into_iter().map(|g| g.group).collect();
    assert_eq!(found.iter().map(|name| &**name).collect::<Vec<_>>(), ["", "a", "a\nb", "b/{c}", &long]);
}
