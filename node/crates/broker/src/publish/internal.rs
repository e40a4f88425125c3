//! What the broker itself publishes: wills and delayed messages. The same door, with an id that is the
//! same at every try.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;
use weir_model::{Message, MessageId, Principal};
use weir_store::{Answer, Level, OutboxEntry, Refusal, SessionKey, SessionOp, Step};

use super::cache::is_broker_only;
use super::matches::Matches;
use super::plan::Plan;
use crate::binding::Hook;
use crate::binding::middleware::Who;
use crate::broker::Broker;
use crate::fanout;
use crate::form::Publish;
use crate::ledger::Refused;
use crate::limited::Limit;
use crate::peers::Outgoing;
use crate::realm::Realm;
use crate::routes::Matched;
use crate::session::owner;
use crate::stream::group::fault;
use crate::stream::history;
use crate::sync::ask::{Asking, Request};
use crate::sync::ticket::Decided;

/// Messages submitted together; and their bytes, beyond which no further one goes along.
const TOGETHER_MAX: usize = 256;
const TOGETHER_BYTES_MAX: usize = 1 << 20;

/// A message that is on its way to the store, who wants it, and how many steps it takes there.
struct UnderWay {
    message: Arc<Message>,
    matched: Arc<Matched>,
    plan: Box<Plan>,
    steps: usize,
}

impl Broker {
    /// Submits steps and waits for the answer; a store that never answers is an empty one.
    pub async fn submit(&self, steps: Vec<Step>) -> Answer {
        self.submit_now(steps).await
    }

    /// The same, answered at another level than the store's own.
    pub(crate) async fn submit_at(&self, steps: Vec<Step>, level: Option<Level>) -> Answer {
        self.submitting(steps, level).await
    }

    /// The same, submitted before anybody waits for it: what one caller submits for a family is applied in that order.
    pub fn submit_now(&self, steps: Vec<Step>) -> impl Future<Output = Answer> + Send + use<> {
        self.submitting(steps, None)
    }

    fn submitting(
        &self,
        steps: Vec<Step>,
        level: Option<Level>,
    ) -> impl Future<Output = Answer> + Send + use<> {
        let (done, answer) = oneshot::channel();
        self.store().submit_at(steps, level, Box::new(move |answer| drop(done.send(answer))));
        async move { answer.await.unwrap_or_default() }
    }

    /// Publishes a message the broker owes; false when the store did not take it.
    pub async fn publish(&self, realm: &Arc<Realm>, message: &Arc<Message>, id: Option<MessageId>) -> bool {
        let mut steps = Vec::new();
        let matched = self.find(realm, &message.topic).await;
        let under_way = self.begin(realm, (message, matched), id, &mut steps);
        let answer = if steps.is_empty() { Vec::new() } else { self.submit(steps).await };
        self.finish(realm, under_way, answer).await.is_ok()
    }

    /// Publishes messages the broker owes, in order. What they owe to the store is submitted together, as much as may
    /// be. Ends when the store does not take one, with those that were submitted by then; says how many came before it,
    /// and why it was not taken.
    pub async fn publish_owed_all(
        &self,
        realm: &Arc<Realm>,
        owed: &[(MessageId, Arc<Message>)],
    ) -> (usize, Option<Refusal>) {
        let mut matches = Matches::default();
        let (mut published, mut refused) = (0, None);
        let mut owed = owed.iter();
        while refused.is_none() && owed.len() > 0 {
            let (mut under_way, mut steps, mut bytes) = (VecDeque::new(), Vec::new(), 0);
            while under_way.len() < TOGETHER_MAX
                && bytes < TOGETHER_BYTES_MAX
                && let Some((id, message)) = owed.next()
            {
                bytes += message.size_bytes();
                let matched = matches.find(self, realm, &message.topic).await;
                under_way.push_back(self.begin(realm, (message, matched), Some(*id), &mut steps));
            }
            let answer = if steps.is_empty() { Vec::new() } else { self.submit(steps).await };
            let mut answer = answer.into_iter();
            while let Some(first) = under_way.pop_front() {
                let own = answer.by_ref().take(first.steps).collect();
                refused = refused.or(self.finish(realm, first, own).await.err());
                published += usize::from(refused.is_none());
                fault::reach_if(!under_way.is_empty(), "outputs.between");
            }
        }
        (published, refused)
    }

    /// What a message owes to the store is added to `steps`.
    fn begin(
        &self,
        realm: &Arc<Realm>,
        (message, matched): (&Arc<Message>, Arc<Matched>),
        id: Option<MessageId>,
        steps: &mut Vec<Step>,
    ) -> UnderWay {
        self.ledger().received.add(1);
        let recorded = history::numbered(message, &matched, None);
        let message = recorded.as_ref().unwrap_or(message);
        let mut plan = Box::new(Plan::new(self, realm, message, &matched, None, id));
        let before = steps.len();
        // What is merged with its topic's value is decided at its desk.
        if message.retain && realm.merges() {
            plan.steps.clear();
        }
        steps.append(&mut plan.steps);
        UnderWay { message: message.clone(), matched, plan, steps: steps.len() - before }
    }

    async fn finish(&self, realm: &Arc<Realm>, under_way: UnderWay, answer: Answer) -> Result<(), Refusal> {
        let UnderWay { message, matched, plan, .. } = under_way;
        let message = &message;
        let id = plan.id();
        if message.retain && realm.merges() {
            return self.publish_guarded(realm, message, id).await;
        }
        let settled = match plan.settle(self, Some(answer)) {
            Ok(mut plan) => match plan.again(message, None) {
                Some(again) => plan.settle(self, Some(again.submit(self).await)),
                None => Ok(plan),
            },
            Err(refusal) => Err(refusal),
        };
        let plan = match settled {
            Ok(plan) => plan,
            // Somebody waits at the topic, or has left a will there.
            Err(Refusal::Guarded) => return self.publish_guarded(realm, message, id).await,
            Err(refusal) => {
                tracing::warn!(%refusal, "a message of the broker's own was not kept");
                self.ledger().refuse(refusal.into());
                return Err(refusal);
            }
        };
        // Who has subscribed since gets it, too.
        let is_current =
            matched.access_version == self.access().version() && realm.routes.is_current(matched.generations);
        let matched = if is_current { matched } else { self.find(realm, &message.topic).await };
        let mut outgoing = Outgoing::of(plan.position);
        let kept = (message, plan.position);
        let mut copies = fanout::deliver_kept(self, realm, kept, &matched, None, Some(&mut outgoing));
        copies += fanout::correct(self, realm, (message, plan.position), &matched);
        copies += plan.push(self, &mut outgoing);
        copies += outgoing.send(self, &realm.name, message);
        matched.live.iter().for_each(|live| live.offer(message));
        self.ledger().accepted.add(1);
        self.ledger().matched.add(copies);
        self.ledger().unmatched.add(u64::from(copies == 0));
        Ok(())
    }

    /// Publishes a message at a topic whose value is decided at its desk.
    async fn publish_guarded(
        &self,
        realm: &Arc<Realm>,
        message: &Arc<Message>,
        id: Option<MessageId>,
    ) -> Result<(), Refusal> {
        let (conditions, session, level) = (None, None, None);
        let asking = Asking { message, conditions, session, id, request: Request::Once, level };
        let copies = match self.decide(realm, asking).decided().await {
            Decided::Accepted { copies, .. } => copies,
            Decided::Refused(reason) => {
                self.ledger().refuse(reason.into());
                return Err(Refusal::Unavailable);
            }
            Decided::Lost => {
                self.ledger().refuse(Refused::Unknown);
                return Err(Refusal::Unknown);
            }
        };
        self.ledger().accepted.add(1);
        self.ledger().matched.add(copies);
        self.ledger().unmatched.add(u64::from(copies == 0));
        Ok(())
    }

    /// Publishes an outbox entry of a session (its will), then forgets it there. Whether its owner may is
    /// judged now, by who that is now.
    pub fn publish_owed(&self, key: SessionKey, entry: OutboxEntry) {
        let broker = self.clone();
        tokio::spawn(async move {
            let realm = broker.realm_or_new(&key.realm);
            if !broker.wills().try_acquire() {
                broker.limited(Limit::Wills);
                broker.wills().acquire().await;
            }
            match broker.will_now(&realm, &key, &entry).await {
                Ok(message) if !broker.publish(&realm, &message, Some(entry.id)).await => return,
                Ok(_) => {}
                Err(refused) => {
                    broker.ledger().received.add(1);
                    broker.ledger().refuse(refused);
                }
            }
            broker.owed_done(key, entry.entry).await;
        });
    }

    /// A will as it may be published now: as its owner may, and as middleware leaves it.
    async fn will_now(
        &self,
        realm: &Realm,
        key: &SessionKey,
        entry: &OutboxEntry,
    ) -> Result<Arc<Message>, Refused> {
        let may = |message: &Message| match self.may_still_publish(&key.realm, entry, message) {
            true => Ok(()),
            false => Err(Refused::Denied),
        };
        let (message, middleware) = (&entry.message, &realm.middleware);
        may(message)?;
        if !middleware.wants(Hook::Authorize) && !middleware.wants(Hook::Publish) {
            return Ok(message.clone());
        }
        middleware.ready().await;
        let session = self.sessions().find(&key.realm, &key.name);
        let protocol = self.form(session.map_or(0, |session| session.form())).protocol();
        let user = entry.owner.as_ref().and_then(|owner| owner.principal.user_id.as_deref());
        let who = Who { client_id: &key.name, user, realm: &key.realm, protocol, address: None };
        let authorized = |topic: &str| match middleware.wants(Hook::Authorize) {
            true => {
                middleware.on_publish_to(&who, topic).refusal.map_or(Ok(()), |_| Err(Refused::Middleware))
            }
            false => Ok(()),
        };
        authorized(&message.topic)?;
        if !middleware.wants(Hook::Publish) {
            return Ok(message.clone());
        }
        let publish = Publish { qos: message.qos, ..fanout::borrowed(message) };
        let altered = middleware.on_publish(self, &who, &message.topic, &publish);
        let Some(altered) = altered.map_err(|_| Refused::Middleware)? else { return Ok(message.clone()) };
        let message = altered.instead_of(message);
        if is_broker_only(&message.topic) {
            return Err(Refused::Denied);
        }
        may(&message)?;
        authorized(&message.topic)?;
        Ok(message)
    }

    /// Whether a message that waited for its time may still be published by whom it is from. Of an owner
    /// that the store does not know whole, it was asked when the message came, and that holds.
    fn may_still_publish(&self, realm: &Arc<str>, entry: &OutboxEntry, message: &Message) -> bool {
        let Some(identity) = entry.owner.as_ref().and_then(|owner| owner::known(owner, realm)) else {
            return true;
        };
        let rights = |principal: &Principal| self.access().publish_rights(principal, &message.topic);
        self.access().now(&identity).is_some_and(|now| rights(&now).allows(message.qos, message.retain))
    }

    async fn owed_done(&self, key: SessionKey, entry: u64) {
        let op = SessionOp::OutboxDone { entry };
        self.submit(vec![Step::Session { key, ops: [op].into_iter().collect() }]).await;
    }
}
