//! What the shared memory store adds to the contract: leases that are cut, and mirrors that lag.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use weir_model::{Message, Position, Topic, UnixMillis};
use weir_store::suite::{self, ask_one, client, node, open, resuming, retain, wait};
use weir_store::{
    Due, Incarnation, Mirror, Outcome, Refusal, SessionChange, SessionKey, SessionOp, SharedMemory, Store,
};

/// A store of two nodes whose clock the test moves.
struct Bench {
    shared: SharedMemory,
    clock: Arc<AtomicU64>,
    a: Arc<dyn Store>,
    b: Arc<dyn Store>,
}

const A: Incarnation = 1;
const B: Incarnation = 2;

impl Bench {
    fn new(claim_ms: u64) -> Bench {
        let clock = Arc::new(AtomicU64::new(1_000_000));
        let wall = clock.clone();
        let wall = Arc::new(move || UnixMillis(wall.load(Ordering::Relaxed)));
        let shared = SharedMemory::new(&suite::shared("memory", claim_ms), wall);
        let (a, b) = (shared.node(node("a", A)), shared.node(node("b", B)));
        Bench { shared, clock, a, b }
    }

    fn pass(&self, ms: u64) {
        self.clock.fetch_add(ms, Ordering::Relaxed);
    }
}

fn due(store: &dyn Store) -> Vec<Due> {
    wait(store.due(UnixMillis(0), 100)).unwrap()
}

/// The positions a mirror has heard, and how often sessions changed.
#[derive(Default)]
struct Heard {
    retained: Mutex<Vec<Position>>,
    sessions: Mutex<Vec<SessionChange>>,
}

impl Mirror for Heard {
    fn retained(&self, _: &Arc<str>, _: &Topic, position: Position, _: Option<&Arc<Message>>) {
        self.retained.lock().unwrap().push(position);
    }

    fn session(&self, _: &SessionKey, change: SessionChange) {
        self.sessions.lock().unwrap().push(change);
    }
}

fn listen(store: &dyn Store) -> Arc<Heard> {
    let heard = Arc::new(Heard::default());
    store.restore(heard.clone(), &mut |_| {}).unwrap();
    heard
}

#[test]
fn a_cut_lease_does_not_stand_and_its_sessions_are_orphans_at_once() {
    let bench = Bench::new(5000);
    open(&*bench.a, &client("c"), resuming());
    assert!(bench.a.stands() && due(&*bench.b).is_empty());
    bench.shared.cut(A);
    assert!(!bench.a.stands() && bench.b.stands());
    assert_eq!(bench.b.nodes(), [node("b", B)]);
    let found = due(&*bench.b);
    assert!(matches!(&found[..], [Due::Orphan(orphan)] if orphan.home == Some(A)), "{found:?}");
}

#[test]
fn a_node_without_a_lease_is_decided_by_its_fences() {
    let bench = Bench::new(5000);
    let key = client("c");
    let fence = open(&*bench.a, &key, resuming()).fence;
    bench.shared.cut(A);
    let release = || SessionOp::Release { fence, packet_id: 1 };
    assert_eq!(ask_one(&*bench.a, &key, release()), Ok(Outcome::Done));
    open(&*bench.b, &key, resuming());
    assert_eq!(ask_one(&*bench.a, &key, release()), Err(Refusal::Fenced));
    open(&*bench.a, &client("late"), resuming());
    let found = due(&*bench.b);
    assert!(matches!(&found[..], [Due::Orphan(orphan)] if orphan.key == client("late")), "{found:?}");
}

#[test]
fn a_claim_ends_when_its_time_is_over() {
    let bench = Bench::new(5000);
    open(&*bench.a, &client("c"), resuming());
    bench.shared.cut(A);
    assert_eq!(due(&*bench.b).len(), 1);
    bench.pass(4999);
    assert!(due(&*bench.b).is_empty());
    bench.pass(1);
    assert_eq!(due(&*bench.b).len(), 1);
    assert!(due(&*bench.b).is_empty(), "claimed anew");
}

#[test]
fn a_session_that_is_orphaned_again_does_not_wait_for_the_claim_before() {
    let bench = Bench::new(5000);
    let c = bench.shared.node(node("c", 3));
    let key = client("c");
    open(&*bench.a, &key, resuming());
    bench.shared.cut(A);
    assert_eq!(due(&*c).len(), 1);
    open(&*bench.b, &key, resuming());
    bench.shared.cut(B);
    let found = due(&*c);
    assert!(matches!(&found[..], [Due::Orphan(orphan)] if orphan.home == Some(B)), "{found:?}");
}

#[test]
fn an_owed_entry_is_left_to_the_node_that_fired_it_for_as_long_as_a_claim() {
    let bench = Bench::new(5000);
    let (key, will) = (client("c"), Some(suite::will("w", 0)));
    let fence = open(&*bench.a, &key, weir_store::Open { will, ..resuming() }).fence;
    let fire = SessionOp::FireWill { generation: fence.generation, fence: None };
    assert!(matches!(ask_one(&*bench.a, &key, fire), Ok(Outcome::Fired(Some(_)))));
    bench.pass(4999);
    assert!(due(&*bench.b).is_empty());
    bench.pass(1);
    assert!(matches!(&due(&*bench.b)[..], [Due::Owed { .. }]));
    assert!(due(&*bench.a).is_empty(), "it is another node's now");
}

#[test]
fn a_held_mirror_hears_nothing_of_others_until_it_is_let_go() {
    let bench = Bench::new(5000);
    let (of_a, of_b) = (listen(&*bench.a), listen(&*bench.b));
    bench.shared.hold_mirror(B);
    let first = retain(&*bench.a, "t", Some("1"));
    let second = retain(&*bench.a, "t", Some("2"));
    open(&*bench.a, &client("c"), resuming());
    assert_eq!(*of_a.retained.lock().unwrap(), [first, second]);
    assert!(of_b.retained.lock().unwrap().is_empty() && of_b.sessions.lock().unwrap().is_empty());
    let mut waiting = bench.b.caught_up();
    assert!((&mut waiting).now_or_never().is_none());
    bench.shared.let_mirror_go(B);
    assert_eq!(*of_b.retained.lock().unwrap(), [first, second]);
    assert_eq!(of_b.sessions.lock().unwrap().len(), 1);
    assert!(waiting.now_or_never().is_some());
}

#[test]
fn a_held_mirror_hears_its_own_node_at_once_and_later_a_second_time() {
    let bench = Bench::new(5000);
    let heard = listen(&*bench.b);
    bench.shared.hold_mirror(B);
    let other = retain(&*bench.a, "t", Some("1"));
    let own = retain(&*bench.b, "t", Some("2"));
    assert_eq!(*heard.retained.lock().unwrap(), [own]);
    bench.shared.let_mirror_go(B);
    assert_eq!(*heard.retained.lock().unwrap(), [own, other, own]);
}

/// A mirror that answers a session's end by a submit of its own.
struct Submits {
    store: Arc<dyn Store>,
    heard: Arc<Heard>,
}

impl Mirror for Submits {
    fn retained(&self, realm: &Arc<str>, topic: &Topic, position: Position, message: Option<&Arc<Message>>) {
        self.heard.retained(realm, topic, position, message);
    }

    fn session(&self, key: &SessionKey, change: SessionChange) {
        let ended = matches!(change, SessionChange::Ended { .. });
        self.heard.session(key, change);
        if ended {
            retain(&*self.store, "ended", Some("m"));
        }
    }
}

#[test]
fn a_mirror_may_submit_while_it_is_told() {
    let bench = Bench::new(5000);
    let (of_a, heard) = (listen(&*bench.a), Arc::new(Heard::default()));
    let submits = Submits { store: bench.b.clone(), heard: heard.clone() };
    bench.b.restore(Arc::new(submits), &mut |_| {}).unwrap();
    let generation = open(&*bench.a, &client("c"), resuming()).fence.generation;
    let end = SessionOp::End { generation, fence: None };
    assert_eq!(ask_one(&*bench.a, &client("c"), end), Ok(Outcome::Done));
    assert_eq!(heard.sessions.lock().unwrap().len(), 2);
    assert_eq!(heard.retained.lock().unwrap().len(), 1);
    assert_eq!(*of_a.retained.lock().unwrap(), *heard.retained.lock().unwrap());
}

#[test]
fn a_node_whose_mirror_lags_by_a_second_does_not_stand() {
    let bench = Bench::new(5000);
    bench.shared.hold_mirror(B);
    bench.pass(999);
    assert!(bench.b.stands());
    bench.pass(1);
    assert!(!bench.b.stands() && bench.a.stands());
    assert_eq!(bench.b.nodes().len(), 2, "its lease is another matter");
    bench.shared.let_mirror_go(B);
    assert!(bench.b.stands());
}

#[test]
fn a_newer_start_of_the_same_node_ends_the_older_one_s_lease() {
    let bench = Bench::new(5000);
    let again = bench.shared.node(node("a", 3));
    assert!(again.stands() && !bench.a.stands());
    assert_eq!(again.nodes(), [node("b", B), node("a", 3)]);
}

#[test]
fn a_closed_handle_is_unavailable_and_its_node_lost() {
    let bench = Bench::new(5000);
    open(&*bench.a, &client("c"), resuming());
    bench.shared.hold_mirror(A);
    let waiting = bench.a.caught_up();
    wait(bench.a.close());
    assert!(wait(waiting).is_err());
    let open = SessionOp::Open(resuming());
    assert_eq!(ask_one(&*bench.a, &client("c"), open), Err(Refusal::Unavailable));
    assert_eq!((due(&*bench.b).len(), bench.b.nodes()), (1, vec![node("b", B)]));
}
