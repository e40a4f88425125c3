//! Promises about what a group commits with its progress: values it keeps, and an outbox, in one step of a partition.

use super::*;
use crate::{GroupPlace, KEPT_KEY_BYTES_MAX, KEPT_VALUE_BYTES_MAX, PartitionOp, Progress, Retention, Start};

/// A group of a partition, held under a fence.
pub struct Held {
    pub key: PartitionKey,
    pub group: Arc<str>,
    pub fence: u64,
}

pub fn bytes(text: &str) -> Bytes {
    Bytes::from(text.to_owned())
}

/// A message that is owed: its text is that of its number.
pub fn owed_id(number: u64) -> MessageId {
    MessageId::received(7, 1, number)
}

impl Held {
    /// Takes the place of a group, in a partition that is made if it is not there.
    pub fn of(store: &dyn Store, name: &str, group: &str) -> Held {
        let key = made(store, name, Retention::default());
        Held::again(store, key, group)
    }

    pub fn again(store: &dyn Store, key: PartitionKey, group: &str) -> Held {
        let group: Arc<str> = group.into();
        let acquire = PartitionOp::Acquire { group: group.clone(), start: Start::Earliest };
        match ask_stream(store, &key, acquire) {
            Ok(Outcome::Acquired { fence, .. }) => Held { key, group, fence },
            other => panic!("not acquired: {other:?}"),
        }
    }

    pub fn commit(&self, number: u64) -> PartitionOp {
        let low = Mark { number, ..Mark::default() };
        let progress = Progress { low, ..Progress::default() };
        PartitionOp::Commit { group: self.group.clone(), fence: self.fence, progress }
    }

    pub fn release(&self) -> PartitionOp {
        let progress = Progress::default();
        PartitionOp::Release { group: self.group.clone(), fence: self.fence, progress }
    }

    pub fn keep(&self, name: &str, value: &str) -> PartitionOp {
        let (key, value) = (bytes(name), Some(bytes(value)));
        PartitionOp::Keep { group: self.group.clone(), fence: self.fence, key, value }
    }

    pub fn forget(&self, name: &str) -> PartitionOp {
        PartitionOp::Keep { group: self.group.clone(), fence: self.fence, key: bytes(name), value: None }
    }

    pub fn owe(&self, number: u64) -> PartitionOp {
        let message = message(&number.to_string(), 20);
        PartitionOp::Owe { group: self.group.clone(), fence: self.fence, id: owed_id(number), message }
    }

    pub fn paid(&self, through: u64) -> PartitionOp {
        PartitionOp::Paid { group: self.group.clone(), fence: self.fence, through }
    }

    /// All in one step.
    pub fn ask(
        &self,
        store: &dyn Store,
        ops: impl IntoIterator<Item = PartitionOp>,
    ) -> Result<Vec<Outcome>, Refusal> {
        ask(store, vec![stream_step(&self.key, ops)]).remove(0).map(|outcomes| outcomes.into_vec())
    }

    pub fn done(&self, store: &dyn Store, ops: impl IntoIterator<Item = PartitionOp>) -> Vec<Outcome> {
        self.ask(store, ops).expect("it is held")
    }

    pub fn value(&self, store: &dyn Store, name: &str) -> Option<String> {
        let found = wait(store.kept(&self.key, &self.group, &[bytes(name)])).expect("values can be read");
        assert_eq!(found.len(), 1);
        found[0].as_ref().map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// All it keeps, read in pages of two.
    pub fn values(&self, store: &dyn Store) -> Vec<(Bytes, Bytes)> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = wait(store.kept_page(&self.key, &self.group, after, 2)).expect("values can be read");
            let is_last = page.len() < 2;
            after = page.last().map(|(name, _)| name.clone());
            all.extend(page);
            if is_last {
                return all;
            }
        }
    }

    /// Entries, and the numbers that their ids and messages were made of.
    pub fn owed(&self, store: &dyn Store, after: u64, limit: usize) -> Vec<(u64, u64)> {
        let found = wait(store.owed(&self.key, &self.group, after, limit)).expect("an outbox can be read");
        let number = |(entry, id, message): (u64, MessageId, Arc<Message>)| {
            let text = String::from_utf8_lossy(&message.payload).trim_end_matches('.').to_owned();
            let number = text.parse().expect("a number");
            assert_eq!(id, owed_id(number));
            (entry, number)
        };
        found.into_iter().map(number).collect()
    }

    pub fn place(&self, store: &dyn Store) -> Option<GroupPlace> {
        let found = info(store, &self.key).expect("a partition");
        found.groups.into_iter().find(|place| place.group == self.group)
    }

    /// How many values it keeps and messages it owes.
    pub fn counts(&self, store: &dyn Store) -> (u64, u64) {
        self.place(store).map_or((0, 0), |place| (place.kept, place.owed))
    }
}

fn owed(entries: impl IntoIterator<Item = u64>) -> Vec<Outcome> {
    entries.into_iter().map(|entry| Outcome::Owed { entry }).collect()
}

pub fn what_a_handler_commits_is_there_at_once(make: Make) {
    let store = make();
    let held = Held::of(&*store, "s", "g");
    let outcomes = held.done(
        &*store,
        [held.commit(3), held.keep("a", "1"), held.keep("b", "2"), held.owe(1), held.owe(2), held.paid(1)],
    );
    let expected = [Outcome::Done, Outcome::Done, Outcome::Done, Outcome::Owed { entry: 1 }];
    assert_eq!(outcomes[..4], expected);
    assert_eq!(outcomes[4..], [Outcome::Owed { entry: 2 }, Outcome::Done]);
    let place = held.place(&*store).expect("a place");
    assert_eq!((place.progress.low.number, place.kept, place.owed), (3, 2, 1));
    let values = [("a", "1"), ("b", "2")].map(|(name, value)| (bytes(name), bytes(value)));
    assert_eq!(held.values(&*store), values);
    assert_eq!(held.owed(&*store, 0, 10), [(2, 2)]);
}

pub fn a_refused_commit_of_a_handler_leaves_nothing_of_it(make: Make) {
    let store = make();
    let old = Held::of(&*store, "s", "g");
    old.done(&*store, [old.commit(1), old.keep("a", "1"), old.owe(1)]);
    let held = Held::again(&*store, old.key.clone(), "g");
    let large = PartitionOp::Keep {
        group: held.group.clone(),
        fence: held.fence,
        key: bytes("large"),
        value: Some(Bytes::from(vec![0; KEPT_VALUE_BYTES_MAX + 1])),
    };
    for (last, refusal) in [
        (old.commit(9), Refusal::Fenced),
        (old.keep("b", "2"), Refusal::Fenced),
        (old.forget("a"), Refusal::Fenced),
        (old.owe(9), Refusal::Fenced),
        (old.paid(9), Refusal::Fenced),
        (large, Refusal::TooLarge),
    ] {
        let ops = [held.commit(2), held.keep("a", "2"), held.forget("a"), held.owe(2), held.paid(1), last];
        assert_eq!(held.ask(&*store, ops), Err(refusal));
    }
    let place = held.place(&*store).expect("a place");
    assert_eq!((place.progress.low.number, place.kept, place.owed), (1, 1, 1));
    assert_eq!(held.value(&*store, "a").as_deref(), Some("1"));
    assert_eq!(held.owed(&*store, 0, 10), [(1, 1)]);
    assert_eq!(held.done(&*store, [held.owe(2)]), owed([2]), "no number was used up");
}

pub fn a_group_whose_place_nobody_holds_keeps_and_owes_nothing(make: Make) {
    let store = make();
    let held = Held::of(&*store, "s", "g");
    let each = |held: &Held| [held.keep("a", "1"), held.forget("a"), held.owe(1), held.paid(1)];
    held.done(&*store, [held.keep("a", "0"), held.release()]);
    for op in each(&held) {
        assert_eq!(held.ask(&*store, [op]), Err(Refusal::Fenced), "it was given back");
    }
    let held = Held::again(&*store, held.key, "g");
    assert_eq!(held.ask(&*store, [held.release(), held.keep("a", "1")]), Err(Refusal::Fenced));
    assert_eq!(held.value(&*store, "a").as_deref(), Some("0"));
    let stranger = Held { group: "never".into(), key: held.key.clone(), fence: held.fence };
    let nowhere = Held { key: partition("never"), group: "g".into(), fence: held.fence };
    for held in [stranger, nowhere] {
        for op in each(&held) {
            assert_eq!(held.ask(&*store, [op]), Err(Refusal::Fenced));
        }
        assert_eq!((held.value(&*store, "a"), held.values(&*store)), (None, vec![]));
        assert_eq!(held.owed(&*store, 0, 10), []);
    }
}

pub fn a_kept_value_is_the_last_one_until_it_is_forgotten(make: Make) {
    let store = make();
    let held = Held::of(&*store, "s", "g");
    held.done(&*store, [held.keep("a", "1"), held.keep("a", "2"), held.forget("none")]);
    assert_eq!((held.value(&*store, "a").as_deref(), held.counts(&*store)), (Some("2"), (1, 0)));
    held.done(&*store, [held.forget("a"), held.keep("b", "")]);
    assert_eq!((held.value(&*store, "a"), held.value(&*store, "b")), (None, Some(String::new())));
    held.done(&*store, [held.keep("a", "3"), held.forget("b"), held.forget("b")]);
    assert_eq!(held.values(&*store), [(bytes("a"), bytes("3"))]);
    let names = ["b", "a", "c", "a"].map(bytes);
    let found = wait(store.kept(&held.key, "g", &names)).expect("values can be read");
    assert_eq!(found, [None, Some(bytes("3")), None, Some(bytes("3"))]);
    assert_eq!(wait(store.kept(&held.key, "g", &[])), Ok(vec![]));
}

pub fn kept_values_are_walked_in_the_order_of_their_keys(make: Make) {
    let store = make();
    let held = Held::of(&*store, "s", "g");
    let names: [&[u8]; 7] = [b"", b"\0", b"\0\xff", b"a", b"a\n", b"ab", b"\xff\xff"];
    for name in names.into_iter().rev() {
        let (key, value) = (Bytes::from_static(name), Some(Bytes::from_static(b"\0\xff\n")));
        held.done(&*store, [PartitionOp::Keep { group: held.group.clone(), fence: held.fence, key, value }]);
    }
    let found: Vec<Bytes> = held.values(&*store).into_iter().map(|(name, _)| name).collect();
    assert_eq!(found, names);
    let page = |after: &'static [u8], limit| {
        let page = wait(store.kept_page(&held.key, "g", Some(Bytes::from_static(after)), limit));
        page.expect("values can be read").len()
    };
    assert_eq!([page(b"a", 100), page(b"aa", 100), page(b"a", 1), page(b"\xff\xff", 9)], [3, 2, 1, 0]);
}

pub fn what_is_owed_comes_in_order_under_dense_numbers_whatever_was_paid(make: Make) {
    let store = make();
    let held = Held::of(&*store, "s", "g");
    assert_eq!(held.done(&*store, [11, 12, 13].map(|n| held.owe(n))), owed([1, 2, 3]));
    assert_eq!(held.done(&*store, [held.owe(14)]), owed([4]));
    assert_eq!(held.owed(&*store, 0, 10), [(1, 11), (2, 12), (3, 13), (4, 14)]);
    assert_eq!(held.owed(&*store, 1, 2), [(2, 12), (3, 13)]);
    assert_eq!(held.owed(&*store, 4, 2), []);
    held.done(&*store, [held.paid(2)]);
    assert_eq!((held.owed(&*store, 0, 10), held.counts(&*store)), (vec![(3, 13), (4, 14)], (0, 2)));
    held.done(&*store, [held.paid(1), held.paid(2), held.paid(0)]);
    assert_eq!(held.owed(&*store, 0, 1), [(3, 13)], "what is gone already is no error");
    held.done(&*store, [held.paid(u64::MAX)]);
    assert_eq!((held.owed(&*store, 0, 10), held.counts(&*store)), (vec![], (0, 0)));
    assert_eq!(held.owed(&*store, u64::MAX, 10), []);
    assert_eq!(held.done(&*store, [held.owe(15), held.paid(5), held.owe(16)])[2], Outcome::Owed { entry: 6 });
    assert_eq!(held.owed(&*store, 0, 10), [(6, 16)]);
}

pub fn what_is_owed_already_is_not_owed_twice(make: Make) {
    let store = make();
    let held = Held::of(&*store, "s", "g");
    let batch = || [held.commit(2), held.keep("a", "1"), held.owe(1), held.owe(2), held.owe(1)];
    let first = held.done(&*store, batch());
    assert_eq!(first[2..], owed([1, 2, 1]));
    assert_eq!(held.done(&*store, batch()), first, "a repeat is answered like the first time");
    assert_eq!(held.owed(&*store, 0, 10), [(1, 1), (2, 2)]);
    held.done(&*store, [held.paid(1)]);
    assert_eq!(held.done(&*store, [held.owe(2), held.owe(3)]), owed([2, 3]));
    assert_eq!(held.done(&*store, [held.owe(1)]), owed([4]), "it was published and forgotten");
    assert_eq!(held.owed(&*store, 0, 10), [(2, 2), (3, 3), (4, 1)]);
}

pub fn what_is_owed_keeps_all_of_its_message(make: Make) {
    let store = make();
    let held = Held::of(&*store, "s", "g");
    let properties = weir_model::Properties {
        content_type: Some("text/x".into()),
        correlation_data: Some(Bytes::from_static(&[0, 255, 1])),
        user: vec![("a".into(), "1".into()), ("a".into(), "2\n".into())],
        ..Default::default()
    };
    let full = Arc::new(Message {
        topic: Topic::new("a/{b} c").expect("a topic"),
        payload: Bytes::from_static(&[0, 159, 146, 150]),
        qos: Qos::ExactlyOnce,
        retain: true,
        expires_at: Some(UnixMillis(99)),
        properties: Some(Box::new(properties)),
    });
    let (group, id) = (held.group.clone(), MessageId { source: u64::MAX, slot: u32::MAX, count: u64::MAX });
    let owe = PartitionOp::Owe { group, fence: held.fence, id, message: full.clone() };
    held.done(&*store, [owe]);
    assert_eq!(wait(store.owed(&held.key, "g", 0, 1)), Ok(vec![(1, id, full)]));
}

pub fn a_group_s_next_owner_finds_what_it_keeps_and_owes(make: Make) {
    let store = make();
    let held = Held::of(&*store, "s", "g");
    held.done(&*store, [held.keep("a", "1"), held.owe(1), held.owe(2), held.paid(1), held.release()]);
    let seek = PartitionOp::Seek { group: held.group.clone(), start: Start::Latest };
    assert_eq!(ask_stream(&*store, &held.key, seek), Ok(Outcome::Done));
    assert_eq!(held.counts(&*store), (1, 1), "moving it takes nothing");
    let next = Held::again(&*store, held.key, "g");
    assert_eq!(next.value(&*store, "a").as_deref(), Some("1"));
    assert_eq!(next.owed(&*store, 0, 10), [(2, 2)]);
    assert_eq!(next.done(&*store, [next.keep("a", "2"), next.owe(3), next.paid(2)])[1..2], owed([3]));
    assert_eq!((next.owed(&*store, 0, 10), next.counts(&*store)), (vec![(3, 3)], (1, 1)));
}

pub fn a_forgotten_group_and_a_dropped_partition_take_what_they_keep_and_owe_along(make: Make) {
    let store = make();
    let held = Held::of(&*store, "s", "g");
    let ops = || [held.keep("a", "1"), held.keep("b", "1"), held.owe(1), held.owe(2), held.paid(1)];
    held.done(&*store, ops());
    let other = Held::again(&*store, held.key.clone(), "other");
    other.done(&*store, [other.keep("a", "x"), other.owe(9)]);
    assert_eq!(
        ask_stream(&*store, &held.key, PartitionOp::Forget { group: held.group.clone() }),
        Ok(Outcome::Done)
    );
    let is_empty = |held: &Held| {
        assert_eq!((held.value(&*store, "a"), held.values(&*store)), (None, vec![]));
        assert_eq!(held.owed(&*store, 0, 10), []);
    };
    is_empty(&held);
    assert_eq!(other.counts(&*store), (1, 1), "another group's are its own");
    let anew = Held::again(&*store, held.key.clone(), "g");
    is_empty(&anew);
    assert_eq!(anew.done(&*store, [anew.owe(2)]), owed([1]), "it begins anew");
    anew.done(&*store, [anew.keep("a", "2")]);
    assert_eq!(ask_stream(&*store, &held.key, PartitionOp::Drop), Ok(Outcome::Done));
    for held in [&anew, &other] {
        is_empty(held);
        assert_eq!(held.ask(&*store, [held.owe(1)]), Err(Refusal::Fenced));
    }
    let anew = Held::of(&*store, "s", "g");
    is_empty(&anew);
    assert_eq!(anew.counts(&*store), (0, 0));
}

pub fn two_groups_of_a_partition_keep_and_owe_apart(make: Make) {
    let store = make();
    let one = Held::of(&*store, "s", "g");
    // Names that would be the same if they were strung together.
    let others = [("s", "g:a"), ("s", ""), ("s", "\u{e9}{}"), ("t", "g")]
        .map(|(stream, group)| Held::of(&*store, stream, group));
    one.done(&*store, [one.keep("a", "1"), one.owe(1)]);
    for (turn, other) in others.iter().enumerate() {
        assert_eq!((other.value(&*store, "a"), other.owed(&*store, 0, 10)), (None, vec![]));
        let value = format!("other {turn}");
        assert_eq!(other.done(&*store, [other.keep("a", &value), other.owe(1)])[1..], owed([1]));
        assert_eq!(other.value(&*store, "a"), Some(value));
    }
    others[0].done(&*store, [others[0].paid(1), others[0].forget("a")]);
    assert_eq!((one.value(&*store, "a").as_deref(), one.owed(&*store, 0, 10)), (Some("1"), vec![(1, 1)]));
    assert_eq!(others.each_ref().map(|other| other.counts(&*store)), [(0, 0), (1, 1), (1, 1), (1, 1)]);
    let mixed = [one.keep("b", "1"), others[1].keep("b", "2"), others[1].owe(2), one.owe(2)];
    assert_eq!(one.done(&*store, mixed)[2..], owed([2, 2]), "a step may be for several");
    assert_eq!((one.counts(&*store), others[1].counts(&*store)), ((2, 2), (2, 2)));
}

pub fn what_a_group_keeps_has_its_bounds(make: Make) {
    let store = make();
    let held = Held::of(&*store, "s", "g");
    let sized = |name: usize, value: usize| PartitionOp::Keep {
        group: held.group.clone(),
        fence: held.fence,
        key: Bytes::from(vec![b'k'; name]),
        value: Some(Bytes::from(vec![b'v'; value])),
    };
    held.done(&*store, [sized(KEPT_KEY_BYTES_MAX, KEPT_VALUE_BYTES_MAX)]);
    let largest = "k".repeat(KEPT_KEY_BYTES_MAX);
    assert_eq!(held.value(&*store, &largest).map(|value| value.len()), Some(KEPT_VALUE_BYTES_MAX));
    for op in [sized(KEPT_KEY_BYTES_MAX + 1, 1), sized(1, KEPT_VALUE_BYTES_MAX + 1)] {
        assert_eq!(held.ask(&*store, [op]), Err(Refusal::TooLarge));
    }
    assert_eq!(held.counts(&*store), (1, 0));
    held.done(&*store, [held.forget(&largest)]);
    assert_eq!(held.counts(&*store), (0, 0));
}

pub fn a_handler_s_step_may_have_hundreds_of_ops(make: Make) {
    const OPS: u64 = 1250;
    let store = make();
    let held = Held::of(&*store, "s", "g");
    let ops = |first: u64| {
        let each = (first..first + OPS).flat_map(|n| [held.keep(&format!("{n:05}"), "v"), held.owe(n)]);
        [held.commit(first)].into_iter().chain(each).chain([held.paid(first - 1)]).collect::<Vec<_>>()
    };
    let outcomes = held.done(&*store, ops(1));
    assert_eq!(outcomes.len(), 2 * OPS as usize + 2);
    assert_eq!(outcomes[OPS as usize * 2], Outcome::Owed { entry: OPS });
    held.done(&*store, ops(1));
    held.done(&*store, ops(OPS + 1));
    assert_eq!(held.counts(&*store), (2 * OPS, OPS));
    let found = held.owed(&*store, 0, 2 * OPS as usize);
    assert_eq!(found, (OPS + 1..=2 * OPS).map(|n| (n, n)).collect::<Vec<_>>());
    let page = wait(store.kept_page(&held.key, "g", Some(bytes("00010")), 1500)).expect("values can be read");
    let names: Vec<Bytes> = page.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, (11..=1510).map(|n| bytes(&format!("{n:05}"))).collect::<Vec<_>>());
    ask_stream(&*store, &held.key, PartitionOp::Drop).unwrap();
    assert_eq!(held.values(&*store), []);
}
