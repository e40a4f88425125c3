//! A share group: the sessions that share one filter; each message goes to one of them.
//!
//! QoS 0 goes to the next member with a connection. QoS 1 and 2 (`guarantees.md` 8): as soon as a
//! member is persistent, the message lies in the store, in the queue of the member picked or, with
//! nobody online, in the group's own queue. What a lost member had not acknowledged is handed on.

mod picking;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hashbrown::HashSet;
use parking_lot::{Mutex, RwLock};
use smallvec::SmallVec;
use weir_model::{Filter, Qos};
use weir_store::{SessionKey, SessionKind, SubscriptionOptions};

use crate::routes::members::Member;
use crate::session::Session;
pub use picking::Picking;

/// The queue is handed out further when fewer rows than this are unacknowledged.
const REFILL_BELOW: usize = 64;

pub struct Group {
    /// The whole shared filter.
    pub filter: Filter,
    /// Its queue in the store.
    pub key: SessionKey,
    members: RwLock<Vec<Member>>,
    next: AtomicUsize,
    /// Rows of its queue that a member holds right now.
    claimed: Mutex<HashSet<u64>>,
    /// Held by whoever moves rows of this group between queues, so that no row is moved twice.
    pub moving: tokio::sync::Mutex<()>,
    /// Rows were left in the queue because the members had no room.
    backlog: AtomicBool,
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Group").field(&self.filter).finish()
    }
}

/// What is wanted of a member.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish<'a> {
    pub how: Picking,
    /// Whether the message is to outlive its member's connection.
    pub durable: bool,
    /// The member that was just lost.
    pub not: Option<&'a Arc<Session>>,
    pub topic: &'a str,
    /// Whether only members of this node take turns.
    pub here: bool,
}

/// Who gets a message.
pub struct Pick {
    pub session: Arc<Session>,
    pub qos: Qos,
    pub retain_as_published: bool,
    pub subscription_ids: SmallVec<[u32; 1]>,
}

impl Group {
    pub fn new(filter: Filter, realm: Arc<str>) -> Arc<Group> {
        let key = SessionKey { realm, kind: SessionKind::Group, name: filter.clone().into() };
        Arc::new(Group {
            filter,
            key,
            members: RwLock::new(Vec::new()),
            next: AtomicUsize::new(0),
            claimed: Mutex::default(),
            moving: tokio::sync::Mutex::new(()),
            backlog: AtomicBool::new(false),
        })
    }

    pub fn join(&self, session: &Arc<Session>, options: SubscriptionOptions) {
        let mut members = self.members.write();
        match members.iter_mut().find(|m| Arc::ptr_eq(&m.session, session)) {
            Some(member) => member.options = options,
            None => members.push(Member { session: session.clone(), options }),
        }
    }

    /// Takes a member out; true when nobody is left.
    pub fn leave(&self, session: &Arc<Session>) -> bool {
        let mut members = self.members.write();
        members.retain(|m| !Arc::ptr_eq(&m.session, session));
        members.is_empty()
    }

    /// What a member has asked for.
    pub fn options_of(&self, session: &Arc<Session>) -> Option<SubscriptionOptions> {
        let members = self.members.read();
        members.iter().find(|m| Arc::ptr_eq(&m.session, session)).map(|m| m.options)
    }

    /// The node that is asked after `me` for a member that is meant: of those that have members the one with the next
    /// higher incarnation, or else the lowest. So each is asked once before any is asked again.
    pub(crate) fn next_node(&self, me: u64) -> Option<u64> {
        let members = self.members.read();
        let nodes =
            || members.iter().filter_map(|member| member.session.peer.as_ref()).map(|peer| peer.incarnation);
        nodes().filter(|node| *node > me).min().or_else(|| nodes().min())
    }

    /// How many other nodes have members.
    pub(crate) fn nodes(&self) -> usize {
        self.members.read().iter().filter(|member| member.session.peer.is_some()).count()
    }

    /// Those that stand for other nodes.
    pub fn linked(&self) -> Vec<Member> {
        self.members.read().iter().filter(|m| m.session.peer.is_some()).cloned().collect()
    }

    /// The member that gets the next message: one that can take it (`may`); a persistent one first if it
    /// is `durable`.
    pub fn pick(&self, wish: &Wish<'_>, may: impl Fn(&Session) -> bool) -> Option<Pick> {
        let members = self.members.read();
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let order = wish.how.order(&members, turn, wish.topic, wish.here);
        let in_order = || order.iter().map(|at| (*at, &members[*at]));
        let other = |m: &Member| wish.not.is_none_or(|not| !Arc::ptr_eq(not, &m.session));
        let fit = |(_, m): &(usize, &Member)| other(m) && may(&m.session);
        let stored = |(_, m): &(usize, &Member)| m.session.stored.is_some();
        let (at, member) = match wish.durable {
            true => in_order().filter(fit).find(stored).or_else(|| in_order().find(fit)),
            false => in_order().find(fit),
        }?;
        if wish.how == Picking::Sticky {
            self.next.store(at, Ordering::Relaxed);
        }
        Some(Pick {
            session: member.session.clone(),
            qos: member.options.qos,
            retain_as_published: member.options.retain_as_published,
            subscription_ids: member.subscription_ids(),
        })
    }

    /// Whether a member outlives its connection, so that the group keeps messages for it.
    pub fn keeps(&self) -> bool {
        self.members.read().iter().any(|m| m.session.stored.is_some() && m.options.qos > Qos::AtMostOnce)
    }

    /// Takes a row of the queue for a member; false when one has it.
    pub fn claim(&self, number: u64) -> bool {
        self.claimed.lock().insert(number)
    }

    /// The row is free, or gone.
    pub fn unclaim(&self, number: u64) {
        self.claimed.lock().remove(&number);
    }

    /// No member has room: the row waits in the queue until some of what is out is acknowledged.
    pub fn leave_in_queue(&self, number: u64) {
        self.unclaim(number);
        self.backlog.store(true, Ordering::Release);
    }

    /// Whether rows were left behind and little is out any more; then the caller must drain.
    pub fn wants_draining(&self) -> bool {
        self.backlog.load(Ordering::Acquire)
            && self.claimed.lock().len() < REFILL_BELOW
            && self.backlog.swap(false, Ordering::AcqRel)
    }

    /// The members, for handing on what one of them left behind.
    pub fn members(&self) -> Vec<Arc<Session>> {
        self.members.read().iter().map(|m| m.session.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(name: &str, stored: bool, online: bool) -> Arc<Session> {
        let key = SessionKey { realm: "r".into(), kind: SessionKind::Client, name: name.into() };
        let session = Session::new(key, stored.then_some(1), None);
        if online {
            session.attach(1, 0, 0);
        }
        session
    }

    fn group(members: &[&Arc<Session>]) -> Arc<Group> {
        let group = Group::new(Filter::new("$share/g/t").unwrap(), "r".into());
        for session in members {
            let options = SubscriptionOptions { qos: Qos::AtLeastOnce, ..SubscriptionOptions::default() };
            group.join(session, options);
        }
        group
    }

    #[test]
    fn members_are_picked_in_turn_and_never_offline_ones() {
        let (a, b, c) = (session("a", false, true), session("b", false, false), session("c", false, true));
        let group = group(&[&a, &b, &c]);
        let picked: Vec<_> = (0..6)
            .map(|_| {
                group.pick(&Wish::default(), Session::is_online).unwrap().session.client_id().to_string()
            })
            .collect();
        assert!(!picked.contains(&"b".to_string()));
        assert!(picked.iter().filter(|name| *name == "a").count() >= 2);
        assert!(picked.iter().filter(|name| *name == "c").count() >= 2);
    }

    #[test]
    fn a_durable_message_prefers_a_persistent_member() {
        let (a, b) = (session("a", false, true), session("b", true, true));
        let group = group(&[&a, &b]);
        let durable = Wish { durable: true, ..Wish::default() };
        for _ in 0..4 {
            assert_eq!(&**group.pick(&durable, Session::is_online).unwrap().session.client_id(), "b");
        }
        let durable = Wish { not: Some(&b), ..durable };
        assert_eq!(&**group.pick(&durable, Session::is_online).unwrap().session.client_id(), "a");
    }
}
