//! What only the embedded store has to show of what groups keep and owe: it is the same from every layer, and after a start.

use std::collections::BTreeMap;

use bytes::Bytes;
use weir_store::suite::{Held, bytes, wait};
use weir_store::{Config, Outcome, PartitionOp};

use crate::disk::{config, open_at};

/// A log so small that every few group commits a checkpoint begins.
fn small_log() -> Config {
    Config { log_segment_bytes: 2000, ..config(6000) }
}

#[test]
fn entries_go_on_where_they_were_also_when_all_was_paid() {
    for log_bytes_max in [u64::MAX, 1] {
        let (dir, config) = (tempfile::tempdir().unwrap(), config(log_bytes_max));
        let key = Held::of(&*open_at(&config, dir.path()), "s", "g").key;
        for turn in 0..4u64 {
            let store = open_at(&config, dir.path());
            let held = Held::again(&*store, key.clone(), "g");
            assert_eq!(held.owed(&*store, 0, 9), [], "what was paid does not come back");
            let outcomes = held.done(&*store, [held.owe(turn), held.owe(turn + 100)]);
            let entries = [1, 2].map(|n| Outcome::Owed { entry: 2 * turn + n });
            assert_eq!(outcomes, entries);
            drop(store);
            let store = open_at(&config, dir.path());
            assert_eq!(held.owed(&*store, 0, 9), [(2 * turn + 1, turn), (2 * turn + 2, turn + 100)]);
            let held = Held::again(&*store, key.clone(), "g");
            assert_eq!(held.done(&*store, [held.owe(turn)]), entries[..1], "it is owed already");
            held.done(&*store, [held.paid(2 * turn + 2)]);
        }
    }
}

#[test]
fn what_is_kept_and_owed_is_read_whole_across_the_tables_and_what_is_not_in_them_yet() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open_at(&small_log(), dir.path());
    let mut held = Held::of(&*store, "s", "g");
    let (mut kept, mut owed) = (BTreeMap::new(), BTreeMap::new());
    for turn in 0..900u64 {
        let (name, paid) = (format!("{}", turn * turn % 101), turn.saturating_sub(turn * 7 % 13));
        let op = match turn % 5 {
            0 => {
                kept.remove(&bytes(&name));
                held.forget(&name)
            }
            _ => {
                kept.insert(bytes(&name), bytes(&turn.to_string()));
                held.keep(&name, &turn.to_string())
            }
        };
        owed.insert(turn + 1, turn);
        owed.retain(|entry, _| *entry > paid);
        held.done(&*store, [op, held.owe(turn), held.paid(paid)]);
        if turn % 89 == 0 {
            if turn % 2 == 0 {
                drop(store);
                store = open_at(&small_log(), dir.path());
                held = Held::again(&*store, held.key, "g");
            }
            assert_eq!(held.values(&*store).into_iter().collect::<BTreeMap<_, _>>(), kept, "turn {turn}");
            assert_eq!(held.owed(&*store, 0, 1000).into_iter().collect::<BTreeMap<_, _>>(), owed);
            let names: Vec<Bytes> = (0..101).map(|name| bytes(&name.to_string())).collect();
            let found = wait(store.kept(&held.key, "g", &names)).unwrap();
            assert_eq!(found, names.iter().map(|name| kept.get(name).cloned()).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_forgotten_group_leaves_no_rows_behind() {
    for log_bytes_max in [u64::MAX, 1] {
        let (dir, config) = (tempfile::tempdir().unwrap(), config(log_bytes_max));
        let store = open_at(&config, dir.path());
        let held = Held::of(&*store, "s", "g");
        held.done(&*store, [held.keep("a", "1"), held.owe(1), held.owe(2), held.paid(1)]);
        held.done(&*store, [PartitionOp::Forget { group: held.group.clone() }]);
        let held = Held::again(&*store, held.key, "g");
        assert_eq!(held.done(&*store, [held.owe(5), held.keep("b", "2")])[0], Outcome::Owed { entry: 1 });
        drop(store);
        let store = open_at(&config, dir.path());
        assert_eq!(
            (held.values(&*store), held.owed(&*store, 0, 9)),
            (vec![(bytes("b"), bytes("2"))], vec![(1, 5)])
        );
        assert_eq!(held.counts(&*store), (1, 1));
    }
}
