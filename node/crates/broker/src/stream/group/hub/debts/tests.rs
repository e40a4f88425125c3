//! Debts without a store: what is stored with what, what is published when, and what comes again.

use smallvec::SmallVec;
use weir_model::{Qos, Topic};

use super::*;

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
    debts.add(Vec::new(), numbers.map(|n| (id(n), message("m"))));
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
    let mut debts = Debts::default();
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
    let mut debts = Debts::default();
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
    let mut debts = Debts::default();
    debts.restored(Vec::new(), true);
    owe(&mut debts, 0..UNTOLD_MAX as u64 + 10);
    store(&mut debts, 1);
    let first = debts.publish(0).unwrap();
    assert_eq!(first.len(), UNTOLD_MAX);
    debts.published(first.len());
    assert!(debts.publish(0).is_none() && debts.has_owed());
    store(&mut debts, 1000);
    assert_eq!(debts.publish(0).unwrap().len(), 10);
}

#[test]
fn a_value_is_what_was_set_last_until_the_store_has_to_be_asked() {
    let mut debts = Debts::default();
    let (key, value) = (Bytes::from("k"), Bytes::from("v"));
    assert_eq!(debts.kept(b"k"), Kept::Unknown);
    debts.found(key.clone(), None);
    assert_eq!(debts.kept(b"k"), Kept::Known(None));
    debts.add(vec![(key.clone(), Some(value.clone()))], std::iter::empty());
    // What the store said meanwhile is older.
    debts.found(key.clone(), None);
    assert_eq!(debts.kept(b"k"), Kept::Known(Some(value)));
    debts.add(vec![(key, None)], std::iter::empty());
    assert_eq!(debts.kept(b"k"), Kept::Known(None));
    assert_eq!(debts.values_bytes, 1);
}

#[test]
fn what_is_not_settled_is_bounded() {
    let mut debts = Debts::default();
    debts.restored(Vec::new(), true);
    owe(&mut debts, 0..UNSETTLED_MAX as u64);
    assert!(!debts.has_room());
    store(&mut debts, 1);
    assert!(!debts.has_room());
    let count = debts.publish(0).unwrap().len();
    debts.published(count);
    assert!(debts.has_room());
}
