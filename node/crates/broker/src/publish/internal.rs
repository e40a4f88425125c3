//! What the broker itself publishes: wills and delayed messages. The same door, with an id that is the
//! same at every try.

use std::sync::Arc;

use tokio::sync::oneshot;
use weir_model::{Message, MessageId, Principal};
use weir_store::{Answer, OutboxEntry, SessionKey, SessionOp, Step};

use super::plan::Plan;
use crate::broker::Broker;
use crate::fanout;
use crate::ledger::Refused;
use crate::limited::Limit;
use crate::peers::Outgoing;
use crate::realm::Realm;
use crate::session::owner;

impl Broker {
    /// Submits steps and waits for the answer; a store that never answers is an empty one.
    pub async fn submit(&self, steps: Vec<Step>) -> Answer {
        self.submit_now(steps).await
    }

    /// The same, submitted before anybody waits for it: what one caller submits for a family is applied in that order.
    pub fn submit_now(&self, steps: Vec<Step>) -> impl Future<Output = Answer> + Send + use<> {
        let (done, answer) = oneshot::channel();
        self.store().submit(steps, Box::new(move |answer| drop(done.send(answer))));
        async move { answer.await.unwrap_or_default() }
    }

    /// Publishes a message the broker owes; false when the store did not take it.
    pub async fn publish(&self, realm: &Arc<Realm>, message: &Arc<Message>, id: Option<MessageId>) -> bool {
        self.ledger().received.add(1);
        let matched = self.find(realm, &message.topic).await;
        let mut plan = Box::new(Plan::new(self, realm, message, &matched, None, id));
        let steps = std::mem::take(&mut plan.steps);
        let answer = if steps.is_empty() { Vec::new() } else { self.submit(steps).await };
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
