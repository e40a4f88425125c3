//! Debts without a store: what is stored with what, what is published when, and what comes again.

use smallvec::SmallVec;
use weir_model::{Qos, Topic};

use super::*;
use crate::stream::definition::PARTITIONS_MAX;

fn message(text: &str) -> Arc<Message> {
    Arc::new(Message {
        topic: Topic::new("t").unwrap(),
        payload: Bytes::copy_from_slice(text.as_bytes()),
        qos: Qos::AtLeastOnce,
        retain: false,
        expires_at: None,
        properties: None,
    })
}

fn id(count: u64) -> MessageId {
    MessageId { source: 1, slot: 1, count }
}

fn owe(debts: &mut Debts, numbers: impl Iterator<Item = u64>) {
    debts.owe(numbers.map(|n| (id(n), message("m"))));
}

/// Stores what there is; entries are numbered from `first` on.
fn store(debts: &mut Debts, first: u64) -> usize {
    let mut ops = SmallVec::new();
    debts.store(&"g".into(), 1, &mut ops);
    let mut entry = first;
    let outcome = |op: &PartitionOp| match op {
        PartitionOp::Owe { .. } => {
            entry += 1;
            Outcome::Owed { entry: entry - 1 }
        }
        _ => Outcome::Done,
    };
    let outcomes: Vec<_> = ops.iter().map(outcome).collect();
    debts.stored(&outcomes);
    ops.len()
}

fn ids(owed: &[Owed]) -> Vec<u64> {
    owed.iter().map(|owed| owed.id.count).collect()
}

#[test]
fn nothing_is_published_before_it_is_stored_nor_before_what_the_owner_before_has_left() {
    let mut debts = Debts::new(1);
    owe(&mut debts, 10..12);
    assert!(debts.publish(0).is_none());
    store(&mut debts, 7);
    assert!(debts.publish(0).is_none(), "what is older is not known yet");
    let older = |entry| Owed { entry, id: id(entry), message: message("older") };
    // The reading may have met newer ones too.
    debts.restored(vec![older(5), older(6), older(7)], false);
    assert!(debts.publish(0).is_none());
    debts.restored(Vec::new(), true);
    assert_eq!(ids(&debts.publish(0).unwrap()), [5, 6, 10, 11]);
    assert!(debts.publish(0).is_none(), "it is being published");
    debts.published(3);
    assert_eq!(ids(&debts.publish(0).unwrap()), [11]);
    debts.published(1);
    assert!(!debts.is_settled() && debts.wants_telling());
    assert_eq!(store(&mut debts, 9), 1, "what is paid is told");
    assert!(debts.is_settled());
}

#[test]
fn a_step_that_was_not_stored_goes_again_before_what_came_since() {
    let mut debts = Debts::new(1);
    debts.restored(Vec::new(), true);
    owe(&mut debts, 0..2);
    let mut ops = SmallVec::new();
    debts.store(&"g".into(), 1, &mut ops);
    assert!(debts.is_storing());
    owe(&mut debts, 2..3);
    debts.not_stored();
    assert_eq!(store(&mut debts, 1), 3);
    assert_eq!(ids(&debts.publish(0).unwrap()), [0, 1, 2]);
}

#[test]
fn only_so_many_are_published_that_the_store_was_not_told_of() {
    let mut debts = Debts::new(1);
    debts.restored(Vec::new(), true);
    owe(&mut debts, 0..266);
    store(&mut debts, 1);
    let first = debts.publish(0).unwrap();
    assert_eq!(first.len(), 256);
    debts.published(first.len());
    assert!(debts.publish(0).is_none() && debts.has_owed());
    store(&mut debts, 1000);
    assert_eq!(debts.publish(0).unwrap().len(), 10);
}

#[test]
fn all_partitions_of_a_stream_together_publish_no_more_untold_than_a_destination_knows_ids() {
    let untold = |partitions| Debts::new(partitions).untold_max;
    assert_eq!([1, 4, 16, 64, 256].map(untold), [256, 256, 64, 16, 4]);
    for partitions in 1..=PARTITIONS_MAX {
        assert!(untold(partitions) * partitions as usize <= UNTOLD_MAX, "{partitions}");
    }
}

#[test]
fn what_its_destination_refuses_too_often_is_given_up_and_the_next_one_goes_on() {
    let mut debts = Debts::new(1);
    debts.restored(Vec::new(), true);
    owe(&mut debts, 0..2);
    store(&mut debts, 1);
    let wait = |refusals| u64::from(refusals) * 100;
    for (now, again_at, tried) in [(0, 100, &[0, 1][..]), (100, 300, &[0])] {
        assert_eq!(ids(&debts.publish(now).unwrap()), tried, "it is tried again alone");
        debts.published(0);
        debts.refused(Refusal::RetainedFull, 3, now, wait);
        assert!(debts.publish(again_at - 1).is_none() && debts.give_up(again_at).is_none());
    }
    assert_eq!(ids(&debts.publish(300).unwrap()), [0]);
    debts.published(0);
    debts.refused(Refusal::RetainedFull, 3, 300, wait);
    assert!(debts.publish(300).is_none());
    let (owed, refusals, why) = debts.give_up(300).unwrap();
    assert_eq!((owed.id, refusals, why), (id(0), 3, Refusal::RetainedFull));
    assert!(debts.give_up(300).is_none(), "it is on its way to the dead letters");
    debts.not_buried(500);
    assert!(debts.give_up(499).is_none() && debts.give_up(500).is_some());
    debts.published(1);
    assert_eq!(ids(&debts.publish(500).unwrap()), [1]);
}

#[test]
fn what_is_refused_is_tried_for_ever_without_a_limit() {
    let mut debts = Debts::new(1);
    debts.restored(Vec::new(), true);
    owe(&mut debts, 0..1);
    store(&mut debts, 1);
    for now in 0..1000 {
        assert!(debts.publish(now).is_some());
        debts.published(0);
        debts.refused(Refusal::TooLarge, 0, now, |_| 1);
    }
    assert!(debts.give_up(2000).is_none() && debts.publish(2000).is_some());
}

#[test]
fn a_value_is_what_was_set_last_until_the_store_has_to_be_asked() {
    let mut debts = Debts::new(1);
    let (key, value) = (Bytes::from("k"), Bytes::from("v"));
    assert_eq!(debts.kept(b"k"), Kept::Unknown);
    debts.found(key.clone(), None);
    assert_eq!(debts.kept(b"k"), Kept::Known(None));
    debts.keep(vec![(key.clone(), Some(value.clone()))]);
    // What the store said meanwhile is older.
    debts.found(key.clone(), None);
    assert_eq!(debts.kept(b"k"), Kept::Known(Some(value)));
    debts.keep(vec![(key, None)]);
    assert_eq!(debts.kept(b"k"), Kept::Known(None));
    assert_eq!(debts.values_bytes, 1);
}

#[test]
fn what_is_not_settled_is_bounded() {
    let mut debts = Debts::new(1);
    debts.restored(Vec::new(), true);
    owe(&mut debts, 0..UNSETTLED_MAX as u64);
    assert!(!debts.has_room());
    store(&mut debts, 1);
    assert!(!debts.has_room());
    let count = debts.publish(0).unwrap().len();
    debts.published(count);
    assert!(debts.has_room());
}
