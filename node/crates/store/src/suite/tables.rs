//! Promises about tables and idempotency keys.

use super::topics::topic_step;
use super::*;
use crate::{Expect, TABLE_VALUE_BYTES_MAX, Table, TableOp};

/// One change of one row.
pub fn ask_table(store: &dyn Store, key: &str, op: TableOp) -> Result<Outcome, Refusal> {
    let step = Step::Table { table: Table::Streams, key: key.into(), op };
    ask(store, vec![step]).remove(0).map(|mut outcomes| outcomes.remove(0))
}

fn put(value: &str, expect: Expect) -> TableOp {
    TableOp::Put { value: Bytes::from(value.to_owned()), expect }
}

/// Sets a row whatever is there; its version.
pub fn put_row(store: &dyn Store, key: &str, value: &str) -> u64 {
    match ask_table(store, key, put(value, Expect::Anything)) {
        Ok(Outcome::Put { version }) => version,
        other => panic!("not put: {other:?}"),
    }
}

/// Every row as a mirror hears of it at start.
fn rows_now(store: &dyn Store) -> Vec<(String, u64, Option<Bytes>)> {
    let mut rows: Vec<_> = restore(store).0.table_rows();
    rows.sort();
    rows
}

pub fn a_row_changes_only_when_it_is_as_expected(make: Make) {
    let store = make();
    let change = |op| ask_table(&*store, "k", op);
    assert_eq!(change(put("x", Expect::Version(1))), Ok(Outcome::Differs { version: None }));
    let Ok(Outcome::Put { version }) = change(put("a", Expect::Absent)) else { panic!("it was absent") };
    assert_eq!(change(put("b", Expect::Absent)), Ok(Outcome::Differs { version: Some(version) }));
    let Ok(Outcome::Put { version: next }) = change(put("b", Expect::Version(version))) else {
        panic!("it had that version")
    };
    assert!(next > version);
    let delete = |version| TableOp::Delete { expect: Expect::Version(version) };
    assert_eq!(change(delete(version)), Ok(Outcome::Differs { version: Some(next) }));
    assert_eq!(rows_now(&*store), [("k".to_owned(), next, Some(Bytes::from("b")))]);
    assert!(matches!(change(delete(next)), Ok(Outcome::Put { .. })));
    assert!(rows_now(&*store).is_empty());
    assert!(matches!(change(TableOp::Delete { expect: Expect::Anything }), Ok(Outcome::Put { .. })));
    assert!(put_row(&*store, "k", "c") > next, "a row made again has a higher version");
}

pub fn of_two_creators_at_once_one_is_first(make: Make) {
    let store = make();
    let step = |value| Step::Table { table: Table::Streams, key: "k".into(), op: put(value, Expect::Absent) };
    let answer = ask(&*store, vec![step("a"), step("b")]);
    let Ok([Outcome::Put { version }]) = answer[0].as_deref() else { panic!("{answer:?}") };
    assert_eq!(answer[1].as_deref(), Ok(&[Outcome::Differs { version: Some(*version) }][..]));
    assert_eq!(rows_now(&*store), [("k".to_owned(), *version, Some(Bytes::from("a")))]);
}

const TABLES: [Table; 7] = [
    Table::Streams,
    Table::Groups,
    Table::Members,
    Table::Handlers,
    Table::Bindings,
    Table::Secrets,
    Table::Guards,
];

pub fn rows_of_tables_are_told_apart_by_table_and_key(make: Make) {
    let store = make();
    let long = "x".repeat(64 << 10);
    for key in ["", "a", "a/b", "{a}", "a\nb", &long] {
        for table in TABLES {
            let step = Step::Table { table, key: key.into(), op: put(key, Expect::Absent) };
            let answer = ask(&*store, vec![step]);
            assert!(matches!(answer[0].as_deref(), Ok([Outcome::Put { .. }])), "{answer:?}");
        }
    }
    let rows = restore(&*store).0.table_rows();
    assert_eq!(rows.len(), 6 * TABLES.len());
    assert!(rows.iter().all(|(key, _, value)| value.as_deref() == Some(key.as_bytes())));
}

pub fn a_row_s_value_has_its_bound(make: Make) {
    let store = make();
    let most = "x".repeat(TABLE_VALUE_BYTES_MAX);
    put_row(&*store, "k", &most);
    let more = ask_table(&*store, "k", put(&(most.clone() + "x"), Expect::Anything));
    assert_eq!(more, Err(Refusal::TooLarge));
    assert_eq!(rows_now(&*store)[0].2, Some(Bytes::from(most)));
}

pub fn a_mirror_hears_every_change_of_a_row_in_order_before_the_answer(make: Make) {
    let store = make();
    put_row(&*store, "k", "0");
    let (heard, _) = restore(&*store);
    assert_eq!(heard.table_rows().len(), 1, "what is there is told at the start");
    let one = put_row(&*store, "k", "1");
    assert_eq!(heard.table_rows().last(), Some(&("k".to_owned(), one, Some(Bytes::from("1")))));
    let two = put_row(&*store, "k", "2");
    ask_table(&*store, "k", TableOp::Delete { expect: Expect::Version(two) }).unwrap();
    let told = heard.table_rows();
    let [.., (_, second, _), (_, last, None)] = &told[..] else { panic!("not told: {told:?}") };
    assert!(*second == two && *last > two);
}

/// Takes an idempotency key until far in the future.
pub fn claim(store: &dyn Store, topic: &str, key: &str, count: u64) -> (MessageId, Position, bool) {
    claim_until(store, topic, key, count, u64::from(u32::MAX) * 1000)
}

/// Takes one until then.
pub fn claim_until(
    store: &dyn Store,
    topic: &str,
    key: &str,
    count: u64,
    until: u64,
) -> (MessageId, Position, bool) {
    let op = TopicOp::Claim { key: key.into(), id: id(count), until: UnixMillis(until) };
    match ask(store, vec![topic_step(topic, op)]).remove(0).as_deref() {
        Ok([Outcome::Claimed { id, position, settled }]) => (*id, *position, *settled),
        other => panic!("not claimed: {other:?}"),
    }
}

/// What was published under a key has reached all.
pub fn settle(store: &dyn Store, topic: &str, key: &str, count: u64) {
    let op = TopicOp::Settle { key: key.into(), id: id(count) };
    assert_eq!(ask(store, vec![topic_step(topic, op)])[0].as_deref(), Ok(&[Outcome::Done][..]));
}

pub fn an_idempotency_key_stands_for_the_publish_that_took_it_first(make: Make) {
    let store = make();
    let (first, position, settled) = claim(&*store, "t", "k", 1);
    assert_eq!((first, settled), (id(1), false));
    assert_eq!(claim(&*store, "t", "k", 2), (id(1), position, false));
    settle(&*store, "t", "k", 2);
    settle(&*store, "t", "other", 1);
    assert_eq!(claim(&*store, "t", "k", 3), (id(1), position, false), "only its own publish settles it");
    for _ in 0..2 {
        settle(&*store, "t", "k", 1);
        assert_eq!(claim(&*store, "t", "k", 4), (id(1), position, true));
    }
}

pub fn an_idempotency_key_is_of_its_topic(make: Make) {
    let store = make();
    let first = claim(&*store, "t", "k", 1);
    let other = claim(&*store, "u", "k", 2);
    assert_eq!((other.0, other.2), (id(2), false));
    assert_eq!(claim(&*store, "t", "k2", 3).0, id(3));
    assert_eq!(claim(&*store, "u", "k", 9), other);
    assert_eq!(claim(&*store, "t", "k", 9), first);
}

pub fn an_idempotency_key_is_free_when_its_time_is_over(make: Make) {
    let store = make();
    let (_, position, _) = claim_until(&*store, "t", "k", 1, 1);
    let (second, later, settled) = claim(&*store, "t", "k", 2);
    assert!(second == id(2) && later > position && !settled);
    assert_eq!(claim(&*store, "t", "k", 3).0, id(2));
}

pub fn the_oldest_idempotency_keys_are_forgotten_for_newer_ones(make: Make) {
    let store = make();
    let keys: Vec<String> = (0..10_000).map(|n| format!("k{n}")).collect();
    for (n, key) in keys.iter().enumerate().take(IDEMPOTENCY_KEYS_KEPT) {
        claim(&*store, "t", key, n as u64);
    }
    assert_eq!(claim(&*store, "t", "k0", 9).0, id(0), "so many are kept");
    let forgotten = (IDEMPOTENCY_KEYS_KEPT..keys.len()).find(|n| {
        claim(&*store, "t", &keys[*n], *n as u64);
        store.account().idempotency_keys_dropped > 0
    });
    let newest = forgotten.expect("keys are bounded");
    assert_eq!(claim(&*store, "t", &keys[newest], 9999).0, id(newest as u64));
    assert_eq!(claim(&*store, "t", "k0", 9999).0, id(9999), "the oldest goes first");
}
