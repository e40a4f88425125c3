//! How a connection gets its session: by its row in the store, against other connections of this node and
//! of others.

use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;
use weir_model::Reason;
use weir_store::{Open, Outcome, QueueEnds, Refusal, SessionKey, SessionKind, SessionOp, Step};

use super::State;
use crate::admin::EventKind;
use crate::ledger::Loss;
use crate::outbox::Bell;
use crate::realm::Realm;
use crate::session::directory::{Opened, Request};
use crate::session::{Session, owner};

impl State {
    pub(super) async fn open(&mut self, request: &Request) -> Result<Opened, Reason> {
        // What changes from here on, `judge_again` sees.
        if !self.broker.access().still_holds(&request.identity) {
            return Err(Reason::NotAuthorized);
        }
        let key = SessionKey {
            realm: request.realm.name.clone(),
            kind: SessionKind::Client,
            name: request.client_id.clone(),
        };
        let existing = self.get(&key);
        if existing.as_ref().is_some_and(|session| !request.is_of_owner(session)) {
            return Err(Reason::ClientId);
        }
        if let Some(existing) = existing.as_ref().filter(|old| request.clean_start && old.stored.is_some()) {
            self.broker.bequeath_shared(&request.realm, existing).await;
        }
        let persistent = request.expiry_seconds > 0;
        *self.shard.opening.lock() = Some((key.clone(), 0));
        let opened = match self.row_for(&key, request, existing.as_ref()).await {
            Ok(opened) => opened,
            Err(reason) => {
                *self.shard.opening.lock() = None;
                return Err(reason);
            }
        };
        let resumed = opened.as_ref().is_some_and(|opened| opened.present);
        // Another node may have made it anew meanwhile, or ended it.
        let resumes = |session: &Session| {
            let generation = opened.as_ref().map(|opened| opened.fence.generation);
            resumed && session.stored.is_some() && session.stored == generation
        };
        let session = match self.get_unless_opened_since(&key, opened.as_deref()) {
            Some(existing) if resumes(&existing) => existing,
            existing => {
                if let Some(old) = existing {
                    self.replace(request, &old).await;
                }
                let row = opened.as_ref().map(|opened| opened.fence.generation);
                Session::new(key, row.filter(|_| persistent || resumed), row)
            }
        };
        if self.put_unless_opened_since(&session, opened.as_deref())
            && let Some(opened) = &opened
        {
            self.subscribe_again(&request.realm, &session, opened).await;
        }
        let opened = self.attach(request, session, opened);
        self.settle_fence(&opened);
        Ok(opened)
    }

    /// The session's row in the store, if it has or gets one. Nodes that share the store tell by it who has
    /// a client id, so that there each session has one, unless the store is away.
    async fn row_for(
        &self,
        key: &SessionKey,
        request: &Request,
        existing: Option<&Arc<Session>>,
    ) -> Result<Option<Box<weir_store::Opened>>, Reason> {
        let persistent = request.expiry_seconds > 0;
        let needed = persistent || request.will.is_some() || existing.is_some_and(|s| s.row.is_some());
        if !needed && !self.broker.store().is_shared() {
            return Ok(None);
        }
        match self.open_row(key, request, existing).await {
            Err(Reason::Unavailable) if !needed => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// What the store says a resumed session subscribes to, where it is not known here.
    async fn subscribe_again(&self, realm: &Arc<Realm>, session: &Arc<Session>, opened: &weir_store::Opened) {
        let topics = self.broker.topics();
        let known: HashMap<_, _> = session.subscriptions().into_iter().collect();
        let stored: HashMap<_, _> = opened.subscriptions.iter().cloned().collect();
        let news: Vec<_> =
            opened.subscriptions.iter().filter(|(f, o)| known.get(f) != Some(o)).cloned().collect();
        let _ = topics.subscribe(realm, session, &news).await;
        let gone = known.into_keys().filter(|filter| !stored.contains_key(filter));
        let _ = topics.unsubscribe(realm, session, gone).await;
    }

    /// Another node may have opened the session while this one did: the newest fence has it. What was
    /// queued before all nodes knew where it is now, it finds by looking.
    fn settle_fence(&self, opened: &Opened) {
        let session = &opened.session;
        let mut opening = self.shard.opening.lock();
        let elsewhere = opening.take().map_or(0, |(_, fence)| fence);
        let newest =
            opened.fence.is_none_or(|fence| session.raise_fence(fence.fence) && fence.fence >= elsewhere);
        if newest {
            session.set_home(None);
        }
        drop(opening);
        if !newest {
            return self.broker.lose(session);
        }
        if session.stored.is_some() {
            self.broker.look_when_all_know(session);
        }
    }

    fn attach(
        &mut self,
        request: &Request,
        session: Arc<Session>,
        opened: Option<Box<weir_store::Opened>>,
    ) -> Opened {
        self.forget_expiry(&session, session.connection());
        session.set_identity(request.identity.clone());
        let (lost, copies) = session.attach(request.connection, request.form, request.keep_alive_ms);
        self.broker.ledger().lost_by(session.client_id(), "", Loss::ConnectionLost, lost);
        self.broker.hand_on(&request.realm, &session, copies);
        let at_once = request.will.as_ref().is_some_and(|will| will.delay_seconds == 0);
        session.set_will_at_once(at_once);
        self.wheel.watch(&session, request.connection);
        self.watch_expiry(&session);
        self.broker.admin().events.tell(|| EventKind::Connected {
            realm: session.key.realm.clone(),
            client_id: session.key.name.clone(),
        });
        if let Some(entry) = opened.as_ref().and_then(|opened| opened.fired.clone()) {
            self.broker.publish_owed(session.key.clone(), entry);
        }
        let resumed = opened.as_ref().is_some_and(|opened| opened.present);
        if session.stored.is_some() {
            self.broker.collect_shared(&request.realm, &session);
        }
        Opened {
            fence: opened.as_ref().map(|o| o.fence),
            present: resumed,
            queue: opened.as_ref().map_or(QueueEnds { head: 1, ..QueueEnds::default() }, |o| o.queue),
            received: opened.map(|o| o.received).unwrap_or_default(),
            session,
        }
    }

    /// Another session takes this client id's place.
    async fn replace(&mut self, request: &Request, old: &Arc<Session>) {
        self.forget_expiry(old, old.connection());
        old.outbox.ring(Bell::TakenOver);
        let _ = self.broker.topics().leave(&request.realm, old).await;
    }

    async fn open_row(
        &self,
        key: &SessionKey,
        request: &Request,
        existing: Option<&Arc<Session>>,
    ) -> Result<Box<weir_store::Opened>, Reason> {
        let mut ops: SmallVec<[SessionOp; 1]> = SmallVec::new();
        let fires_now = existing.filter(|s| s.is_online() && s.has_will_at_once() && !request.clean_start);
        if let Some((session, generation)) = fires_now.and_then(|s| Some((s, s.row?))) {
            ops.push(SessionOp::FireWill { generation, fence: Some(session.fence()) });
        }
        ops.push(SessionOp::Open(Open {
            owner: Some(owner::kept(&request.identity)),
            clean_start: request.clean_start || existing.is_some_and(|s| s.stored.is_none()),
            persistent: request.expiry_seconds > 0,
            expiry_seconds: request.expiry_seconds,
            will: request.will.clone(),
        }));
        let answer = self.broker.submit(vec![Step::Session { key: key.clone(), ops }]).await;
        let outcomes = answer.into_iter().next().unwrap_or(Err(Refusal::Unknown)).map_err(|r| match r {
            Refusal::NotOwner => Reason::ClientId,
            Refusal::DiskFull | Refusal::StoreFull => Reason::Quota,
            _ => Reason::Unavailable,
        })?;
        let mut opened = None;
        for outcome in outcomes {
            match outcome {
                Outcome::Opened(found) => opened = Some(found),
                Outcome::Fired(Some(entry)) => self.broker.publish_owed(key.clone(), entry),
                _ => {}
            }
        }
        opened.ok_or(Reason::Unavailable)
    }

    /// What stands in the place of a session that was opened here. If another node has opened it after
    /// this one, that one's is there, or on its way: none of this one's business.
    fn get_unless_opened_since(
        &self,
        key: &SessionKey,
        opened: Option<&weir_store::Opened>,
    ) -> Option<Arc<Session>> {
        let opening = self.shard.opening.lock();
        if is_newest(&opening, opened) { self.get(key) } else { None }
    }

    /// Puts a session in its place, with the same exception.
    fn put_unless_opened_since(&self, session: &Arc<Session>, opened: Option<&weir_store::Opened>) -> bool {
        let opening = self.shard.opening.lock();
        let newest = is_newest(&opening, opened);
        if newest {
            // Before it can be found: news of an older connection elsewhere is not about this one.
            if let Some(opened) = opened {
                session.raise_fence(opened.fence.fence);
            }
            let key = (session.key.realm.clone(), session.key.name.clone());
            self.shard.table.lock().insert(key, session.clone());
        }
        newest
    }
}

/// Whether no other node has opened a session after this one did.
fn is_newest(opening: &Option<(SessionKey, u64)>, opened: Option<&weir_store::Opened>) -> bool {
    let elsewhere = opening.as_ref().map_or(0, |(_, fence)| *fence);
    opened.is_none_or(|opened| opened.fence.fence >= elsewhere)
}
