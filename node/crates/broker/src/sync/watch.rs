//! Looks after guards: sessions that have ended leave them, what nobody hands out is handed out, what is over goes.
//!
//! Every node knows all guards by its mirror. A session that lasts no longer than its connection is judged by the node it
//! is connected to, a stored one by the node that it is at home at, and what nodes without a lease leave behind by the
//! live node with the lowest incarnation.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use metrics::gauge;
use weir_model::UnixMillis;

use super::decide::Input;
use super::desk::Job;
use super::guard::{Guard, Holder};
use super::guards::Place;
use crate::broker::Broker;
use crate::clock;

/// Guards are looked through every so many ticks of 100 ms unasked.
const LOOK_TICKS: u64 = 10;

/// Who looks after what.
struct Watch<'a> {
    broker: &'a Broker,
    home: u64,
    /// Nodes that hold a lease.
    live: Vec<u64>,
    is_shared: bool,
}

impl Watch<'_> {
    fn of(broker: &Broker) -> Watch<'_> {
        let live: Vec<u64> = broker.store().nodes().iter().map(|node| node.incarnation).collect();
        Watch { broker, home: broker.guard_home(), live, is_shared: broker.store().is_shared() }
    }

    /// Whether this node sees to what is at home there.
    fn is_mine(&self, home: u64) -> bool {
        if !self.is_shared || home == self.home {
            return true;
        }
        // A node that has begun a moment ago may not be among those that are known to hold a lease.
        self.broker.store().is_gone(home) && self.live.iter().min() == Some(&self.home)
    }
}

impl Broker {
    /// Publishes of all nodes that wait for their condition.
    pub fn waiters(&self) -> usize {
        self.desk().count().1
    }

    /// A tick of the timers; says whether guards are to be looked through now.
    pub(crate) fn guards_want_looking(&self, ticks: u64) -> bool {
        let asked = self.desk().is_to_look.swap(false, Ordering::AcqRel);
        asked || ticks.is_multiple_of(LOOK_TICKS)
    }

    /// Looks through all guards.
    pub(crate) async fn look_at_guards(&self) {
        let (guards, waiters) = self.desk().count();
        gauge!("weir_broker_guards").set(guards as f64);
        gauge!("weir_broker_waiters").set(waiters as f64);
        if guards == 0 || !self.store().stands() || self.store().caught_up().await.is_err() {
            return;
        }
        let (watch, now) = (Watch::of(self), clock::unix());
        for (place, known) in self.desk().guards.all() {
            self.look_at(&watch, &place, &known.guard, now);
        }
    }

    fn look_at(&self, watch: &Watch<'_>, place: &Place, guard: &Guard, now: UnixMillis) {
        let realm = self.realm_or_new(&place.0);
        let ask = |input| self.ask_desk(&realm, &place.1, Job { input, ticket: None, level: None });
        for holder in guard.holders() {
            if watch.is_mine(holder.home) && !self.holder_lives(watch, &place.0, holder) {
                ask(Input::Ended(holder.clone()));
            }
        }
        for owed in guard.owed.iter().filter(|owed| watch.is_mine(owed.home)) {
            if owed.home == watch.home {
                ask(Input::Look);
            } else {
                ask(Input::Adopt(owed.id));
            }
        }
        let is_over = guard.waiters.iter().any(|waiter| waiter.until.is_some_and(|until| until <= now))
            || guard.done.iter().any(|done| done.until <= now);
        if is_over && watch.is_mine(watch.live.iter().min().copied().unwrap_or(watch.home)) {
            ask(Input::Look);
        }
    }

    /// Whether a session is still there. To be asked when everything that was stored before it was named is known.
    fn holder_lives(&self, watch: &Watch<'_>, realm: &Arc<str>, holder: &Holder) -> bool {
        let session = self.sessions().find(realm, &holder.client_id);
        match session {
            Some(session) if holder.is_stored => session.stored == Some(holder.number),
            Some(session) => holder.home == watch.home && session.connection() == holder.number,
            None => false,
        }
    }
}
