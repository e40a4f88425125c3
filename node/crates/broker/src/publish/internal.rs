//! What the broker itself publishes: wills and delayed messages. The same door, with an id that is the
//! same at every try.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use weir_model::{Message, MessageId, Principal};
use weir_store::{Answer, Level, OutboxEntry, Refusal, SessionKey, SessionOp, Step};

use super::cache::is_broker_only;
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
use crate::session::owner;
use crate::stream::group::fault;

/// Messages of one caller that are submitted and not answered.
const UNDER_WAY_MAX: usize = 256;

/// A message that is on its way to the store; `None` = it owes it nothing.
struct UnderWay {
    plan: Box<Plan>,
    answer: Option<BoxFuture<'static, Answer>>,
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
        let under_way = self.begin(realm, message, id).await;
        self.finish(realm, message, under_way).await.is_ok()
    }

    /// Publishes messages the broker owes, in order: what one of them owes to the store is submitted before the next
    /// one's. Ends when the store does not take one, with those that were submitted by then; says how many came before
    /// it, and why it was not taken.
    pub async fn publish_owed_all<'a>(
        &self,
        realm: &Arc<Realm>,
        owed: impl Iterator<Item = (MessageId, &'a Arc<Message>)>,
    ) -> (usize, Option<Refusal>) {
        let mut under_way = VecDeque::new();
        let (mut published, mut refused) = (0, None);
        let mut owed = owed.fuse();
        loop {
            while refused.is_none()
                && under_way.len() < UNDER_WAY_MAX
                && let Some((id, message)) = owed.next()
            {
                under_way.push_back((message, self.begin(realm, message, Some(id)).await));
            }
            let Some((message, first)) = under_way.pop_front() else { return (published, refused) };
            let answer = self.finish(realm, message, first).await;
            refused = refused.or(answer.err());
            published += usize::from(refused.is_none());
            fault::reach_if(!under_way.is_empty(), "outputs.between");
        }
    }

    async fn begin(&self, realm: &Arc<Realm>, message: &Arc<Message>, id: Option<MessageId>) -> UnderWay {
        self.ledger().received.add(1);
        let matched = self.find(realm, &message.topic).await;
        let mut plan = Box::new(Plan::new(self, realm, message, &matched, None, id));
        let steps = std::mem::take(&mut plan.steps);
        let answer = (!steps.is_empty()).then(|| self.submit_now(steps).boxed());
        UnderWay { plan, answer }
    }

    async fn finish(
        &self,
        realm: &Arc<Realm>,
        message: &Arc<Message>,
        under_way: UnderWay,
    ) -> Result<(), Refusal> {
        let UnderWay { plan, answer } = under_way;
        let answer = if let Some(answer) = answer { answer.await } else { Vec::new() };
        let settled = match plan.settle(self, Some(answer)) {
            Ok(mut plan) => match plan.again(message, None) {
                Some(again) => plan.settle(self, Some(again.submit(self).await)),
                None => Ok(plan),
            },
            Err(refusal) => Err(refusal),
        };
        let plan = match settled {
            Ok(plan) => plan,
            Err(refusal) => {
                tracing::warn!(%refusal, "a message of the broker's own was not kept");
                self.ledger().refuse(refusal.into());
                return Err(refusal);
            }
        };
        let matched = self.find(realm, &message.topic).await;
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
