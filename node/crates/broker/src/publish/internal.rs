//! What the broker itself publishes: wills, delayed messages, shared messages handed on. The same
//! door, with an id that is the same at every try.

use std::sync::Arc;

use tokio::sync::oneshot;
use weir_model::{Filter, Message, MessageId, Principal, Qos};
use weir_store::{Answer, OutboxEntry, Page, RowState, SessionKey, SessionOp, Step};

use super::plan::Plan;
use crate::broker::Broker;
use crate::fanout;
use crate::ledger::{Loss, Refused};
use crate::outbox::{Claim, Live};
use crate::realm::Realm;
use crate::session::Session;
use crate::session::window::Held;
use crate::share::Group;

/// Rows of a queue looked at in one read when shared messages are handed on.
const PAGE: Page = Page { rows_max: 256, bytes_max: 1 << 20 };

impl Broker {
    /// Submits steps and waits for the answer; a store that never answers is an empty one.
    pub async fn submit(&self, steps: Vec<Step>) -> Answer {
        let (done, answer) = oneshot::channel();
        self.store().submit(steps, Box::new(move |answer| drop(done.send(answer))));
        answer.await.unwrap_or_default()
    }

    /// Publishes a message the broker owes; false when the store did not take it.
    pub async fn publish(&self, realm: &Arc<Realm>, message: &Arc<Message>, id: Option<MessageId>) -> bool {
        self.ledger().received.add(1);
        let matched = self.find(realm, &message.topic).await;
        let mut plan = Box::new(Plan::new(self.access(), realm, message, &matched, None, id));
        let steps = std::mem::take(&mut plan.steps);
        let answer = if steps.is_empty() { Vec::new() } else { self.submit(steps).await };
        let plan = match plan.settle(self, Some(answer)) {
            Ok(plan) => plan,
            Err(refusal) => {
                tracing::warn!(%refusal, "a message of the broker's own was not kept");
                self.ledger().refuse(refusal.into());
                return false;
            }
        };
        let matched = self.find(realm, &message.topic).await;
        let copies = fanout::deliver(self, message, &matched, None) + plan.push(self);
        self.ledger().accepted.add(1);
        self.ledger().matched.add(copies);
        self.ledger().unmatched.add(u64::from(copies == 0));
        true
    }

    /// Publishes an outbox entry of a session (its will), then forgets it there.
    pub fn publish_owed(&self, key: SessionKey, entry: OutboxEntry) {
        let broker = self.clone();
        let owner = self.sessions().find(&key.realm, &key.name).and_then(|session| session.identity());
        tokio::spawn(async move {
            let Some(realm) = broker.realm(&key.realm) else { return };
            broker.wills().acquire().await;
            if owner.is_some_and(|owner| !broker.may_publish(&owner.principal, &entry.message)) {
                broker.ledger().received.add(1);
                broker.ledger().refuse(Refused::Denied);
                broker.owed_done(key, entry.entry).await;
            } else if broker.publish(&realm, &entry.message, Some(entry.id)).await {
                broker.owed_done(key, entry.entry).await;
            }
        });
    }

    /// Whether a message that waited for its time may still be published by whom it is from.
    fn may_publish(&self, principal: &Principal, message: &Message) -> bool {
        self.access().publish_rights(principal, &message.topic).allows(message.qos, message.retain)
    }

    async fn owed_done(&self, key: SessionKey, entry: u64) {
        let op = SessionOp::OutboxDone { entry };
        self.submit(vec![Step::Session { key, ops: [op].into_iter().collect() }]).await;
    }

    /// Copies a lost connection left in its outbox: shared ones go to other members, ones that lie
    /// in a stored queue stay there, the rest is lost with its clean session.
    pub fn hand_on(&self, realm: &Arc<Realm>, from: &Arc<Session>, copies: Vec<Live>) {
        for live in copies {
            let message = live.delivery.message;
            match live.claim {
                Some(claim) => self.hand_on_claim(realm, from, message, claim),
                None if live.number.is_none() => {
                    self.ledger().lost_by(from.client_id(), &message.topic, Loss::ConnectionLost, 1);
                }
                None => {}
            }
        }
    }

    /// Shared messages that a lost connection was sent and did not acknowledge. Of QoS 2 they stay with
    /// their member and end with its clean session (MQTT-4.8.2-4).
    pub fn take_back(&self, realm: &Arc<Realm>, from: &Arc<Session>, held: Vec<Held>) {
        for Held { delivery, claim } in held {
            if delivery.qos == Qos::ExactlyOnce {
                self.group_ack(&claim);
                continue;
            }
            self.ledger().returned.add(u64::from(claim.number.is_none()));
            self.hand_on_claim(realm, from, delivery.message, claim);
        }
    }

    /// A member did not acknowledge a shared message: another one gets it, a bounded number of times.
    pub fn hand_on_claim(
        &self,
        realm: &Arc<Realm>,
        from: &Arc<Session>,
        message: Arc<Message>,
        claim: Claim,
    ) {
        if claim.handovers >= self.config().shared_handovers_max {
            self.ledger().restored.add(u64::from(claim.number.is_some()));
            self.ledger().lost_by(from.client_id(), &message.topic, Loss::SharedUnclaimed, 1);
            self.group_ack(&claim);
            return;
        }
        let may = |member: &Session| member.may_receive(self.access(), &message.topic);
        let Some(pick) = claim.group.pick(claim.number.is_some(), Some(from), may) else {
            match claim.number {
                Some(number) => claim.group.unclaim(number),
                None => {
                    self.ledger().lost_by(from.client_id(), &message.topic, Loss::SharedUnclaimed, 1);
                }
            }
            return;
        };
        let delivery = weir_store::Delivery {
            qos: message.qos.min(pick.qos),
            retain: message.retain && pick.retain_as_published,
            subscription_ids: pick.subscription_ids,
            group: Some(claim.group.filter.clone()),
            message,
        };
        if pick.session.stored.is_some() && delivery.qos > Qos::AtMostOnce {
            self.move_to_member(realm, claim, pick.session, delivery);
            return;
        }
        let claim = Claim { handovers: claim.handovers + 1, ..claim };
        fanout::push_copy(self, &pick.session, Live { delivery, number: None, claim: Some(claim) });
    }

    /// Puts a shared message in a persistent member's own queue, then takes it out of the group's.
    fn move_to_member(
        &self,
        realm: &Arc<Realm>,
        claim: Claim,
        member: Arc<Session>,
        delivery: weir_store::Delivery,
    ) {
        let (broker, realm) = (self.clone(), realm.clone());
        self.runtime().spawn(async move {
            let Some(generation) = member.stored else { return };
            let enqueue = weir_store::Enqueue { generation, id: None, delivery: delivery.clone() };
            let ops = [SessionOp::Enqueue(enqueue)].into_iter().collect();
            let answer = broker.submit(vec![Step::Session { key: member.key.clone(), ops }]).await;
            match super::plan::outcome(Some(answer), 0) {
                Ok(weir_store::Outcome::Enqueued { number, dropped }) => {
                    let ledger = broker.ledger();
                    ledger.restored.add(u64::from(claim.number.is_some()));
                    ledger.stored.add(1);
                    let topic = &delivery.message.topic;
                    ledger.overflowed(member.client_id(), topic, u64::from(dropped));
                    fanout::push_copy(&broker, &member, Live { delivery, number: Some(number), claim: None });
                    broker.group_ack(&claim);
                }
                _ => {
                    let again = Claim { handovers: claim.handovers + 1, ..claim };
                    broker.hand_on_claim(&realm, &member, delivery.message, again);
                }
            }
        });
    }

    /// A shared message was acknowledged, or given up: it leaves the group's queue.
    pub fn group_ack(&self, claim: &Claim) {
        let Some(number) = claim.number else { return };
        let (broker, group) = (self.clone(), claim.group.clone());
        let ops = [SessionOp::GroupAck { number }].into_iter().collect();
        let gone = move |_| {
            group.unclaim(number);
            if group.wants_draining() {
                broker.drain_later(group);
            }
        };
        self.store().submit(vec![Step::Session { key: claim.group.key.clone(), ops }], Box::new(gone));
    }

    /// Goes on handing out a group's queue; may be called from a thread of the store.
    pub(super) fn drain_later(&self, group: Arc<Group>) {
        let (broker, runtime) = (self.clone(), self.runtime().clone());
        runtime.spawn(async move {
            if let Some(realm) = broker.realm(&group.key.realm) {
                broker.drain_group(&realm, &group).await;
            }
        });
    }

    /// A persistent member has gone: shared messages in its queue go to members that are online.
    pub fn release_shared(&self, realm: &Arc<Realm>, member: &Arc<Session>) {
        for group in self.groups_of(realm, member) {
            if group.pick(true, Some(member), |_| true).is_some() {
                let (broker, realm, member) = (self.clone(), realm.clone(), member.clone());
                tokio::spawn(async move { broker.move_rows(&realm, &member, &group.filter, 0).await });
            }
        }
    }

    /// A persistent member's session is about to end: shared messages in its queue go to other
    /// members, or to the group's own queue while those are away.
    pub async fn bequeath_shared(&self, realm: &Arc<Realm>, member: &Arc<Session>) {
        let connection = member.connection();
        for group in self.groups_of(realm, member) {
            if group.members().len() > 1 {
                self.move_rows(realm, member, &group.filter, connection).await;
            }
        }
    }

    /// A member came: what lies in its groups' queues, or with members that are away, is for it.
    pub fn collect_shared(&self, realm: &Arc<Realm>, member: &Arc<Session>) {
        for group in self.groups_of(realm, member) {
            let (broker, realm, member) = (self.clone(), realm.clone(), member.clone());
            tokio::spawn(async move {
                broker.drain_group(&realm, &group).await;
                let away = |s: &Arc<Session>| !s.is_online() && !Arc::ptr_eq(s, &member);
                for other in group.members().into_iter().filter(away) {
                    broker.move_rows(&realm, &other, &group.filter, 0).await;
                }
            });
        }
    }

    fn groups_of(&self, realm: &Arc<Realm>, member: &Arc<Session>) -> Vec<Arc<Group>> {
        let subscriptions = member.subscriptions();
        let shared = subscriptions.iter().filter(|(filter, _)| filter.share().is_some());
        shared.filter_map(|(filter, _)| realm.routes.group(filter)).collect()
    }

    /// Hands everything in a group's queue to its members.
    async fn drain_group(&self, realm: &Arc<Realm>, group: &Arc<Group>) {
        let _moving = group.moving.lock().await;
        let mut after = 0;
        loop {
            let Ok(rows) = self.store().read_queue(group.key.clone(), after, PAGE).await else { return };
            let Some(last) = rows.last() else { return };
            after = last.number;
            for row in rows {
                let RowState::Waiting(delivery) = row.state else { continue };
                if !group.claim(row.number) {
                    continue;
                }
                let claim = Claim { group: group.clone(), number: Some(row.number), handovers: 0 };
                let may = |member: &Session| member.may_receive(self.access(), &delivery.message.topic);
                match group.pick(true, None, may) {
                    Some(pick) => {
                        let delivery = weir_store::Delivery {
                            qos: delivery.message.qos.min(pick.qos),
                            retain: delivery.message.retain && pick.retain_as_published,
                            subscription_ids: pick.subscription_ids,
                            ..delivery
                        };
                        if pick.session.stored.is_some() && delivery.qos > Qos::AtMostOnce {
                            self.move_to_member(realm, claim, pick.session, delivery);
                            continue;
                        }
                        if !pick.session.outbox.has_room(self.limits()) {
                            return group.leave_in_queue(row.number);
                        }
                        fanout::push_copy(
                            self,
                            &pick.session,
                            Live { delivery, number: None, claim: Some(claim) },
                        );
                    }
                    None => return group.unclaim(row.number),
                }
            }
        }
    }

    /// Moves rows of one group from a member's queue to others, as long as the member has this
    /// connection (0 = none). QoS 2 rows stay: they may have been sent (MQTT-4.8.2-4).
    async fn move_rows(&self, realm: &Arc<Realm>, from: &Arc<Session>, filter: &Filter, connection: u64) {
        let Some(group) = realm.routes.group(filter) else { return };
        let _moving = group.moving.lock().await;
        let mut after = 0;
        loop {
            let Ok(rows) = self.store().read_queue(from.key.clone(), after, PAGE).await else { return };
            let Some(last) = rows.last() else { return };
            after = last.number;
            if !from.is_attached_to(connection) {
                return;
            }
            let moves = rows.into_iter().filter_map(|row| match row.state {
                RowState::Waiting(delivery)
                    if delivery.group.as_ref() == Some(filter) && delivery.qos < Qos::ExactlyOnce =>
                {
                    Some(self.move_row(realm, from, filter, row.number, delivery))
                }
                _ => None,
            });
            // All of a page at once, so that they share their commits.
            futures_util::future::join_all(moves).await;
        }
    }

    async fn move_row(
        &self,
        realm: &Arc<Realm>,
        from: &Arc<Session>,
        filter: &Filter,
        number: u64,
        delivery: weir_store::Delivery,
    ) {
        let (Some(group), Some(generation)) = (realm.routes.group(filter), from.stored) else { return };
        let id = MessageId::outbox(generation, number);
        let mut plan =
            Box::new(Plan::hand_on(self.access(), &group, &delivery.message, Some(id), Some(from)));
        let steps = std::mem::take(&mut plan.steps);
        let answer = if steps.is_empty() { Vec::new() } else { self.submit(steps).await };
        if let Ok(plan) = plan.settle(self, Some(answer)) {
            // What goes to another queue, or to a member, is taken from this one.
            self.ledger().restored.add(plan.push(self));
            let ops = [SessionOp::GroupAck { number }].into_iter().collect();
            self.submit(vec![Step::Session { key: from.key.clone(), ops }]).await;
        }
    }
}
