//! A memory store that several nodes of one process share: clusters without a server, for tests and
//! simulations.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use parking_lot::{Mutex, ReentrantMutex};
use weir_model::UnixMillis;

use super::claims::{Claim, Claims};
use super::lease::Lease;
use super::node::Node;
use super::tables::{Submitter, Tables};
use crate::clock::WallClock;
use crate::config::Config;
use crate::counters::Counters;
use crate::state::RetainedChange;
use crate::{
    Answer, Due, Incarnation, Mark, Mirror, NodeRef, PartitionKey, Restored, SessionChange, SessionKey, Step,
    Store, TableRow,
};

/// Cheap to clone. Nodes join by [`SharedMemory::node`]; what each does is applied at once, in its own
/// thread, and heard by the mirrors of all before it is answered.
#[derive(Clone)]
pub struct SharedMemory(Arc<Shared>);

pub(super) struct Shared {
    pub inner: Mutex<Inner>,
    /// Held while mirrors are told, so that they hear in commit order. A mirror may submit meanwhile.
    telling: ReentrantMutex<()>,
    pub counters: Counters,
    pub wall: WallClock,
}

pub(super) struct Inner {
    pub tables: Tables,
    claims: Claims,
    seats: BTreeMap<Incarnation, Seat>,
    /// Every incarnation there ever was.
    used: BTreeSet<Incarnation>,
    /// What mirrors have not heard yet, the oldest first: at most what is submitted at this moment, and
    /// what a held mirror has missed.
    untold: VecDeque<(Told, Audience)>,
}

/// A node that works on the store.
struct Seat {
    node: NodeRef,
    lease: Arc<Lease>,
    mirror: Option<Arc<dyn Mirror>>,
    /// What the mirror will hear when it is let go; grows with what is submitted until then. `None` = it
    /// hears at once.
    held: Option<Vec<Told>>,
}

/// What a mirror hears.
#[derive(Clone)]
enum Told {
    Session(SessionKey, SessionChange),
    Retained(RetainedChange),
    Table(TableRow),
    Appended(PartitionKey, Option<Mark>),
}

/// Who is to hear something.
enum Audience {
    /// Everybody, even a held mirror if it is of the node that did it.
    All {
        by: Incarnation,
    },
    One(Incarnation),
}

impl SharedMemory {
    /// An empty store. Positions, claims and the age of mirrors are told by `clock`.
    pub fn new(config: &Config, clock: WallClock) -> SharedMemory {
        let mut tables = Tables::new(config, clock.clone());
        tables.state = tables.state.shared();
        let counters = Counters::new(tables.state.account());
        let claims = Claims::new(config.claim_ms);
        let inner =
            Inner { tables, claims, seats: BTreeMap::new(), used: BTreeSet::new(), untold: VecDeque::new() };
        let (inner, telling) = (Mutex::new(inner), ReentrantMutex::new(()));
        SharedMemory(Arc::new(Shared { inner, telling, counters, wall: clock }))
    }

    /// Lets a node join with a lease of its own. An older incarnation of the same node loses its lease.
    /// Dropping the handle is the node's death.
    ///
    /// # Panics
    /// When the incarnation is 0 or was there before.
    pub fn node(&self, node: NodeRef) -> Arc<dyn Store> {
        let lease = Arc::new(Lease::new());
        let mut inner = self.0.inner.lock();
        inner.forget_closed();
        assert!(
            node.incarnation > 0 && inner.used.insert(node.incarnation),
            "every start of a node has an incarnation of its own"
        );
        for seat in inner.seats.values().filter(|seat| seat.node.node_id == node.node_id) {
            seat.lease.end();
        }
        let seat = Seat { node: node.clone(), lease: lease.clone(), mirror: None, held: None };
        inner.seats.insert(node.incarnation, seat);
        drop(inner);
        Arc::new(Node { shared: self.0.clone(), node, lease })
    }

    /// Ends a node's lease as if it had not been renewed in time: it does not stand any more and its
    /// sessions are orphans. The node itself goes on, and what it submits is decided by fences alone.
    pub fn cut(&self, incarnation: Incarnation) {
        if let Some(seat) = self.0.inner.lock().seats.get(&incarnation) {
            seat.lease.end();
        }
    }

    /// From now on the node's mirror hears only of what the node does itself; a second later its lease
    /// does not stand.
    pub fn hold_mirror(&self, incarnation: Incarnation) {
        let now = (self.0.wall)();
        if let Some(seat) = self.0.inner.lock().seats.get_mut(&incarnation) {
            seat.held.get_or_insert_default();
            seat.lease.hold(now);
        }
    }

    /// The node's mirror hears in order what it has missed, its node's own changes a second time, and
    /// everything at once again.
    pub fn let_mirror_go(&self, incarnation: Incarnation) {
        let _telling = self.0.telling.lock();
        let mut inner = self.0.inner.lock();
        let Some(seat) = inner.seats.get_mut(&incarnation) else { return };
        let (lease, missed) = (seat.lease.clone(), seat.held.take().unwrap_or_default());
        for told in missed.into_iter().rev() {
            inner.untold.push_front((told, Audience::One(incarnation)));
        }
        drop(inner);
        self.0.tell();
        lease.let_go();
    }
}

impl Shared {
    /// Tells all mirrors what they have not heard yet.
    pub fn tell(&self) {
        let _telling = self.telling.lock();
        while let Some((told, mirrors)) = self.next_told() {
            mirrors.iter().for_each(|mirror| told.clone().to(&**mirror));
        }
    }

    /// The oldest of what is untold, and who is to hear it now.
    fn next_told(&self) -> Option<(Told, Vec<Arc<dyn Mirror>>)> {
        let mut inner = self.inner.lock();
        let (told, audience) = inner.untold.pop_front()?;
        let mut mirrors = Vec::new();
        for (incarnation, seat) in &mut inner.seats {
            let hears = match audience {
                Audience::One(only) => only == *incarnation,
                Audience::All { by } => {
                    let held = seat.held.as_mut().map(|held| held.push(told.clone())).is_some();
                    !held || by == *incarnation
                }
            };
            if hears {
                mirrors.extend(seat.mirror.clone());
            }
        }
        Some((told, mirrors))
    }

    pub fn restore(&self, node: Incarnation, mirror: Arc<dyn Mirror>, session: &mut dyn FnMut(Restored)) {
        let _telling = self.telling.lock();
        self.tell();
        let mut inner = self.inner.lock();
        inner.tables.restore(&*mirror, session);
        if let Some(seat) = inner.seats.get_mut(&node) {
            seat.mirror = Some(mirror);
        }
    }
}

impl Inner {
    /// Decides one submit of a node. What it changed is to be told before it is answered.
    pub fn apply(&mut self, steps: Vec<Step>, by: Incarnation) -> Answer {
        self.forget_closed();
        let standing = self.seats.iter().filter(|(_, seat)| seat.lease.holds()).map(|(node, _)| *node);
        let submitter = Submitter { node: by, standing: standing.collect() };
        let (answer, effects) = self.tables.apply(steps, Some(submitter));
        let sessions = effects.sessions.into_iter().map(|(key, change)| Told::Session(key, change));
        let told = sessions.chain(effects.retained.into_iter().map(Told::Retained));
        let told = told.chain(effects.tables.into_iter().map(Told::Table));
        let told = told.chain(effects.appended.into_iter().map(|(key, tail)| Told::Appended(key, tail)));
        self.untold.extend(told.map(|told| (told, Audience::All { by })));
        answer
    }

    /// Claims what wants dealing with: timers first, then what is owed, then orphans.
    pub fn due(&mut self, now: UnixMillis, max: usize) -> Vec<Due> {
        let at = self.tables.clock.times().wall;
        let Inner { tables, claims, seats, .. } = self;
        claims.forget_past(at);
        let state = &tables.state;
        let timers = state.all_due(now).map(|(at, timer, fence)| Claim::Timer { at, timer, fence });
        let owed = state.owing(claims.over_since(at)).map(|(key, entry)| Claim::Owed { key, entry });
        let is_lost = |home| seats.get(&home).is_none_or(|seat| !seat.lease.holds());
        let orphans = state.orphans(is_lost).map(|(key, fence)| Claim::Orphan { key, fence });
        let claimed = timers.chain(owed).chain(orphans).filter(|claim| claims.take(claim, at));
        claimed.filter_map(|claim| wanted(tables, claim)).take(max).collect()
    }

    /// Who holds a lease.
    pub fn nodes(&self) -> Vec<NodeRef> {
        let holding = self.seats.values().filter(|seat| seat.lease.holds());
        holding.map(|seat| seat.node.clone()).collect()
    }

    fn forget_closed(&mut self) {
        self.seats.retain(|_, seat| !seat.lease.is_closed());
    }
}

impl Told {
    fn to(self, mirror: &dyn Mirror) {
        match self {
            Told::Session(key, change) => mirror.session(&key, change),
            Told::Retained(change) => {
                mirror.retained(&change.realm, &change.topic, change.position, change.message.as_ref());
            }
            Told::Table(row) => mirror.table(row),
            Told::Appended(key, tail) => mirror.appended(&key, tail),
        }
    }
}

fn wanted(tables: &Tables, claim: Claim) -> Option<Due> {
    match claim {
        Claim::Timer { at, timer, fence } => tables.due(at, timer, fence),
        Claim::Owed { key, entry } => {
            let entry = tables.state.owed(&key, entry)?;
            Some(Due::Owed { key, entry })
        }
        Claim::Orphan { key, .. } => Some(Due::Orphan(Box::new(tables.state.orphan(&key)?))),
    }
}
