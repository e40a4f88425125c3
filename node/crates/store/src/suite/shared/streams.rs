//! Promises about streams and tables that several nodes work on: one owner of a group's place, heard by all.

use super::*;
use crate::{Expect, Mark, PartitionKey, PartitionOp, Progress, Retention, Start, Table, TableOp};

fn take(store: &dyn Store, key: &PartitionKey) -> Result<Outcome, Refusal> {
    ask_stream(store, key, PartitionOp::Acquire { group: "g".into(), start: Start::Earliest })
}

fn commit(fence: u64, low: Mark) -> PartitionOp {
    let progress = Progress { low, ..Progress::default() };
    PartitionOp::Commit { group: "g".into(), fence, progress }
}

/// For any claim.
pub fn a_group_s_place_is_one_node_s_until_it_gives_it_back(join: Join) {
    let (a, b) = (joined(join, node("a", 1)), joined(join, node("b", 2)));
    let key = made(&*a, "s", Retention::default());
    let mark = append(&*b, &key, record("a"));
    let (fence, _) = acquire(&*a, &key, Start::Earliest);
    let by = incarnation(&*a, "a").expect("it holds a lease");
    assert_eq!(take(&*b, &key), Ok(Outcome::Held { by }));
    let seek = PartitionOp::Seek { group: "g".into(), start: Start::Latest };
    assert_eq!(ask_stream(&*b, &key, seek.clone()), Ok(Outcome::Held { by }));
    assert_eq!(ask_stream(&*a, &key, seek), Ok(Outcome::Held { by }));
    let owner = info(&*b, &key).unwrap().groups[0].owner;
    assert_eq!(owner, Some(by));
    let low = Progress { low: mark, ..Progress::default() };
    let release = PartitionOp::Release { group: "g".into(), fence, progress: low.clone() };
    ask_stream(&*a, &key, release).unwrap();
    let (next, progress) = acquire(&*b, &key, Start::Earliest);
    assert!(next > fence && progress == low);
    assert!(matches!(take(&*a, &key), Ok(Outcome::Held { .. })));
    assert_eq!(ask_stream(&*a, &key, commit(fence, Mark::default())), Err(Refusal::Fenced));
}

/// For any claim.
pub fn a_group_s_place_is_free_when_its_owner_has_left_and_the_owner_is_fenced_out(join: Join) {
    let (a, b) = (joined(join, node("a", 1)), joined(join, node("b", 2)));
    let key = made(&*a, "s", Retention::default());
    let (fence, _) = acquire(&*a, &key, Start::Earliest);
    wait(a.leave());
    let taken = until("the lease is over for all", || match take(&*b, &key) {
        Ok(Outcome::Acquired { fence, .. }) => Some(fence),
        Ok(Outcome::Held { .. }) => None,
        other => panic!("neither: {other:?}"),
    });
    assert!(taken > fence);
    assert!(ask_stream(&*a, &key, commit(fence, Mark::default())).is_err());
    assert_eq!(ask_stream(&*b, &key, commit(taken, Mark::default())), Ok(Outcome::Done));
}

/// For any claim.
pub fn a_lost_node_s_group_goes_on_where_it_was(join: Join) {
    let (a, b) = (joined(join, node("a", 1)), joined(join, node("b", 2)));
    let key = made(&*a, "s", Retention::default());
    let mark = append(&*a, &key, record("a"));
    let (fence, _) = acquire(&*a, &key, Start::Earliest);
    ask_stream(&*a, &key, commit(fence, mark)).unwrap();
    drop(a);
    let progress = until("the lease is over for all", || match take(&*b, &key) {
        Ok(Outcome::Acquired { progress, .. }) => Some(progress),
        Ok(Outcome::Held { .. }) => None,
        other => panic!("neither: {other:?}"),
    });
    assert_eq!(progress.low, mark);
}

/// For any claim.
pub fn a_lost_node_s_outbox_and_values_are_the_next_owner_s(join: Join) {
    let (a, b) = (joined(join, node("a", 1)), joined(join, node("b", 2)));
    let held = Held::of(&*a, "s", "g");
    held.done(&*a, [held.commit(1), held.keep("a", "1"), held.owe(1), held.owe(2)]);
    held.done(&*a, [held.paid(1)]);
    assert_eq!(held.value(&*b, "a").as_deref(), Some("1"), "anybody may read it");
    wait(a.leave());
    until("the lease is over for all", || match take(&*b, &held.key) {
        Ok(Outcome::Acquired { .. }) => Some(()),
        Ok(Outcome::Held { .. }) => None,
        other => panic!("neither: {other:?}"),
    });
    let next = Held::again(&*b, held.key.clone(), "g");
    assert_eq!((next.owed(&*b, 0, 10), next.counts(&*b)), (vec![(2, 2)], (1, 1)));
    for op in [held.keep("a", "late"), held.owe(9), held.paid(9)] {
        assert!(held.ask(&*a, [op]).is_err(), "the owner before is fenced out");
    }
    next.done(&*b, [next.keep("a", "2"), next.owe(3), next.paid(2)]);
    assert_eq!((next.value(&*b, "a").as_deref(), next.owed(&*b, 0, 10)), (Some("2"), vec![(3, 3)]));
}

/// For any claim.
pub fn what_one_node_appends_the_others_hear_of_and_read(join: Join) {
    let (a, b) = (joined(join, node("a", 1)), join(node("b", 2)));
    let (heard, _) = restore(&*b);
    let key = made(&*a, "s", Retention::default());
    let one = append(&*a, &key, record("a"));
    let two = append(&*b, &key, record("b"));
    let three = append(&*a, &key, record("c"));
    assert_eq!([one, two, three].map(|mark| mark.number), [1, 2, 3]);
    assert!(one < two && two < three);
    for store in [&a, &b] {
        assert_eq!(told_from(&**store, &key, Start::Earliest), ["a", "b", "c"]);
    }
    catch_up(&*b);
    let newest = |tail| heard.tails().last().is_some_and(|last| *last == (key.clone(), tail)).then_some(());
    until("it hears of the newest", || newest(Some(three)));
    ask_stream(&*a, &key, PartitionOp::Drop).unwrap();
    catch_up(&*b);
    until("it hears of the end", || newest(None));
}

/// For any claim.
pub fn what_one_node_puts_in_a_table_the_others_hear_and_late_ones_are_told(join: Join) {
    let (a, b) = (joined(join, node("a", 1)), join(node("b", 2)));
    let (heard, _) = restore(&*b);
    let one = put_row(&*a, "k", "1");
    let two = put_row(&*a, "k", "2");
    put_row(&*a, "gone", "x");
    ask_table(&*a, "gone", TableOp::Delete { expect: Expect::Anything }).unwrap();
    catch_up(&*b);
    let value = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
    let of = |name: &str| heard.table_rows().into_iter().filter(|(key, ..)| key == name).collect::<Vec<_>>();
    assert_eq!(of("k"), [("k".to_owned(), one, value("1")), ("k".to_owned(), two, value("2"))]);
    assert!(matches!(&of("gone")[..], [.., (_, _, None)]));
    let late = join(node("c", 3));
    let (heard, _) = restore(&*late);
    assert_eq!(heard.table_rows(), [("k".to_owned(), two, value("2"))]);
}

/// For any claim.
pub fn of_two_nodes_that_create_a_row_at_once_one_is_first(join: Join) {
    let (a, b) = (joined(join, node("a", 1)), joined(join, node("b", 2)));
    let (sender, answers) = channel();
    for turn in 0..20 {
        for (who, store) in [&a, &b].into_iter().enumerate() {
            let value = Bytes::from(who.to_string());
            let op = TableOp::Put { value, expect: Expect::Absent };
            let step = Step::Table { table: Table::Groups, key: turn.to_string().into(), op };
            let sender = sender.clone();
            store.submit(vec![step], Box::new(move |answer| drop(sender.send((turn, answer)))));
        }
    }
    drop(sender);
    let mut firsts = [0; 20];
    for (turn, answer) in answers {
        match answer[0].as_deref() {
            Ok([Outcome::Put { .. }]) => firsts[turn] += 1,
            Ok([Outcome::Differs { version: Some(_) }]) => {}
            other => panic!("neither first nor second: {other:?}"),
        }
    }
    assert_eq!(firsts, [1; 20]);
}
