//! Promises about guards: a topic's retained message and its guard change together, or not at all.

use super::topics::{on_topic, topic_step};
use super::*;
use crate::{Exchange, GUARD_BYTES_MAX, GuardRow, Table, guard_key, guarded};

/// What was seen at a topic.
#[derive(Debug, Clone, Copy, Default)]
pub struct SeenAt {
    pub value: Option<Position>,
    pub guard: Option<u64>,
}

/// Sets the values one after the other, and the guard unless it is `None`.
pub fn exchange(
    store: &dyn Store,
    topic: &str,
    seen: SeenAt,
    values: &[Option<&str>],
    then: Option<Option<&str>>,
) -> Result<Outcome, Refusal> {
    let values = values.iter().map(|text| text.map(|text| on_topic(topic, text))).collect();
    let then = then.map(|guard| guard.map(|guard| Bytes::copy_from_slice(guard.as_bytes())));
    let exchange = Exchange { seen: seen.value, guard: seen.guard, values, then };
    let op = TopicOp::Exchange(Box::new(exchange));
    ask(store, vec![topic_step(topic, op)]).remove(0).map(|mut outcomes| outcomes.remove(0))
}

fn exchanged(outcome: Result<Outcome, Refusal>) -> (Vec<Position>, u64) {
    match outcome {
        Ok(Outcome::Exchanged { positions, version }) => (positions.into_vec(), version),
        other => panic!("not exchanged: {other:?}"),
    }
}

fn retain_at(store: &dyn Store, topic: &str, text: Option<&str>) -> Result<Outcome, Refusal> {
    let message = text.map(|text| on_topic(topic, text));
    let answer = ask(store, vec![topic_step(topic, TopicOp::Retain { message })]).remove(0);
    answer.map(|mut outcomes| outcomes.remove(0))
}

fn guard_rows(heard: &Heard) -> Vec<GuardRow> {
    let rows = heard.1.lock().expect("no test panics in here");
    rows.iter().filter_map(guarded).collect()
}

pub fn a_value_and_its_guard_change_together_when_both_are_as_they_were_seen(make: Make) {
    let store = make();
    let nothing = SeenAt::default();
    let (at, version) = exchanged(exchange(&*store, "t", nothing, &[Some("1")], Some(Some("g"))));
    let now = SeenAt { value: Some(at[0]), guard: Some(version) };
    let stale = [
        nothing,
        SeenAt { guard: None, ..now },
        SeenAt { value: None, ..now },
        SeenAt { value: Some(at[0].next(at[0].ms)), ..now },
        SeenAt { guard: Some(version + 1), ..now },
    ];
    for seen in stale {
        assert_eq!(exchange(&*store, "t", seen, &[Some("2")], Some(None)), Ok(Outcome::Moved), "{seen:?}");
    }
    let (next, again) = exchanged(exchange(&*store, "t", now, &[Some("2")], Some(Some("h"))));
    assert!(next[0] > at[0] && again > version);
    let now = SeenAt { value: Some(next[0]), guard: Some(again) };
    let (_, gone) = exchanged(exchange(&*store, "t", now, &[None], Some(None)));
    assert!(gone > again);
    exchanged(exchange(&*store, "t", nothing, &[], None));
    assert_eq!(store.account().retained_messages, 0);
}

pub fn asking_whether_nothing_has_changed_changes_nothing(make: Make) {
    let store = make();
    let (at, version) = exchanged(exchange(&*store, "t", SeenAt::default(), &[Some("1")], Some(Some("g"))));
    let (heard, _) = restore(&*store);
    let before = (heard.0.lock().unwrap().len(), guard_rows(&heard).len());
    let now = SeenAt { value: Some(at[0]), guard: Some(version) };
    assert_eq!(exchanged(exchange(&*store, "t", now, &[], None)), (Vec::new(), 0));
    assert_eq!((heard.0.lock().unwrap().len(), guard_rows(&heard).len()), before);
    exchanged(exchange(&*store, "t", now, &[], Some(Some("h"))));
}

pub fn a_guarded_topic_is_not_retained_past_its_guard(make: Make) {
    let store = make();
    let (at, version) = exchanged(exchange(&*store, "t", SeenAt::default(), &[Some("1")], Some(Some("g"))));
    for text in [Some("2"), None] {
        assert_eq!(retain_at(&*store, "t", text), Err(Refusal::Guarded));
    }
    assert!(matches!(retain_at(&*store, "u", Some("2")), Ok(Outcome::Retained(_))), "another topic");
    let now = SeenAt { value: Some(at[0]), guard: Some(version) };
    exchanged(exchange(&*store, "t", now, &[], Some(None)));
    let Ok(Outcome::Retained(position)) = retain_at(&*store, "t", Some("2")) else { panic!("not retained") };
    exchanged(exchange(&*store, "t", SeenAt { value: Some(position), guard: None }, &[None], None));
}

pub fn values_that_follow_each_other_in_one_step_are_all_told_in_order(make: Make) {
    let store = make();
    let (heard, _) = restore(&*store);
    let values = [Some("1"), None, Some("2")];
    let (at, version) = exchanged(exchange(&*store, "t", SeenAt::default(), &values, Some(Some("g\nh"))));
    assert!(at[0] < at[1] && at[1] < at[2]);
    let told: Vec<_> = heard.0.lock().unwrap().iter().map(|(_, at, body)| (*at, body.is_some())).collect();
    assert_eq!(told, [(at[0], true), (at[1], false), (at[2], true)]);
    assert_eq!(store.account().retained_messages, 1);
    let rows = guard_rows(&heard);
    let [row] = rows.as_slice() else { panic!("told {rows:?}") };
    assert_eq!((row.topic.as_str(), &*row.realm, row.version), ("t", "default", version));
    assert_eq!((row.positions.as_slice(), row.guard.as_deref()), (&at[..], Some(&b"g\nh"[..])));
}

pub fn a_restore_tells_guards_with_the_places_of_their_values(make: Make) {
    let store = make();
    let (at, version) = exchanged(exchange(&*store, "t", SeenAt::default(), &[Some("1")], Some(Some("g"))));
    let (gone, other) = exchanged(exchange(&*store, "u", SeenAt::default(), &[Some("1")], Some(Some("g"))));
    let seen = SeenAt { value: Some(gone[0]), guard: Some(other) };
    exchanged(exchange(&*store, "u", seen, &[None], Some(None)));
    let rows = guard_rows(&restore(&*store).0);
    let [row] = rows.as_slice() else { panic!("told {rows:?}") };
    assert_eq!((row.version, row.positions.as_slice()), (version, &at[..]));
    assert_eq!(restore(&*store).0.0.lock().unwrap().len(), 1);
}

pub fn a_guard_has_its_bound_and_its_refusal_leaves_the_value_as_it_was(make: Make) {
    let store = make();
    let large = "x".repeat(GUARD_BYTES_MAX + 1);
    let refused = exchange(&*store, "t", SeenAt::default(), &[Some("1")], Some(Some(&large)));
    assert_eq!(refused, Err(Refusal::TooLarge));
    assert_eq!(store.account().retained_messages, 0);
    let most = &large[1..];
    exchanged(exchange(&*store, "t", SeenAt::default(), &[Some("1")], Some(Some(most))));
}

pub fn of_two_who_saw_the_same_one_is_first(make: Make) {
    let store = make();
    let step = |text: &str| {
        let values = vec![Some(on_topic("t", text))];
        let then = Some(Some(Bytes::from_static(b"g")));
        let exchange = Exchange { seen: None, guard: None, values, then };
        topic_step("t", TopicOp::Exchange(Box::new(exchange)))
    };
    let answer = ask(&*store, vec![step("a"), step("b")]);
    assert!(matches!(answer[0].as_deref(), Ok([Outcome::Exchanged { .. }])), "{answer:?}");
    assert_eq!(answer[1].as_deref(), Ok(&[Outcome::Moved][..]));
}

pub fn guards_are_of_their_realm_and_topic_whatever_these_are_called(make: Make) {
    let store = make();
    let (heard, _) = restore(&*store);
    let names = [("default", "a:b"), ("a:b", "b"), ("%", "%3A"), ("%3A", ":")];
    for (realm, topic) in names {
        let name = Topic::new(topic).expect("a topic");
        let values = vec![Some(on_topic(topic, "1"))];
        let exchange = Exchange {
            seen: None,
            guard: None,
            values,
            then: Some(Some(Bytes::from(guard_key(realm, topic)))),
        };
        let op = TopicOp::Exchange(Box::new(exchange));
        let answer = ask(&*store, vec![Step::Topic { realm: realm.into(), topic: name, op }]);
        assert!(matches!(answer[0].as_deref(), Ok([Outcome::Exchanged { .. }])), "{answer:?}");
    }
    let told = guard_rows(&heard);
    let told: Vec<_> = told.iter().map(|row| (&*row.realm, row.topic.as_str())).collect();
    assert_eq!(told, names);
    assert!(heard.1.lock().unwrap().iter().all(|row| row.table == Table::Guards));
}
