//! The mirror: what the store says of its tables, taken into the realms and the directory.
//!
//! Of its own sessions a node knows all by itself, and passes over what it hears of them. A session
//! that another node opened is taken from whoever has it here: one client id lives once
//! (`guarantees.md` 4). Changes may be heard late or again; fences and generations say which count.

use std::sync::{Arc, Weak};

use weir_model::{Filter, Message, Position, Topic};
use weir_store::{
    Fence, Mark, Mirror, Owner, PartitionKey, Rollback, SessionChange, SessionKey, SessionKind,
    SubscriptionOptions, TableRow,
};

use crate::admin::EventKind;
use crate::broker::{Broker, Shared};
use crate::ledger::Loss;
use crate::outbox::Bell;
use crate::session::{Session, owner};
use crate::sys;

/// Takes the store's table changes into a broker, as long as there is one.
pub(crate) struct Tables(pub Weak<Shared>);

impl Mirror for Tables {
    fn retained(&self, realm: &Arc<str>, topic: &Topic, position: Position, message: Option<&Arc<Message>>) {
        if let Some(shared) = self.0.upgrade() {
            Broker::of(shared).realm_or_new(realm).retained.apply(topic, position, message);
        }
    }

    fn session(&self, key: &SessionKey, change: SessionChange) {
        if let Some(shared) = self.0.upgrade()
            && key.kind == SessionKind::Client
        {
            Broker::of(shared).session_changed(key, change);
        }
    }

    fn table(&self, row: TableRow) {
        if let Some(shared) = self.0.upgrade() {
            Broker::of(shared).table_changed(&row);
        }
    }

    fn appended(&self, key: &PartitionKey, tail: Option<Mark>) {
        if let Some(shared) = self.0.upgrade() {
            let broker = Broker::of(shared);
            broker.streams().appended(key, tail);
            broker.groups_known().appended(&broker, key, tail);
        }
    }

    fn rolled_back(&self, rollback: &Rollback) {
        if let Some(shared) = self.0.upgrade() {
            Broker::of(shared).rolled_back(rollback);
        }
    }
}

/// A session as another node has opened it.
struct Elsewhere<'a> {
    home: u64,
    persistent: bool,
    owner: Option<&'a Arc<Owner>>,
    /// Its subscriptions stay; if not, those it has follow.
    present: bool,
}

impl Broker {
    /// Connections of sessions that went back are ended: their clients come again, and are given what the store has.
    fn rolled_back(&self, rollback: &Rollback) {
        self.configure_streams_later();
        for realm in self.realms() {
            for session in self.sessions().all(&realm.name) {
                if session.stored.is_some() && session.is_online() && rollback.is_in(&session.key) {
                    session.outbox.ring(Bell::Kick);
                }
            }
        }
        self.admin().events.tell(|| EventKind::RolledBack);
        self.return_forgotten();
        sys::rolled_back(self, rollback);
    }

    fn session_changed(&self, key: &SessionKey, change: SessionChange) {
        match change {
            SessionChange::Opened { fence, home, persistent, owner, present } => {
                if home != self.incarnation() {
                    let owner = owner.as_ref();
                    self.opened_elsewhere(key, fence, Elsewhere { home, persistent, owner, present });
                }
            }
            SessionChange::Subscribed { generation, filter, options } => {
                self.subscribed_elsewhere(key, generation, &filter, Some(options));
            }
            SessionChange::Unsubscribed { generation, filter } => {
                self.subscribed_elsewhere(key, generation, &filter, None);
            }
            SessionChange::Detached { fence } => self.detached_elsewhere(key, fence),
            SessionChange::Ended { generation } => self.ended_elsewhere(key, generation),
        }
    }

    /// Another node has given the session to a connection: whoever has it here has it no more.
    fn opened_elsewhere(&self, key: &SessionKey, fence: Fence, elsewhere: Elsewhere<'_>) {
        let Elsewhere { home, persistent, owner, present } = elsewhere;
        self.sessions().note_elsewhere(key, fence.fence);
        let known = self.sessions().find(&key.realm, &key.name);
        let is_known = known.as_ref().is_some_and(|session| session.stored == Some(fence.generation));
        // One that ends with its connection has a queue if it is a resumed one.
        let stored = persistent || present || is_known;
        if let Some(session) = known {
            if !session.raise_fence(fence.fence) {
                return;
            }
            self.lose(&session);
            if is_known {
                session.set_home(Some(home));
                if !present {
                    // The mirror had missed something: what it subscribes to follows, all of it.
                    self.unsubscribe_all(&session);
                }
                return self.owned(&session, owner);
            }
            self.forget(&session);
        }
        if stored {
            let session = Session::new(key.clone(), Some(fence.generation), Some(fence.generation));
            session.raise_fence(fence.fence);
            session.set_home(Some(home));
            self.owned(&session, owner);
            self.realm_or_new(&key.realm);
            self.sessions().restore(&session);
        }
    }

    /// The connection here hears that it has the session no more; what waited for it goes its way.
    pub(crate) fn lose(&self, session: &Arc<Session>) {
        let connection = session.connection();
        if connection == 0 || !session.detach(connection) {
            return;
        }
        self.admin().events.tell(|| EventKind::Disconnected {
            realm: session.key.realm.clone(),
            client_id: session.key.name.clone(),
        });
        let (lost, copies) = session.outbox.clear(0);
        self.ledger().lost_by(session.client_id(), "", Loss::ConnectionLost, lost);
        self.hand_on(&self.realm_or_new(&session.key.realm), session, copies);
        metrics::counter!("weir_broker_sessions_taken_over_total").increment(1);
    }

    fn owned(&self, session: &Session, owner: Option<&Arc<Owner>>) {
        if let Some(identity) = owner.and_then(|owner| owner::known(owner, &session.key.realm)) {
            session.set_identity(Arc::new(identity));
        }
    }

    /// Takes a session and its subscriptions out of directory and routes.
    fn forget(&self, session: &Arc<Session>) {
        self.sessions().remove(session);
        if let Some(realm) = self.realm(&session.key.realm) {
            let _routes = self.peers().routes.read();
            self.topics().leave_now(&realm, session);
        }
    }

    fn unsubscribe_all(&self, session: &Arc<Session>) {
        let Some(realm) = self.realm(&session.key.realm) else { return };
        let _routes = self.peers().routes.read();
        for (filter, _) in session.subscriptions() {
            session.forget(&filter);
            realm.routes.remove(&filter, session);
        }
    }

    /// The session of that generation, as far as another node looks after it. One that is being opened
    /// here learns all from the answer of the store.
    fn mirrored(&self, key: &SessionKey, generation: u64) -> Option<Arc<Session>> {
        let session = self.sessions().find(&key.realm, &key.name)?;
        let is_mine = session.is_online() || self.sessions().is_opening(key);
        (session.stored == Some(generation) && !is_mine).then_some(session)
    }

    /// The session has no connection any more. One that has it here has lost its node's lease meanwhile.
    fn detached_elsewhere(&self, key: &SessionKey, fence: Fence) {
        let Some(session) = self.sessions().find(&key.realm, &key.name) else { return };
        if session.stored != Some(fence.generation) || session.fence() > fence.fence {
            return;
        }
        if !session.is_online() {
            session.set_home(None);
        } else if !self.sessions().is_opening(key) {
            session.outbox.ring(Bell::Kick);
        }
    }

    fn subscribed_elsewhere(
        &self,
        key: &SessionKey,
        generation: u64,
        filter: &Filter,
        options: Option<SubscriptionOptions>,
    ) {
        let Some(session) = self.mirrored(key, generation) else { return };
        let realm = self.realm_or_new(&key.realm);
        let _routes = self.peers().routes.read();
        match options {
            Some(options) if session.note(filter, options).is_some() => {
                // A topic shard may have inserted it.
                realm.routes.insert(filter, &session, options, true);
            }
            Some(_) => {}
            None if session.forget(filter) => realm.routes.remove(filter, &session),
            None => {}
        }
    }

    /// The session is over. A connection that has it here has lost its node's lease meanwhile.
    fn ended_elsewhere(&self, key: &SessionKey, generation: u64) {
        let Some(session) = self.sessions().find(&key.realm, &key.name) else { return };
        if session.row != Some(generation) {
            return;
        }
        if session.is_online() && self.sessions().is_opening(key) {
            // Its client is back, and wants another one.
            self.lose(&session);
        } else if session.is_online() {
            session.outbox.ring(Bell::Kick);
        } else if session.stored.is_some() {
            self.forget(&session);
        }
    }
}
