//! Promises of a store that several nodes share: everybody hears, the newest fences, the lost are seen to.
//!
//! Each function takes a way to join an empty store, with the limits of [`shared`]. A handle that is
//! dropped is a node that died: its lease is lost as soon as the store can know.

use std::time::{Duration, Instant};

use super::topics::{on_topic, topic_step};
use super::*;
use crate::{Incarnation, NodeRef, OutboxEntry, SessionChange};

mod lost;
mod streams;
mod timers;

pub use lost::*;
pub use streams::*;
pub use timers::*;

/// Lets a node join the store that the nodes before have joined.
pub type Join<'a> = &'a dyn Fn(NodeRef) -> Arc<dyn Store>;

/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(60);

/// The limits that these promises count on: each says for how long it wants claims to last.
pub fn shared(url: &str, claim_ms: u64) -> Config {
    Config { claim_ms, ..config(url) }
}

/// The `number`th node to start.
pub fn node(node_id: &str, number: Incarnation) -> NodeRef {
    NodeRef { node_id: node_id.into(), incarnation: number }
}

/// Two nodes with mirrors.
fn two(join: Join) -> [(Arc<dyn Store>, Arc<Listener>); 2] {
    [node("a", 1), node("b", 2)].map(|node| listening(join(node)))
}

/// A node that has restored what there is: only then its lease stands.
fn joined(join: Join, node: NodeRef) -> Arc<dyn Store> {
    listening(join(node)).0
}

fn listening(store: Arc<dyn Store>) -> (Arc<dyn Store>, Arc<Listener>) {
    let listener = Arc::new(Listener::default());
    store.restore(listener.clone(), &mut |_| {}).expect("a store can be restored");
    (store, listener)
}

/// A mirror that writes down what it hears.
#[derive(Default)]
struct Listener {
    retained: Mutex<Vec<Position>>,
    sessions: Mutex<Vec<(SessionKey, SessionChange)>>,
}

impl Mirror for Listener {
    fn retained(&self, _: &Arc<str>, _: &Topic, position: Position, _: Option<&Arc<Message>>) {
        self.retained.lock().expect("no test panics in here").push(position);
    }

    fn session(&self, key: &SessionKey, change: SessionChange) {
        self.sessions.lock().expect("no test panics in here").push((key.clone(), change));
    }
}

impl Listener {
    /// What became of one session, each change once.
    fn of(&self, key: &SessionKey) -> Vec<SessionChange> {
        let all = self.sessions.lock().expect("no test panics in here");
        let mut found: Vec<SessionChange> = Vec::new();
        for (_, change) in all.iter().filter(|(of, _)| of == key) {
            if !found.contains(change) {
                found.push(change.clone());
            }
        }
        found
    }
}

fn catch_up(store: &dyn Store) {
    wait(store.caught_up()).expect("a mirror catches up");
}

/// Asks again and again until it is so.
pub(super) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Everything that a node is given to deal with.
fn given(store: &dyn Store, now: u64) -> Vec<Due> {
    wait(store.due(UnixMillis(now), 100)).expect("what is due can be read")
}

fn incarnation(store: &dyn Store, node_id: &str) -> Option<Incarnation> {
    store.nodes().into_iter().find(|node| &*node.node_id == node_id).map(|node| node.incarnation)
}

fn subscribe(store: &dyn Store, key: &SessionKey, fence: Fence, text: &str) -> Result<Outcome, Refusal> {
    let options = SubscriptionOptions::default();
    ask_one(store, key, SessionOp::Subscribe { fence, filter: filter(text), options })
}

/// For any claim.
pub fn nodes_that_share_a_store_know_of_each_other(join: Join) {
    let (a, b) = (joined(join, node("a", 1)), joined(join, node("b", 2)));
    assert!(a.is_shared() && a.stands() && b.is_shared() && b.stands());
    let own = a.node().expect("it is one of several");
    assert_eq!((&*own.node_id, Some(own.incarnation)), ("a", incarnation(&*a, "a")));
    for store in [&a, &b] {
        until("both are known to both", || (store.nodes().len() == 2).then_some(()));
        assert_ne!(incarnation(&**store, "a"), incarnation(&**store, "b"));
    }
}

/// For any claim.
pub fn what_one_node_does_to_a_session_the_others_hear_in_order(join: Join) {
    let [(a, _), (b, heard)] = two(join);
    let home = incarnation(&*a, "a").expect("it holds a lease");
    let key = client("a");
    let asked = Open { owner: Some(owner(Some("u"))), ..resuming() };
    let fence = open(&*a, &key, asked).fence;
    let generation = fence.generation;
    subscribe(&*a, &key, fence, "f").unwrap();
    subscribe(&*a, &key, fence, "g").unwrap();
    ask_one(&*a, &key, SessionOp::Unsubscribe { fence, filter: filter("f") }).unwrap();
    let renewed = Arc::new(Owner { grant: None, ..Owner::clone(&owner(Some("u"))) });
    ask_one(&*a, &key, SessionOp::Renew { fence, owner: renewed.clone() }).unwrap();
    ask_one(&*a, &key, SessionOp::Detach { fence, detach: detach(1, 0, None, None) }).unwrap();
    ask_one(&*a, &key, SessionOp::End { generation, fence: None }).unwrap();
    catch_up(&*b);
    let opened = |owner, present| SessionChange::Opened { fence, home, persistent: true, owner, present };
    let options = SubscriptionOptions::default();
    let subscribed = |text| SessionChange::Subscribed { generation, filter: filter(text), options };
    let all = [
        opened(Some(owner(Some("u"))), false),
        subscribed("f"),
        subscribed("g"),
        SessionChange::Unsubscribed { generation, filter: filter("f") },
        opened(Some(renewed), true),
        SessionChange::Detached { fence },
        SessionChange::Ended { generation },
    ];
    assert_eq!(heard.of(&key), all);
}

/// For any claim.
pub fn a_clean_start_is_heard_at_once_as_a_new_generation(join: Join) {
    let [(a, _), (b, heard)] = two(join);
    let key = client("a");
    let old = open(&*a, &key, resuming()).fence;
    let new = open(&*a, &key, Open { clean_start: true, ..resuming() }).fence;
    catch_up(&*b);
    let [_, opened] = &heard.of(&key)[..] else { panic!("not two changes: {:?}", heard.of(&key)) };
    assert_ne!(new.generation, old.generation);
    assert!(matches!(opened, SessionChange::Opened { fence, present: false, .. } if *fence == new));
}

/// For any claim.
pub fn share_groups_are_not_mirrored(join: Join) {
    let [(a, _), (b, heard)] = two(join);
    let group = group("$share/g/f");
    ask_one(&*a, &group, enqueue(0, message("m", 10))).unwrap();
    ask_one(&*a, &group, SessionOp::GroupAck { number: 1 }).unwrap();
    catch_up(&*b);
    assert!(heard.sessions.lock().unwrap().is_empty());
}

/// For any claim.
pub fn a_mirror_that_caught_up_has_heard_what_any_node_was_answered(join: Join) {
    let [(a, of_a), (b, of_b)] = two(join);
    for round in 0..20 {
        let (writer, reader, heard) = if round % 2 == 0 { (&a, &b, &of_b) } else { (&b, &a, &of_a) };
        let position = retain(&**writer, "t", Some("m"));
        let fence = open(&**writer, &client("c"), resuming()).fence;
        catch_up(&**reader);
        assert!(heard.retained.lock().unwrap().contains(&position));
        let newest = heard.of(&client("c")).pop();
        assert!(matches!(newest, Some(SessionChange::Opened { fence: heard, .. }) if heard == fence));
    }
}

/// For any claim.
pub fn retained_changes_of_another_node_are_heard_in_order(join: Join) {
    let [(a, _), (b, heard)] = two(join);
    let written: Vec<Position> = ["1", "2", "3", "4"].map(|text| retain(&*a, "t", Some(text))).into();
    catch_up(&*b);
    assert_eq!(*heard.retained.lock().unwrap(), written);
    assert!(retain(&*b, "t", None) > written[3], "positions go on above those of other nodes");
}

/// For any claim.
pub fn a_node_that_joins_late_is_told_what_is_there_and_whose(join: Join) {
    let a = joined(join, node("a", 1));
    let home = incarnation(&*a, "a");
    let (connected, detached) = (client("connected"), client("detached"));
    let fence = open(&*a, &connected, resuming()).fence;
    subscribe(&*a, &connected, fence, "f").unwrap();
    let left = open(&*a, &detached, resuming()).fence;
    ask_one(&*a, &detached, SessionOp::Detach { fence: left, detach: detach(1, 0, None, None) }).unwrap();
    let position = retain(&*a, "t", Some("m"));
    let b = joined(join, node("b", 2));
    let (heard, found) = restore(&*b);
    assert_eq!(heard.0.lock().unwrap()[0].1, position);
    assert_eq!(found.iter().map(|row| &row.key).collect::<Vec<_>>(), [&connected, &detached]);
    assert_eq!((found[0].fence, found[0].home, found[0].detached_at), (fence, home, None));
    assert_eq!(found[0].subscriptions[0].0, filter("f"));
    assert_eq!((found[1].home, found[1].detached_at), (None, Some(UnixMillis(1))));
}

/// For any claim.
pub fn the_newest_connection_may_be_on_another_node_and_fences_the_older_out(join: Join) {
    let [(a, heard), (b, _)] = two(join);
    let key = client("a");
    let old = open(&*a, &key, resuming()).fence;
    ask_one(&*a, &key, enqueue(old.generation, message("m", 10))).unwrap();
    let opened = open(&*b, &key, resuming());
    assert!(opened.present && opened.fence.fence > old.fence);
    for op in [
        SessionOp::Ack { fence: old, number: 1 },
        SessionOp::Receive { fence: old, packet_id: 1 },
        SessionOp::Detach { fence: old, detach: detach(1, 0, None, None) },
    ] {
        assert_eq!(ask_one(&*a, &key, op), Err(Refusal::Fenced));
    }
    assert_eq!(subscribe(&*a, &key, old, "f"), Err(Refusal::Fenced));
    catch_up(&*a);
    let home = incarnation(&*b, "b").expect("it holds a lease");
    let newest = heard.of(&key).pop();
    let Some(SessionChange::Opened { fence, home: heard, .. }) = newest else {
        panic!("not told: {newest:?}")
    };
    assert_eq!((fence, heard), (opened.fence, home), "so the older node learns who has it");
    ask_one(&*b, &key, SessionOp::Ack { fence: opened.fence, number: 1 }).unwrap();
}

/// For any claim.
pub fn a_queue_has_dense_numbers_whichever_node_fills_it(join: Join) {
    let (a, b) = (joined(join, node("a", 1)), joined(join, node("b", 2)));
    let key = client("a");
    let fence = open(&*a, &key, resuming()).fence;
    for (expected, store) in (1..).zip([&a, &b, &b, &a]) {
        let enqueued = ask_one(&**store, &key, enqueue(fence.generation, message("m", 10)));
        assert_eq!(number(enqueued), expected);
    }
    let repeat = || enqueue_with(fence.generation, id(1), message("m", 10));
    assert_eq!(number(ask_one(&*a, &key, repeat())), 5);
    assert_eq!(ask_one(&*b, &key, repeat()), Ok(Outcome::Duplicate), "a known id is known to all");
    assert_eq!(rows(&*a, &key), rows(&*b, &key));
}
