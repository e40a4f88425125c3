//! What the broker itself publishes: wills and delayed messages. The same door, with an id that is the
//! same at every try.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use weir_model::{Message, MessageId, Principal};
use weir_store::{Answer, Level, OutboxEntry, SessionKey, SessionOp, Step};

use super::plan::Plan;
use crate::broker::Broker;
use crate::fanout;
use crate::ledger::Refused;
use crate::limited::Limit;
use crate::peers::Outgoing;
use crate::realm::Realm;
use crate::session::owner;

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
        self.finish(realm, message, under_way).await
    }

    /// Publishes messages the broker owes, in order: what one of them owes to the store is submitted before the next
    /// one's. Ends when the store does not take one, with those that were submitted by then; says how many came before
    /// it.
    pub async fn publish_owed_all<'a>(
        &self,
        realm: &Arc<Realm>,
        owed: impl Iterator<Item = (MessageId, &'a Arc<Message>)>,
    ) -> usize {
        let mut under_way = VecDeque::new();
        let (mut published, mut is_refused) = (0, false);
        let mut owed = owed.fuse();
        loop {
            while !is_refused
                && under_way.len() < UNDER_WAY_MAX
                && let Some((id, message)) = owed.next()
            {
                under_way.push_back((message, self.begin(realm, message, Some(id)).await));
            }
            let Some((message, first)) = under_way.pop_front() else { return published };
            is_refused |= !self.finish(realm, message, first).await;
            published += usize::from(!is_refused);
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

    async fn finish(&self, realm: &Arc<Realm>, message: &Arc<Message>, under_way: UnderWay) -> bool {
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
                return false;
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
        true
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
            if !broker.may_still_publish(&key.realm, &entry) {
                broker.ledger().received.add(1);
                broker.ledger().refuse(Refused::Denied);
                broker.owed_done(key, entry.entry).await;
            } else if broker.publish(&realm, &entry.message, Some(entry.id)).await {
                broker.owed_done(key, entry.entry).await;
            }
        });
    }

    /// Whether a message that waited for its time may still be published by whom it is from. Of an owner
    /// that the store does not know whole, it was asked when the message came, and that holds.
    fn may_still_publish(&self, realm: &Arc<str>, entry: &OutboxEntry) -> bool {
        let Some(identity) = entry.owner.as_ref().and_then(|owner| owner::known(owner, realm)) else {
            return true;
        };
        let message = &entry.message;
        let rights = |principal: &Principal| self.access().publish_rights(principal, &message.topic);
        self.access().now(&identity).is_some_and(|now| rights(&now).allows(message.qos, message.retain))
    }

    async fn owed_done(&self, key: SessionKey, entry: u64) {
        let op = SessionOp::OutboxDone { entry };
        self.submit(vec![Step::Session { key, ops: [op].into_iter().collect() }]).await;
    }
}
