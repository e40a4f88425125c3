//! Promises about copies: everything under its own number, nothing taken for whole that is not.

use std::collections::BTreeMap;

use super::topics::{delay, on_topic, retain, topic_step};
use super::*;
use crate::copy::{CopyError, CopyRow, CopySource, CopyTarget, Digest, Marks, Sink, Windows, run};
use crate::{OpenError, OutboxEntry, SessionKind};

mod streams;

pub use streams::*;

/// A place for a store: worked on by a node, or one end of a copy.
pub trait CopyPlace {
    /// Opened as a node does.
    fn store(&self) -> Result<Arc<dyn Store>, OpenError>;
    fn source(&self) -> Result<Box<dyn CopySource>, CopyError>;
    fn target(&self) -> Result<Box<dyn CopyTarget>, CopyError>;
}

/// From one place to another, both empty.
pub type Pair<'a> = (&'a dyn CopyPlace, &'a dyn CopyPlace);

/// Runs every promise about copies as a test with two empty places of any kind.
#[macro_export]
macro_rules! each_copy_promise {
    ($run:ident) => {
        $run! {
            a_copy_has_every_row_under_its_own_number,
            what_a_copy_gives_out_is_above_all_that_was_copied,
            what_was_known_is_still_known_in_a_copy,
            timers_of_a_copy_run_out_when_they_would_have,
            a_copy_of_a_copy_is_the_same,
            an_empty_store_makes_an_empty_copy,
            a_place_that_holds_something_is_not_copied_to,
            a_store_that_a_node_has_is_neither_read_nor_written,
            a_copy_that_was_not_finished_is_used_by_nobody_and_starts_over,
            a_source_that_changes_meanwhile_makes_no_copy,
            streams_of_a_copy_are_as_they_were,
            streams_of_a_copy_go_on_behind_what_was_copied,
            what_groups_keep_and_owe_is_in_a_copy,
            rows_of_tables_and_idempotency_keys_go_on_in_a_copy,
            a_long_stream_is_copied_a_page_at_a_time,
            every_epoch_of_a_stream_is_in_a_copy,
            records_of_a_clock_that_was_ahead_are_followed_by_later_ones,
            what_a_store_only_remembers_does_not_stand_in_the_way,
        }
    };
}

fn opened(place: &dyn CopyPlace) -> Arc<dyn Store> {
    place.store().unwrap_or_else(|error| panic!("not opened: {error}"))
}

fn closed(store: Arc<dyn Store>) {
    wait(store.leave());
    wait(store.close());
}

fn copied(from: &dyn CopyPlace, to: &dyn CopyPlace) -> Digest {
    let mut source = from.source().unwrap_or_else(|error| panic!("not read: {error}"));
    let mut target = to.target().unwrap_or_else(|error| panic!("not written: {error}"));
    run(&mut *source, &mut *target, &mut |_| ()).unwrap_or_else(|error| panic!("not copied: {error}"))
}

fn failure<T>(result: Result<T, CopyError>) -> CopyError {
    match result {
        Ok(_) => panic!("this must not succeed"),
        Err(error) => error,
    }
}

/// What a store answered while it was filled.
struct Filled {
    /// Of the session `kept`, and of `lost`, whose connection was never closed.
    kept: Fence,
    lost: Fence,
    received: MessageId,
    retained: BTreeMap<String, Position>,
    owed: OutboxEntry,
}

/// Something of every kind, in every state.
fn fill(store: &dyn Store) -> Filled {
    restore(store);
    let kept = fill_kept(store);
    let asked = Open { will: Some(will("lost", 0)), ..resuming() };
    let lost = open(store, &client("lost"), asked).fence;
    number(ask_one(store, &client("lost"), enqueue(lost.generation, message("waits", 30))));
    let received = match ask_one(store, &client("lost"), SessionOp::Receive { fence: lost, packet_id: 7 }) {
        Ok(Outcome::Received { first: true, id }) => id,
        other => panic!("not received: {other:?}"),
    };
    for text in ["g1", "g2", "g3"] {
        number(ask_one(store, &group("$share/g/a/+"), enqueue(0, message(text, 20))));
    }
    ask_one(store, &group("$share/g/a/+"), SessionOp::GroupAck { number: 1 }).unwrap();
    let shared = message("for all", 50);
    let copies = ["m1", "m2", "m3", "m4", "m5"].map(|name| {
        let generation = open(store, &client(name), resuming()).fence.generation;
        step(&client(name), [enqueue(generation, shared.clone())])
    });
    assert!(ask(store, copies.into()).iter().all(Result::is_ok));
    let topics = ["r/1", "r/2", "r/3", "ü/\"\n"];
    let retained = topics.map(|topic| (topic.to_owned(), retain(store, topic, Some(topic)))).into();
    delay(store, 4_000_000_000_000, Some(id(1)), "later").unwrap();
    delay(store, 50, None, "soon").unwrap();
    streams::fill_streams(store);
    Filled { kept, lost, received, retained, owed: fill_owed(store) }
}

/// A session that was left with a queue of all states, a pending will, and ids it knows.
fn fill_kept(store: &dyn Store) -> Fence {
    let key = client("kept");
    let will = Will { expiry_seconds: Some(60), ..will("kept", 30) };
    let fence =
        open(store, &key, Open { owner: Some(owner(Some("u"))), will: Some(will), ..resuming() }).fence;
    let options =
        SubscriptionOptions { qos: Qos::ExactlyOnce, subscription_id: Some(9), ..Default::default() };
    for text in ["a/+", "$share/g/a/+"] {
        ask_one(store, &key, SessionOp::Subscribe { fence, filter: filter(text), options }).unwrap();
    }
    for text in ["1", "2", "3", "4"] {
        number(ask_one(store, &key, enqueue(fence.generation, message(text, 40))));
    }
    let properties = weir_model::Properties { user: vec![("k".into(), "v".into())], ..Default::default() };
    let last = Message { properties: Some(Box::new(properties)), ..(*message("5", 40)).clone() };
    let expires_at = Some(UnixMillis(9_000_000_000_000));
    let delivery = Delivery {
        qos: Qos::ExactlyOnce,
        retain: true,
        subscription_ids: SmallVec::from_slice(&[9, 8]),
        group: Some(filter("$share/g/a/+")),
        ..delivery(Arc::new(Message { qos: Qos::ExactlyOnce, retain: true, expires_at, ..last }))
    };
    let copy = Enqueue { generation: fence.generation, id: Some(id(5)), delivery };
    number(ask_one(store, &key, SessionOp::Enqueue(copy)));
    ask_one(store, &key, SessionOp::Ack { fence, number: 2 }).unwrap();
    ask_one(store, &key, SessionOp::Pubrec { fence, number: 3 }).unwrap();
    let detach = detach(1_000, 4, Some(5_000_000_000_000), Some(60));
    ask_one(store, &key, SessionOp::Detach { fence, detach }).unwrap();
    fence
}

/// A session that is gone and has left a will to be published.
fn fill_owed(store: &dyn Store) -> OutboxEntry {
    let key = client("gone");
    let asked = Open { owner: Some(owner(Some("v"))), will: Some(will("gone", 0)), ..resuming() };
    let generation = open(store, &key, asked).fence.generation;
    let Ok(Outcome::Fired(Some(entry))) =
        ask_one(store, &key, SessionOp::FireWill { generation, fence: None })
    else {
        panic!("a will")
    };
    ask_one(store, &key, SessionOp::End { generation, fence: None }).unwrap();
    entry
}

/// What a mirror hears of a topic.
type Told = (String, Position, Option<Bytes>);

/// Sessions as a node finds them, whoever had them.
fn found(store: &dyn Store) -> (Vec<Told>, Vec<Restored>) {
    let (heard, sessions) = restore(store);
    let mut retained = heard.0.lock().expect("no test panics in here").clone();
    retained.sort();
    (retained, sessions.into_iter().map(|session| Restored { home: None, ..session }).collect())
}

pub fn a_copy_has_every_row_under_its_own_number((from, to): Pair) {
    let store = opened(from);
    let filled = fill(&*store);
    let keys = ["kept", "lost", "m1", "m5"].map(client).into_iter().chain([group("$share/g/a/+")]);
    let before: Vec<_> = keys.clone().map(|key| rows(&*store, &key)).collect();
    assert_eq!(texts(&*store, &client("kept")).iter().map(|(n, _)| *n).collect::<Vec<_>>(), [1, 3, 4, 5]);
    closed(store);
    let digest = copied(from, to);
    assert!(digest.rows() > 50, "{digest:?}");

    let copy = opened(to);
    let (retained, sessions) = found(&*copy);
    let positions = retained.into_iter().map(|(topic, position, _)| (topic, position)).collect();
    assert_eq!(filled.retained, positions);
    let after: Vec<_> = keys.map(|key| rows(&*copy, &key)).collect();
    assert_eq!(before, after);
    let of = |name: &str| sessions.iter().find(|session| &*session.key.name == name).expect("it is there");
    let kept = of("kept");
    assert_eq!((kept.fence, kept.owner.clone()), (filled.kept, Some(owner(Some("u")))));
    assert_eq!(
        (kept.detached_at, kept.has_will, kept.will_delay_seconds),
        (Some(UnixMillis(1_000)), true, 30)
    );
    assert_eq!((kept.queue.head, kept.queue.tail, kept.queue.sent, kept.queue.messages), (1, 5, 4, 4));
    assert_eq!(kept.subscriptions.len(), 2);
    let lost = of("lost");
    assert_eq!((lost.fence, lost.detached_at), (filled.lost, None));
    let gone = of("gone");
    assert_eq!((gone.fence.generation, gone.outbox.as_slice()), (0, std::slice::from_ref(&filled.owed)));
    let kinds = sessions.iter().filter(|session| session.key.kind == SessionKind::Group).count();
    assert_eq!((sessions.len(), kinds), (9, 1));
    let account = copy.account();
    assert!(account.is_balanced(), "{account:?}");
    assert_eq!((account.queued_messages, account.delayed_messages, account.retained_messages), (12, 2, 4));
    closed(copy);
}

pub fn what_a_copy_gives_out_is_above_all_that_was_copied((from, to): Pair) {
    let store = opened(from);
    let filled = fill(&*store);
    let newest = filled.retained.values().max().copied();
    let last = open(&*store, &client("last"), resuming()).fence;
    closed(store);
    copied(from, to);

    let copy = opened(to);
    restore(&*copy);
    let next = open(&*copy, &client("next"), resuming()).fence;
    assert!(next.generation > last.generation.max(last.fence) && next.fence > last.fence, "{next:?}");
    let resumed = open(&*copy, &client("kept"), Open { owner: Some(owner(Some("u"))), ..resuming() });
    assert!(resumed.present && resumed.fence.generation == filled.kept.generation);
    assert!(resumed.fence.fence > last.fence);
    for topic in ["r/1", "r/2", "new"] {
        assert!(Some(retain(&*copy, topic, Some("new"))) > newest);
    }
    let generation = filled.lost.generation;
    assert_eq!(number(ask_one(&*copy, &client("lost"), enqueue(generation, message("n", 10)))), 2);
    assert_eq!(number(ask_one(&*copy, &group("$share/g/a/+"), enqueue(0, message("n", 10)))), 4);
    let old = SessionOp::Receive { fence: filled.kept, packet_id: 1 };
    assert_eq!(ask_one(&*copy, &client("kept"), old), Err(Refusal::Fenced), "it was taken over");
    closed(copy);
}

pub fn what_was_known_is_still_known_in_a_copy((from, to): Pair) {
    let store = opened(from);
    let filled = fill(&*store);
    closed(store);
    copied(from, to);

    let copy = opened(to);
    restore(&*copy);
    let resumed = open(&*copy, &client("lost"), resuming());
    assert_eq!(resumed.received, [7]);
    let again = SessionOp::Receive { fence: resumed.fence, packet_id: 7 };
    let received = Ok(Outcome::Received { first: false, id: filled.received });
    assert_eq!(ask_one(&*copy, &client("lost"), again), received);
    ask_one(&*copy, &client("lost"), SessionOp::Release { fence: resumed.fence, packet_id: 7 }).unwrap();
    let anew = SessionOp::Receive { fence: resumed.fence, packet_id: 7 };
    match ask_one(&*copy, &client("lost"), anew) {
        Ok(Outcome::Received { first: true, id }) => assert!(id.count > filled.received.count, "{id:?}"),
        other => panic!("not received: {other:?}"),
    }
    let known = enqueue_with(filled.kept.generation, id(5), message("again", 10));
    assert_eq!(ask_one(&*copy, &client("kept"), known), Ok(Outcome::Duplicate));
    assert_eq!(delay(&*copy, 70, Some(id(1)), "again"), Ok(Outcome::Duplicate));
    let fire = SessionOp::FireWill { generation: filled.kept.generation, fence: None };
    match ask_one(&*copy, &client("kept"), fire) {
        Ok(Outcome::Fired(Some(entry))) => {
            assert_eq!(entry.owner, Some(owner(Some("u"))));
            assert!(entry.message.expires_at.is_some() && entry.entry > filled.owed.entry);
            assert!(entry.id.source > filled.owed.id.source, "another epoch");
        }
        other => panic!("not fired: {other:?}"),
    }
    closed(copy);
}

pub fn timers_of_a_copy_run_out_when_they_would_have((from, to): Pair) {
    let store = opened(from);
    let filled = fill(&*store);
    let timers = |store: &dyn Store, now| {
        let due = due(store, now).into_iter().filter(|due| !matches!(due, Due::Orphan(_)));
        let mut due: Vec<Due> = due.collect();
        due.sort_by_key(|due| format!("{due:?}"));
        due
    };
    let times = [49, 50, 60, 4_000_000_000_000, 5_000_000_000_000];
    let before = times.map(|now| timers(&*store, now));
    assert_eq!(before.each_ref().map(Vec::len), [0, 1, 2, 3, 4]);
    closed(store);
    copied(from, to);

    let copy = opened(to);
    restore(&*copy);
    assert_eq!(before, times.map(|now| timers(&*copy, now)));
    for due in &before[3] {
        if let Due::Delayed { entry, .. } = due {
            let op = TopicOp::Delayed { entry: entry.entry };
            ask(&*copy, vec![topic_step(&entry.message.topic, op)]).remove(0).unwrap();
        }
    }
    assert_eq!(timers(&*copy, 4_000_000_000_000).len(), 1, "the delayed ones are done with");
    if copy.is_shared() {
        let all = wait(copy.due(UnixMillis(1), 100)).expect("what is due can be read");
        let orphans =
            all.iter().filter(|due| matches!(due, Due::Orphan(found) if found.fence == filled.lost));
        assert_eq!(orphans.count(), 1, "the session whose connection was lost: {all:?}");
        assert!(all.iter().any(|due| matches!(due, Due::Owed { entry, .. } if *entry == filled.owed)));
    }
    closed(copy);
}

pub fn a_copy_of_a_copy_is_the_same((from, to): Pair) {
    let store = opened(from);
    fill(&*store);
    closed(store);
    let (mut there, mut back) = (Kept::default(), Kept::default());
    run(&mut *from.source().unwrap(), &mut there, &mut |_| ()).unwrap();
    copied(from, to);
    run(&mut *to.source().unwrap(), &mut back, &mut |_| ()).unwrap();
    assert_eq!(there.digest(), back.digest());
    assert!(back.marks.number >= there.marks.number && back.marks.epoch > there.marks.epoch);
}

pub fn an_empty_store_makes_an_empty_copy((from, to): Pair) {
    assert!(matches!(failure(from.source()), CopyError::Missing { .. }), "nothing is there yet");
    let store = opened(from);
    restore(&*store);
    let fence = open(&*store, &client("a"), resuming()).fence;
    ask_one(&*store, &client("a"), SessionOp::End { generation: fence.generation, fence: None }).unwrap();
    closed(store);
    // One that nodes had, and holds nothing any more.
    let other = opened(to);
    restore(&*other);
    closed(other);
    assert!(copied(from, to).is_empty());
    let copy = opened(to);
    restore(&*copy);
    assert!(open(&*copy, &client("a"), resuming()).fence.generation > fence.fence);
    closed(copy);
}

pub fn a_place_that_holds_something_is_not_copied_to((from, to): Pair) {
    for place in [from, to] {
        let store = opened(place);
        restore(&*store);
        retain(&*store, "a", Some("x"));
        closed(store);
    }
    let refused = failure(to.target());
    assert!(matches!(refused, CopyError::NotEmpty { .. }), "{refused}");
    assert!(refused.to_string().contains("1 retained"), "{refused}");
    let store = opened(to);
    assert_eq!(found(&*store).0[0].2, Some(on_topic("a", "x").payload.clone()), "it is as it was");
    closed(store);
}

pub fn a_store_that_a_node_has_is_neither_read_nor_written((from, to): Pair) {
    for place in [from, to] {
        let store = opened(place);
        restore(&*store);
        for refused in [failure(place.source()), failure(place.target())] {
            let says_so =
                matches!(&refused, CopyError::InUse { .. } | CopyError::Open(OpenError::Locked { .. }));
            assert!(says_so && refused.to_string().contains("in use by"), "{refused}");
        }
        closed(store);
    }
}

pub fn a_copy_that_was_not_finished_is_used_by_nobody_and_starts_over((from, to): Pair) {
    let store = opened(from);
    fill(&*store);
    closed(store);
    let mut source = from.source().unwrap();
    let mut half = Half { source: &mut *source };
    let stopped = failure(run(&mut half, &mut *to.target().unwrap(), &mut |_| ()));
    assert!(stopped.to_string().contains("half"), "{stopped}");
    let refused = to.store().err().expect("no node starts on it").to_string();
    assert!(refused.contains("not finished"), "{refused}");
    assert!(to.source().is_err(), "and nobody copies it");

    let mut begun = Vec::new();
    let mut note = |progress| {
        if let crate::copy::Progress::Begun { again } = progress {
            begun.push(again);
        }
    };
    let again = run(&mut *source, &mut *to.target().unwrap(), &mut note).unwrap();
    assert_eq!(begun, [true]);
    let mut back = Kept::default();
    run(&mut *to.source().unwrap(), &mut back, &mut |_| ()).unwrap();
    assert_eq!(again, back.digest());
}

pub fn a_source_that_changes_meanwhile_makes_no_copy((from, to): Pair) {
    let store = opened(from);
    fill(&*store);
    closed(store);
    let mut source = from.source().unwrap();
    let mut changed = Changed { source: &mut *source };
    let mut target = to.target().unwrap();
    let refused = failure(run(&mut changed, &mut *target, &mut |_| ()));
    assert!(matches!(refused, CopyError::Changed { .. }), "{refused}");
    drop(target);
    assert!(to.store().is_err(), "no node starts on it");
}

/// A target that only remembers.
#[derive(Default)]
struct Kept {
    rows: Vec<CopyRow>,
    marks: Marks,
}

impl Kept {
    fn digest(&self) -> Digest {
        let mut digest = Digest::default();
        self.rows.iter().for_each(|row| digest.add(row));
        digest
    }
}

impl CopyTarget for Kept {
    fn windows(&self) -> Windows {
        Windows { ids_max: 4, delay_ids_max: 16_384 }
    }

    fn begin(&mut self, _: Marks) -> Result<bool, CopyError> {
        Ok(false)
    }

    fn write(&mut self, rows: Vec<CopyRow>) -> Result<(), CopyError> {
        self.rows.extend(rows);
        Ok(())
    }

    fn read_back(&mut self, sink: Sink<'_>) -> Result<(), CopyError> {
        sink(self.rows.clone())
    }

    fn finish(&mut self, source: Marks) -> Result<(), CopyError> {
        self.marks = source;
        Ok(())
    }
}

/// A source that ends in the middle.
struct Half<'a> {
    source: &'a mut dyn CopySource,
}

impl CopySource for Half<'_> {
    fn marks(&mut self) -> Result<Marks, CopyError> {
        self.source.marks()
    }

    fn read(&mut self, sink: Sink<'_>) -> Result<(), CopyError> {
        let mut all = Vec::new();
        self.source.read(&mut |rows| {
            all.extend(rows);
            Ok(())
        })?;
        all.truncate(all.len() / 2);
        sink(all)?;
        Err(CopyError::Away { store: "here".to_owned(), cause: "it ends after one half".to_owned() })
    }
}

/// A source on which a node starts meanwhile.
struct Changed<'a> {
    source: &'a mut dyn CopySource,
}

impl CopySource for Changed<'_> {
    fn marks(&mut self) -> Result<Marks, CopyError> {
        self.source.marks()
    }

    fn read(&mut self, sink: Sink<'_>) -> Result<(), CopyError> {
        self.source.read(sink)
    }

    fn settle(&mut self) -> Result<(), CopyError> {
        Err(CopyError::Changed { store: "here".to_owned() })
    }
}
