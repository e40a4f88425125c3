//! What a place promises, step by step and at random.

use bytes::Bytes;
use weir_model::{Message, Position, Qos, Topic};
use weir_store::{PartitionEnds, Start, StreamPage};

use super::*;

mod random;

const UNIX: UnixMillis = UnixMillis(1_000_000);

fn mark(number: u64) -> Mark {
    Mark { position: Position { epoch: 1, ms: 1000 + number / 3, seq: number % 3 }, number }
}

fn record(number: u64, key: &str) -> Record {
    let message = Message {
        topic: Topic::new("t").unwrap(),
        payload: Bytes::from(number.to_string()),
        qos: Qos::AtLeastOnce,
        retain: false,
        expires_at: None,
        properties: None,
    };
    Record { mark: mark(number), key: Bytes::copy_from_slice(key.as_bytes()), message: Arc::new(message) }
}

fn rules() -> Rules {
    Rules {
        ack_wait_ms: 100,
        deliveries_max: 0,
        ack_pending_max: 1000,
        backoff_ms: Arc::from([]),
        has_dead_letters: true,
        keyless_in_order: false,
    }
}

fn place() -> Place {
    Place::new(Progress::default(), rules())
}

/// A page with the records of these keys, numbered from `first` on.
fn page(first: u64, keys: &[&str]) -> StreamPage {
    let records: Vec<_> = (first..).zip(keys).map(|(number, key)| record(number, key)).collect();
    let tail = records.last().map_or_else(Mark::default, |record| record.mark);
    StreamPage { records, ends: PartitionEnds { tail, ..PartitionEnds::default() } }
}

fn filled(keys: &[&str]) -> Place {
    let mut place = place();
    assert_eq!(place.page(page(1, keys), 0, UNIX), Found::default());
    place
}

fn takes(place: &mut Place, member: u32, records: u32, now: u64) -> Vec<u64> {
    let mut room = Room { records, bytes: u64::MAX, is_empty: true };
    let mut out = Vec::new();
    place.deliver(member, &mut room, now, &mut out);
    out.iter().map(|handed| handed.record.mark.number).collect()
}

#[test]
fn what_is_acked_in_order_raises_the_low_mark_and_leaves_nothing() {
    let mut place = filled(&["a", "b", "a", "", ""]);
    assert_eq!(takes(&mut place, 1, 10, 0), [1, 2, 3, 4, 5]);
    for number in 1..=5 {
        place.ack(1, mark(number), 1).unwrap();
        assert_eq!(place.low(), mark(number));
    }
    assert_eq!(place.progress(0, UNIX), Progress { low: mark(5), ..Progress::default() });
    assert_eq!((place.out(), place.lag(), place.keys.held()), (0, 0, 0));
}

#[test]
fn what_is_acked_out_of_order_is_kept_as_runs() {
    let mut place = filled(&[""; 8]);
    takes(&mut place, 1, 8, 0);
    for number in [3, 7, 4, 8, 1] {
        place.ack(1, mark(number), 1).unwrap();
    }
    let progress = place.progress(0, UNIX);
    assert_eq!(progress.low, mark(1));
    assert_eq!(progress.done, [(mark(3), mark(4)), (mark(7), mark(8))]);
}

#[test]
fn a_key_that_is_out_goes_to_nobody_else() {
    let mut place = filled(&["a", "b", "a", "b", ""]);
    assert_eq!(takes(&mut place, 1, 1, 0), [1]);
    assert_eq!(takes(&mut place, 2, 10, 0), [2, 4, 5]);
    assert_eq!(takes(&mut place, 3, 10, 0), [0; 0]);
    place.ack(1, mark(1), 1).unwrap();
    assert_eq!(takes(&mut place, 3, 10, 0), [3]);
}

#[test]
fn a_nacked_record_comes_before_later_ones_of_its_key() {
    let mut place = filled(&["a", "a", "b", "a"]);
    assert_eq!(takes(&mut place, 1, 1, 0), [1]);
    place.nack(1, mark(1), 1, Some(50), 0).unwrap();
    assert_eq!(takes(&mut place, 1, 10, 10), [3], "the others of its key wait behind it");
    assert_eq!(takes(&mut place, 2, 10, 49), [0; 0]);
    assert_eq!(takes(&mut place, 2, 10, 50), [1, 2, 4]);
}

#[test]
fn the_backoff_grows_with_the_deliveries_and_its_last_step_repeats() {
    let mut place = filled(&[""]);
    place.set_rules(Rules { backoff_ms: Arc::from([10, 200]), ..rules() });
    let mut now = 0;
    for (attempt, wait) in [(1, 10), (2, 200), (3, 200)] {
        assert_eq!(takes(&mut place, 1, 1, now), [1]);
        place.nack(1, mark(1), attempt, None, now).unwrap();
        assert_eq!(takes(&mut place, 1, 1, now + wait - 1), [0; 0]);
        now += wait;
    }
    assert_eq!(takes(&mut place, 1, 1, now), [1]);
}

#[test]
fn a_record_without_an_answer_goes_to_another_member_and_the_late_answer_has_no_effect() {
    let mut place = filled(&["a", "a"]);
    assert_eq!(takes(&mut place, 1, 2, 0), [1, 2]);
    place.in_progress(1, mark(2), 1, 60).unwrap();
    let mut taken = Vec::new();
    assert!(!place.tick(99, &mut taken) && taken.is_empty());
    place.tick(100, &mut taken);
    assert_eq!(taken, [Taken { member: 1, mark: mark(1), attempt: 1, bytes: 3 }]);
    assert_eq!(takes(&mut place, 2, 2, 100), [0; 0], "the other of its key is still with the first member");
    place.tick(160, &mut taken);
    assert_eq!(takes(&mut place, 2, 2, 160), [1, 2]);
    assert_eq!(place.ack(1, mark(1), 1), Err(NotYours::Others));
    place.ack(2, mark(1), 2).unwrap();
    assert_eq!(place.ack(2, mark(1), 2), Err(NotYours::Finished));
}

#[test]
fn answers_that_are_nobodys_say_why_and_change_nothing() {
    let mut place = filled(&["", "", ""]);
    takes(&mut place, 1, 2, 0);
    assert_eq!(place.ack(2, mark(1), 1), Err(NotYours::Others));
    assert_eq!(place.ack(1, mark(1), 2), Err(NotYours::TakenBack));
    assert_eq!(place.ack(1, mark(3), 1), Err(NotYours::Finished), "never delivered");
    assert_eq!(place.ack(1, mark(99), 1), Err(NotYours::Finished));
    place.nack(1, mark(1), 1, Some(10), 0).unwrap();
    assert_eq!(place.ack(1, mark(1), 1), Err(NotYours::TakenBack));
    assert_eq!(place.nack(1, mark(1), 1, None, 0), Err(NotYours::TakenBack));
    place.ack(1, mark(2), 1).unwrap();
    assert_eq!(place.ack(1, mark(2), 1), Err(NotYours::Finished));
    assert_eq!(place.low(), Mark::default());
}

#[test]
fn a_record_delivered_as_often_as_may_be_is_finished_when_its_dead_letter_is_kept() {
    let mut place = filled(&["a", "a"]);
    place.set_rules(Rules { deliveries_max: 2, ..rules() });
    for attempt in 1..=2 {
        assert_eq!(takes(&mut place, 1, 1, 0), [1]);
        place.nack(1, mark(1), attempt, None, 0).unwrap();
    }
    let dead = place.take_dead(10);
    assert_eq!((dead[0].record.mark, dead[0].deliveries), (mark(1), 2));
    assert!(place.take_dead(10).is_empty());
    place.unburied(mark(1));
    assert_eq!(place.take_dead(10).len(), 1, "what was refused is told again");
    assert_eq!(place.low(), Mark::default());
    place.buried(mark(1));
    assert_eq!(place.low(), mark(1));
}

#[test]
fn without_dead_letters_such_a_record_is_finished_and_counted() {
    let mut place = filled(&["a"]);
    place.set_rules(Rules { deliveries_max: 1, has_dead_letters: false, ..rules() });
    takes(&mut place, 1, 1, 0);
    place.nack(1, mark(1), 1, None, 0).unwrap();
    assert_eq!((place.take_dropped(), place.low()), (1, mark(1)));
}

#[test]
fn nothing_new_is_delivered_when_as_much_is_pending_as_may_be() {
    let mut place = filled(&[""; 10]);
    place.set_rules(Rules { ack_pending_max: 3, ..rules() });
    assert_eq!(takes(&mut place, 1, 10, 0), [1, 2, 3]);
    assert!(place.is_full() && takes(&mut place, 2, 10, 0).is_empty());
    place.nack(1, mark(2), 1, Some(10), 0).unwrap();
    assert_eq!(takes(&mut place, 2, 10, 0), [0; 0], "what waits to be delivered again is pending");
    place.ack(1, mark(3), 1).unwrap();
    assert_eq!(takes(&mut place, 2, 10, 0), [4]);
}

#[test]
fn a_member_takes_no_more_bytes_than_it_may_but_always_one_record() {
    let mut place = filled(&[""; 4]);
    let mut out = Vec::new();
    place.deliver(1, &mut Room { records: 9, bytes: 1, is_empty: true }, 0, &mut out);
    assert_eq!(out.len(), 1);
    place.deliver(1, &mut Room { records: 9, bytes: 4, is_empty: false }, 0, &mut out);
    assert_eq!(out.len(), 3);
}

#[test]
fn progress_restores_what_is_finished_and_how_often_the_rest_was_delivered() {
    let mut before = filled(&["", "a", "a", "", "", "b"]);
    takes(&mut before, 1, 5, 0);
    for number in [1, 4, 5] {
        before.ack(1, mark(number), 1).unwrap();
    }
    before.nack(1, mark(2), 1, Some(500), 0).unwrap();
    let progress = before.progress(100, UNIX);
    let retry_at = Some(UnixMillis(UNIX.0 + 400));
    assert_eq!(progress.attempts, [Attempt { at: mark(2), deliveries: 1, retry_at }]);

    let mut after = Place::new(progress.clone(), rules());
    assert_eq!(after.progress(100, UNIX), progress, "what is not read yet is not forgotten");
    after.page(page(2, &["a", "a", "", "", "b"]), 5000, UNIX);
    assert_eq!(takes(&mut after, 1, 10, 5000), [6], "the key waits for its time");
    assert_eq!(takes(&mut after, 1, 10, 5400), [2, 3]);
    after.ack(1, mark(2), 2).unwrap();
    after.ack(1, mark(3), 1).unwrap();
    assert_eq!(after.low(), mark(5));
}

#[test]
fn a_record_that_stays_unfinished_holds_up_nothing_but_itself() {
    let mut place = place();
    let (mut first, mut now) = (1, 0);
    while first < 50_000 {
        now += 1;
        place.page(page(first, &[""; 500]), now, UNIX);
        for number in takes(&mut place, 1, 500, now) {
            match number {
                1 | 777 => place.nack(1, mark(number), 1, Some(1_000_000), now).map(drop).unwrap(),
                _ => place.ack(1, mark(number), 1).map(drop).unwrap(),
            }
        }
        first += 500;
    }
    let progress = place.progress(now, UNIX);
    assert_eq!(progress.low, Mark::default());
    assert_eq!(progress.done, [(mark(2), mark(776)), (mark(778), mark(first - 1))]);
    assert_eq!(takes(&mut place, 1, 10, 2_000_000), [1, 777]);
    place.ack(1, mark(777), 2).unwrap();
    assert_eq!(place.progress(now, UNIX).done, [(mark(2), mark(first - 1))]);
    place.ack(1, mark(1), 2).unwrap();
    assert_eq!((place.low(), place.window.is_empty()), (mark(first - 1), true));
}

#[test]
fn what_was_let_go_before_it_was_read_is_counted_by_its_numbers() {
    let progress = Progress {
        low: mark(10),
        done: vec![(mark(12), mark(13)), (mark(40), mark(60))],
        attempts: vec![Attempt { at: mark(11), deliveries: 3, retry_at: None }],
    };
    let mut place = Place::new(progress, rules());
    let mut page = page(51, &[""; 20]);
    page.ends.trimmed = mark(50);
    let found = place.page(page, 0, UNIX);
    assert_eq!(found.lost, 40 - 2 - 11);
    assert_eq!(takes(&mut place, 1, 100, 0), (61..=70).collect::<Vec<_>>());
    assert_eq!(place.low(), mark(60));
}

#[test]
fn a_partition_that_ends_below_what_was_read_is_told() {
    let mut place = Place::new(Progress { low: mark(100), ..Progress::default() }, rules());
    let mut page = StreamPage::default();
    page.ends.tail = mark(60);
    let found = place.page(page, 0, UNIX);
    assert_eq!((found.went_back, found.ends_at), (true, Some(mark(60))));
    let found = place.page(StreamPage::default(), 0, UNIX);
    assert!(found.is_gone);
}

#[test]
fn a_sealed_partition_is_at_its_end_when_everything_is_finished() {
    let mut place = place();
    let mut only = page(1, &["a"]);
    only.ends.is_sealed = true;
    // Compaction or somebody else took the last ones.
    only.ends.tail = mark(3);
    place.page(only, 0, UNIX);
    takes(&mut place, 1, 1, 0);
    place.ack(1, mark(1), 1).unwrap();
    let empty = StreamPage {
        records: Vec::new(),
        ends: PartitionEnds { tail: mark(3), is_sealed: true, ..PartitionEnds::default() },
    };
    assert!(!place.is_at_end());
    for _ in 0..2 {
        assert!(place.wants().is_some());
        place.page(empty.clone(), 0, UNIX);
    }
    place.page(empty, 0, UNIX);
    assert!(place.is_at_end());
    assert_eq!(place.low(), mark(3));
}

#[test]
fn of_a_handler_s_group_what_has_no_key_has_one_in_common() {
    let mut place = Place::new(Progress::default(), Rules { keyless_in_order: true, ..rules() });
    place.page(page(1, &["a", "", "", ""]), 0, UNIX);
    assert_eq!(takes(&mut place, 1, 3, 0), [1, 2, 3]);
    assert_eq!(takes(&mut place, 2, 10, 0), [0; 0]);
    place.ack(1, mark(2), 1).unwrap();
    place.nack(1, mark(3), 1, Some(50), 0).unwrap();
    assert_eq!(takes(&mut place, 2, 10, 49), [0; 0], "the last waits behind the one before it");
    assert_eq!(takes(&mut place, 2, 10, 50), [3, 4]);
}

#[test]
fn records_put_back_behind_one_that_failed_come_again_after_it_in_order() {
    let mut place = filled(&["a", "a", "a"]);
    assert_eq!(takes(&mut place, 1, 10, 0), [1, 2, 3]);
    place.nack(1, mark(1), 1, Some(50), 0).unwrap();
    place.put_back(1, mark(2), 1).unwrap();
    assert_eq!(takes(&mut place, 1, 10, 49), [0; 0]);
    assert_eq!(takes(&mut place, 1, 10, 50), [1, 2], "who has a later one is given what came back");
    place.put_back(1, mark(3), 1).unwrap();
    assert_eq!(takes(&mut place, 1, 10, 50), [3]);
}

#[test]
fn a_rejected_record_is_a_dead_letter_at_once_with_what_was_said_of_it() {
    let mut place = filled(&["a", "a"]);
    takes(&mut place, 1, 1, 0);
    place.say(mark(1), "no such thing".into());
    place.reject(1, mark(1), 1).unwrap();
    assert_eq!(place.reject(1, mark(1), 1), Err(NotYours::TakenBack));
    let dead = place.take_dead(10);
    assert_eq!((dead.len(), dead[0].failure, dead[0].deliveries), (1, Failure::Rejected, 1));
    assert_eq!(dead[0].reason.as_deref(), Some("no such thing"));
    assert_eq!(takes(&mut place, 1, 10, 0), [2], "it holds up nothing");
    place.buried(mark(1));
    assert_eq!(place.low(), mark(1));
}

#[test]
fn a_record_that_is_put_back_was_never_delivered() {
    let mut place = filled(&["a", "a", ""]);
    assert_eq!(takes(&mut place, 1, 10, 0), [1, 2, 3]);
    for number in 1..=3 {
        place.put_back(1, mark(number), 1).unwrap();
    }
    assert_eq!((place.out(), place.progress(0, UNIX)), (0, Progress::default()));
    let mut out = Vec::new();
    place.deliver(2, &mut Room { records: 10, bytes: u64::MAX, is_empty: true }, 0, &mut out);
    let handed: Vec<_> = out.iter().map(|handed| (handed.record.mark.number, handed.deliveries)).collect();
    assert_eq!(handed, [(1, 1), (2, 1), (3, 1)]);
    assert_eq!(place.put_back(1, mark(1), 1), Err(NotYours::Others));
}
