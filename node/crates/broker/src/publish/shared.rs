//! Shared messages on their way between members: handed on when a member is lost, taken out of queues
//! when one comes (`guarantees.md` 8).

use std::sync::Arc;

use weir_model::{Filter, Message, MessageId, Qos};
use weir_store::{Page, RowState, SessionOp, Step};

use super::plan::Plan;
use crate::addressed::{Addressed, is_addressed};
use crate::broker::Broker;
use crate::fanout;
use crate::ledger::Loss;
use crate::outbox::{Claim, Live};
use crate::peers::Outgoing;
use crate::realm::Realm;
use crate::session::Session;
use crate::session::window::Held;
use crate::share::{Group, Picking, Wish};

/// Rows of a queue looked at in one read when shared messages are handed on.
const PAGE: Page = Page { rows_max: 256, bytes_max: 1 << 20 };

/// Which members of a group may have a message.
pub(super) struct Asks<'a> {
    broker: &'a Broker,
    topic: &'a str,
    addressed: Option<Addressed>,
    /// The node that is asked for members that are meant, after this one.
    next: Option<u64>,
}

impl<'a> Asks<'a> {
    pub fn of(broker: &'a Broker, group: &Group, message: &'a Message) -> Asks<'a> {
        let addressed = Addressed::of(message.properties.as_deref());
        let next = addressed.as_ref().and_then(|_| group.next_node(broker.incarnation()));
        Asks { broker, topic: &message.topic, addressed, next }
    }

    /// Whether a member may receive it, and is meant.
    pub fn may_have(&self, member: &Session) -> bool {
        let is_meant = |addressed: &Addressed| addressed.allows_member(member, self.next);
        self.addressed.as_ref().is_none_or(is_meant) && member.may_receive(self.broker.access(), self.topic)
    }

    /// Who is meant is looked for among the members here before other nodes are asked.
    pub fn wish<'w>(&self, wish: Wish<'w>) -> Wish<'w> {
        let how = if self.addressed.is_some() { Picking::Local } else { wish.how };
        Wish { how, ..wish }
    }

    pub fn is_for_some(&self) -> bool {
        self.addressed.is_some()
    }
}

impl Broker {
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
        let asks = Asks::of(self, &claim.group, &message);
        let may = |member: &Session| self.peers().reaches(member) && asks.may_have(member);
        let wish = self.wish(&message.topic, claim.number.is_some(), Some(from));
        let Some(pick) = claim.group.pick(&asks.wish(wish), may) else {
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
        if pick.session.peer.is_some() || !pick.session.is_online() {
            return self.hand_over(realm, claim, &pick.session, &delivery);
        }
        let claim = Claim { handovers: claim.handovers + 1, ..claim };
        fanout::push_copy(self, &pick.session, Live { delivery, number: None, claim: Some(claim) });
    }

    /// Sends a shared message that another member did not acknowledge to the node of the next one.
    fn hand_over(
        &self,
        realm: &Arc<Realm>,
        claim: Claim,
        to: &Arc<Session>,
        delivery: &weir_store::Delivery,
    ) {
        let mut outgoing = Outgoing::default();
        match self.peers().slot_of(to) {
            Some(slot) if to.peer.is_some() => {
                let place = (claim.number, claim.handovers + 1);
                outgoing.share(slot, &claim.group.filter, delivery, place);
                claim.number.into_iter().for_each(|number| claim.group.unclaim(number));
            }
            Some(slot) => {
                outgoing.copy(slot, to, delivery, None);
                self.ledger().restored.add(u64::from(claim.number.is_some()));
                self.group_ack(&claim);
            }
            None if claim.number.is_none() => {
                let topic = &delivery.message.topic;
                return self.ledger().lost_by(to.client_id(), topic, Loss::SharedUnclaimed, 1);
            }
            None => claim.number.into_iter().for_each(|number| claim.group.unclaim(number)),
        }
        outgoing.send(self, &realm.name, &delivery.message);
    }

    /// A shared message that lies in no queue was sent here, and nobody here can take it: it is picked for
    /// again, a bounded number of times.
    pub(crate) fn hand_on_shared(
        &self,
        realm: &Arc<Realm>,
        group: &Arc<Group>,
        message: &Arc<Message>,
        handovers: u32,
    ) {
        let (broker, realm, group, message) = (self.clone(), realm.clone(), group.clone(), message.clone());
        self.runtime().spawn(async move {
            let lost = |loss| broker.ledger().lost_by(&group.key.name, &message.topic, loss, 1);
            let most = broker.config().shared_handovers_max;
            let is_addressed = is_addressed(message.properties.as_deref());
            // One that is not for everybody has come to all nodes with members then, one after the other.
            let most = if is_addressed { most.max(group.nodes() as u32) } else { most };
            if handovers >= most {
                return lost(Loss::SharedUnclaimed);
            }
            let mut plan =
                Box::new(Plan::hand_on(&broker, &group, &message, None, None).after(handovers + 1));
            let steps = std::mem::take(&mut plan.steps);
            let answer = if steps.is_empty() { Vec::new() } else { broker.submit(steps).await };
            let Ok(plan) = plan.settle(&broker, Some(answer)) else { return lost(Loss::StoreRefused) };
            let mut outgoing = Outgoing::default();
            plan.push(&broker, &mut outgoing);
            outgoing.send(&broker, &realm.name, &message);
        });
    }

    /// A row has come into the queue of a persistent member after it was lost.
    pub(crate) fn release_late(&self, member: &Arc<Session>) {
        if let Some(realm) = self.realm(&member.key.realm) {
            self.release_shared(&realm, member);
        }
    }

    /// Gives a row of a group's queue to a clean member of this node; without one it stays there.
    pub(crate) fn hand_out_here(&self, message: &Arc<Message>, claim: Claim) {
        let here = |member: &Session| member.is_online() && member.peer.is_none();
        let asks = Asks::of(self, &claim.group, message);
        let may = |member: &Session| here(member) && asks.may_have(member);
        let wish = Wish { here: true, ..self.wish(&message.topic, false, None) };
        let Some(pick) = claim.group.pick(&wish, may) else {
            return claim.number.into_iter().for_each(|number| claim.group.unclaim(number));
        };
        let delivery = weir_store::Delivery {
            qos: message.qos.min(pick.qos),
            retain: message.retain && pick.retain_as_published,
            subscription_ids: pick.subscription_ids,
            group: Some(claim.group.filter.clone()),
            message: message.clone(),
        };
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
        let Some(generation) = member.stored else { return };
        let enqueue = weir_store::Enqueue { generation, id: None, delivery: delivery.clone() };
        let ops = [SessionOp::Enqueue(enqueue)].into_iter().collect();
        // In the order in which the group's queue has them.
        let answer = self.submit_now(vec![Step::Session { key: member.key.clone(), ops }]);
        let (broker, realm) = (self.clone(), realm.clone());
        self.runtime().spawn(async move {
            match super::plan::outcome(Some(answer.await), 0) {
                Ok(weir_store::Outcome::Enqueued { number, dropped }) => {
                    let ledger = broker.ledger();
                    ledger.restored.add(u64::from(claim.number.is_some()));
                    ledger.stored.add(1);
                    let topic = &delivery.message.topic;
                    ledger.overflowed(member.client_id(), topic, u64::from(dropped));
                    broker.tell(&realm.name, &member, delivery, number);
                    broker.group_ack(&claim);
                }
                _ => {
                    let again = Claim { handovers: claim.handovers + 1, ..claim };
                    broker.hand_on_claim(&realm, &member, delivery.message, again);
                }
            }
        });
    }

    /// What is wanted of a member of a share group.
    pub(super) fn wish<'a>(&self, topic: &'a str, durable: bool, not: Option<&'a Arc<Session>>) -> Wish<'a> {
        Wish { how: self.config().shared_picking, durable, not, topic, here: false }
    }

    /// Gives the live copy of a row to whoever has its session.
    fn tell(&self, realm: &Arc<str>, member: &Arc<Session>, delivery: weir_store::Delivery, number: u64) {
        if member.is_online() {
            fanout::push_copy(self, member, Live { delivery, number: Some(number), claim: None });
        } else if let Some(slot) = self.peers().slot_of(member) {
            let mut outgoing = Outgoing::default();
            outgoing.copy(slot, member, &delivery, Some(number));
            outgoing.send(self, realm, &delivery.message);
        }
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

    /// A node is lost: what its clean members held of groups' queues is for others. One of the nodes that
    /// are left sees to it.
    pub(crate) fn collect_after(&self, lost: &[(Arc<Realm>, Filter)]) {
        if !self.peers().is_oldest(self.incarnation()) {
            return;
        }
        for (realm, filter) in lost.iter().filter(|(_, filter)| filter.share().is_some()) {
            if let Some(group) = realm.routes.group(filter).filter(|group| group.keeps()) {
                self.drain_later(group);
            }
        }
    }

    /// A persistent member has gone: shared messages in its queue go to members that are online.
    pub fn release_shared(&self, realm: &Arc<Realm>, member: &Arc<Session>) {
        for group in self.groups_of(realm, member) {
            if group.pick(&self.wish("", true, Some(member)), |other| self.peers().reaches(other)).is_some() {
                let (broker, realm, member) = (self.clone(), realm.clone(), member.clone());
                self.runtime()
                    .spawn(async move { broker.move_rows(&realm, &member, &group.filter, 0).await });
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
                let gone = |s: &Arc<Session>| !s.is_online() && s.home().is_none();
                let away = |s: &Arc<Session>| gone(s) && !Arc::ptr_eq(s, &member);
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
                let asks = Asks::of(self, group, &delivery.message);
                let may = |member: &Session| self.peers().serves(member) && asks.may_have(member);
                match group.pick(&self.wish(&delivery.message.topic, true, None), may) {
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
                    // Others may be meant by those behind it.
                    None if asks.is_for_some() => group.unclaim(row.number),
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
            if !from.is_attached_to(connection) || from.home().is_some() {
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

    /// A row of a member's own queue that it may not have any more: if it came by a group, another
    /// member gets it, or the group's queue. False when there is no such group: then nothing is done.
    pub fn hand_on_row(
        &self,
        realm: &Arc<Realm>,
        from: &Arc<Session>,
        number: u64,
        delivery: &weir_store::Delivery,
    ) -> bool {
        let Some(group) = delivery.group.as_ref().and_then(|filter| realm.routes.group(filter)) else {
            return false;
        };
        let (broker, realm, from) = (self.clone(), realm.clone(), from.clone());
        self.runtime().spawn(async move {
            let _moving = group.moving.lock().await;
            let page = Page { rows_max: 1, ..PAGE };
            let Ok(rows) = broker.store().read_queue(from.key.clone(), number - 1, page).await else {
                return;
            };
            // Whoever had the group before may have moved it already.
            if let Some(row) = rows.into_iter().find(|row| row.number == number)
                && let RowState::Waiting(delivery) = row.state
            {
                broker.move_row(&realm, &from, &group.filter, number, delivery).await;
            }
        });
        true
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
        let mut plan = Box::new(Plan::hand_on(self, &group, &delivery.message, Some(id), Some(from)));
        let steps = std::mem::take(&mut plan.steps);
        let answer = if steps.is_empty() { Vec::new() } else { self.submit(steps).await };
        if let Ok(plan) = plan.settle(self, Some(answer)) {
            // What goes to another queue, or to a member, is taken from this one.
            let mut outgoing = Outgoing::default();
            let copies = plan.push(self, &mut outgoing);
            self.ledger().restored.add(copies + outgoing.send(self, &realm.name, &delivery.message));
            let ops = [SessionOp::GroupAck { number }].into_iter().collect();
            self.submit(vec![Step::Session { key: from.key.clone(), ops }]).await;
        }
    }
}
