//! What comes over the links: messages for this node's own receivers, and what peers want.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use metrics::counter;
use weir_cluster::record::{self, Incoming, IncomingNumbered, Records};
use weir_cluster::{Control, Digest, InterestChange, InterestChanges, Link};
use weir_model::{Filter, Message, Position, Qos, Topic};
use weir_store::Delivery;

use crate::addressed::is_addressed;
use crate::binding::Hook;
use crate::broker::Broker;
use crate::clock;
use crate::fanout::{self, Frames, Run};
use crate::form::Publish;
use crate::ledger::{Loss, Tally};
use crate::outbox::{Bell, Claim, Live};
use crate::publish::plan::Plan;
use crate::realm::Realm;
use crate::routes::Matched;
use crate::session::Session;

/// How long after the store was away it is asked again.
const CAUGHT_UP_AGAIN: std::time::Duration = std::time::Duration::from_millis(100);

/// Realms that peers may bring into being here.
const REALMS_MAX: usize = 1024;

/// Takes what peers send to this node.
pub struct Inbox(pub Broker);

/// One block of records on its way to receivers here.
struct Intake<'a> {
    broker: &'a Broker,
    run: Run,
    tally: Tally,
    /// What the topic of the record before matched.
    known: Option<(Arc<Realm>, Arc<Matched>)>,
    /// The last retained value that was delivered, until it is known whether it was late.
    kept: Option<(Arc<Message>, Position)>,
}

impl Intake<'_> {
    fn take(&mut self, record: &Incoming<'_>) {
        if !record.same_topic {
            self.turn_to(record);
        }
        let named = record.only_named || record.numbered.clone().next().is_some();
        let asks = |(realm, _): &(Arc<Realm>, _)| realm.middleware.wants_of(Hook::Deliver, record.topic);
        let is_asked = self.known.as_ref().is_some_and(asks);
        let publish = publish(record);
        let is_for_some = is_addressed(publish.properties.as_deref());
        let selects = self.known.as_ref().is_some_and(|(_, matched)| matched.selects());
        let is_for_some = is_for_some || selects;
        let plain =
            record.qos == Qos::AtMostOnce && !named && record.position.is_none() && !is_asked && !is_for_some;
        if !plain || self.run.is_full() {
            self.run.push(self.broker, &mut self.tally);
        }
        match &self.known {
            Some((realm, matched)) if plain => {
                self.run.add(self.broker, realm, matched, None, &publish, None);
            }
            Some((realm, matched)) => {
                let (realm, matched) = (realm.clone(), matched.clone());
                self.take_whole(record, &realm, &matched);
            }
            None => {}
        }
    }

    /// Another topic begins; nobody is given what is of a realm that is refused.
    fn turn_to(&mut self, record: &Incoming<'_>) {
        self.run.push(self.broker, &mut self.tally);
        self.correct();
        let realm = self.broker.realm_of_peer(record.realm);
        self.known = realm.map(|realm| {
            let matched = Arc::new(realm.routes.find(record.topic, self.broker.access()));
            (realm, matched)
        });
    }

    /// Values of one topic that come in one block are corrected once.
    fn correct(&mut self) {
        if let (Some((late, at)), Some((realm, matched))) = (self.kept.take(), &self.known) {
            self.tally.matched += fanout::correct(self.broker, realm, (&late, Some(at)), matched);
        }
    }

    /// One that is kept, named for somebody, or of QoS 1 or 2.
    fn take_whole(&mut self, record: &Incoming<'_>, realm: &Arc<Realm>, matched: &Matched) {
        let Ok(topic) = Topic::new(record.topic) else { return };
        let message = publish(record).to_message(topic, clock::unix());
        let broker = self.broker;
        if !record.only_named {
            if self.kept.as_ref().is_some_and(|(kept, _)| kept.qos != message.qos) {
                self.correct();
            }
            let kept = (&message, record.position);
            self.tally.matched += fanout::deliver_kept(broker, realm, kept, matched, None, None);
            self.kept = record.position.map(|at| (message.clone(), at)).or(self.kept.take());
        }
        for copy in record.numbered.clone() {
            self.give(realm, &message, &copy);
        }
    }

    /// A copy for one session here, or a row of a group's queue for one of its members here.
    fn give(&mut self, realm: &Arc<Realm>, message: &Arc<Message>, copy: &IncomingNumbered<'_>) {
        let group = copy.group.and_then(|group| Filter::new(group).ok());
        if let (true, Some(filter)) = (copy.client_id.is_empty(), &group) {
            return self.share(realm, message, filter, copy);
        }
        let client_id = Arc::from(copy.client_id);
        let of_generation = |session: &Arc<Session>| session.stored == Some(copy.generation);
        let session = self.broker.sessions().find(&realm.name, &client_id).filter(of_generation);
        let delivery = Delivery {
            message: message.clone(),
            qos: copy.qos,
            retain: copy.retain,
            subscription_ids: copy.subscription_ids.clone().collect(),
            group,
        };
        match session {
            Some(session) if copy.number == 0 => {
                self.tally.matched += 1;
                let _ = Frames::default().push(self.broker, &session, delivery);
            }
            None if copy.number == 0 => {
                self.tally.matched += 1;
                self.broker.ledger().lost_by(&client_id, &message.topic, Loss::SessionGone, 1);
            }
            Some(session) if session.is_online() => {
                let live = Live { delivery, number: Some(copy.number), claim: None };
                fanout::push_copy(self.broker, &session, live);
            }
            // It was just lost: what it left behind has been handed on already.
            Some(session) if delivery.group.is_some() => self.broker.release_late(&session),
            _ => {}
        }
    }

    /// A shared message for one of its clean members here, or a row of the group's queue.
    fn share(
        &mut self,
        realm: &Arc<Realm>,
        message: &Arc<Message>,
        filter: &Filter,
        copy: &IncomingNumbered<'_>,
    ) {
        let broker = self.broker;
        let group = realm.routes.group(filter);
        let handovers = u32::try_from(copy.generation).unwrap_or(u32::MAX);
        match group {
            Some(group) if copy.number > 0 && group.claim(copy.number) => {
                broker.hand_out_here(message, Claim { group, number: Some(copy.number), handovers });
            }
            // A member here has it already.
            Some(_) if copy.number > 0 => {}
            Some(group) => {
                let plan = Plan::share_here(broker, &group, message, handovers);
                if plan.is_taken() {
                    self.tally.matched += plan.push(broker, &mut super::Outgoing::default());
                } else {
                    self.tally.matched += 1;
                    broker.hand_on_shared(realm, &group, message, handovers);
                }
            }
            None if copy.number == 0 => {
                self.tally.matched += 1;
                broker.ledger().lost_by(&filter.clone().into(), &message.topic, Loss::SharedUnclaimed, 1);
            }
            None => {}
        }
    }
}

fn publish<'a>(record: &Incoming<'a>) -> Publish<'a> {
    let seconds = |ms: u64| u32::try_from(ms.div_ceil(1000)).unwrap_or(u32::MAX);
    let properties = record.properties.and_then(|bytes| record::decode_properties(bytes).ok());
    Publish {
        topic: record.topic,
        payload: record.payload,
        is_json: false,
        qos: record.qos,
        retain: record.retain,
        expiry_seconds: record.expiry_ms_left.map(seconds),
        properties: properties.map(Box::new),
        conditions: None,
    }
}

impl weir_cluster::Inbox for Inbox {
    fn linked(&self, link: &Arc<Link>) {
        self.0.peers().of_link(link);
        self.0.calls().linked(&self.0, link);
        // What was sent while there was no link lies in their queues.
        self.0.look_in_queues();
    }

    fn interest(&self, link: &Arc<Link>, changes: InterestChanges<'_>) {
        let peer = self.0.peers().of_link(link);
        let _routes = self.0.peers().routes.read();
        match changes {
            InterestChanges::Full => peer.say_anew(),
            InterestChanges::FullEnd => peer.has_said_all(&self.0),
            InterestChanges::Changed(changes) => {
                for InterestChange { realm, filter, members } in changes {
                    match self.0.realm_of_peer(realm) {
                        Some(realm) if *members > 0 => peer.wants(&realm, filter, *members),
                        Some(realm) => peer.wants_no_more(&realm, filter),
                        None => {}
                    }
                }
            }
            InterestChanges::Gone => {
                self.0.peers().remove(link);
                self.0.calls().unlinked(&self.0, link);
                peer.is_gone(&self.0);
            }
        }
    }

    fn interest_digest(&self, link: &Arc<Link>) -> Option<Digest> {
        Some(self.0.peers().of_link(link).digest())
    }

    fn records(&self, _: &Arc<Link>, run: Bytes) -> Option<BoxFuture<'static, ()>> {
        let broker = &self.0;
        let mut intake =
            Intake { broker, run: Run::default(), tally: Tally::default(), known: None, kept: None };
        for record in Records::decode(&run) {
            match record {
                Ok(record) => intake.take(&record),
                Err(malformed) => {
                    counter!("weir_broker_link_records_malformed_total").increment(1);
                    tracing::warn!(%malformed, "a peer sent what is no record");
                    break;
                }
            }
        }
        let pressed_by = intake.run.pressed_by(broker.limits());
        intake.run.push(broker, &mut intake.tally);
        intake.correct();
        // Nobody has published here.
        intake.tally.unmatched = 0;
        broker.ledger().settle(&mut intake.tally);
        pressed_by.map(|session| -> BoxFuture<'static, ()> { Box::pin(low_again(broker.clone(), session)) })
    }

    fn control(&self, link: &Arc<Link>, control: Control) {
        match control {
            Control::LookInQueue { realm, client_id } => {
                if let Some(session) = self.0.sessions().find(&realm, &client_id) {
                    session.outbox.ring(Bell::Recheck);
                }
            }
            Control::EndClean { realm, topic } => self.0.end_clean(&realm, &topic),
            Control::Missed { .. } => {
                self.0.look_in_queues();
                self.0.end_all_clean();
            }
            // The mirror of the store says who has a session.
            Control::TakenOver { .. } => {}
            Control::Note { kind, body } => crate::admin::heard(&self.0, link, kind, &body),
        }
    }

    fn calls(&self, link: &Arc<Link>, messages: &[Bytes]) {
        self.0.calls().heard(&self.0, link, messages);
    }

    fn caught_up(&self) -> BoxFuture<'static, ()> {
        let store = self.0.store().clone();
        Box::pin(async move {
            // The peer that asks waits meanwhile, and says so.
            while let Err(error) = store.caught_up().await {
                tracing::debug!(%error, "the mirror is behind");
                tokio::time::sleep(CAUGHT_UP_AGAIN).await;
            }
        })
    }
}

/// A receiver has less waiting, or lives no more.
async fn low_again(broker: Broker, session: Arc<Session>) {
    let low = std::future::poll_fn(|cx| match session.wait_until_low(cx.waker(), broker.limits()) {
        true => std::task::Poll::Pending,
        false => std::task::Poll::Ready(()),
    });
    let _ = tokio::time::timeout(super::PRESSED, low).await;
}

impl Broker {
    /// A realm that a peer speaks of, made if it is not one too many.
    fn realm_of_peer(&self, name: &str) -> Option<Arc<Realm>> {
        let name = Arc::from(name);
        if let Some(realm) = self.realm(&name) {
            return Some(realm);
        }
        if self.realms().len() >= REALMS_MAX {
            counter!("weir_broker_link_realms_refused_total").increment(1);
            return None;
        }
        Some(self.realm_or_new(&name))
    }

    /// Every persistent session with a connection compares what it has with its queue.
    fn look_in_queues(&self) {
        for realm in self.realms() {
            let all = self.sessions().all(&realm.name);
            for session in all.iter().filter(|session| session.stored.is_some() && session.is_online()) {
                session.outbox.ring(Bell::Recheck);
            }
        }
    }

    /// Nobody knows which messages could not be sent here: clean sessions that may miss one end.
    fn end_all_clean(&self) {
        for realm in self.realms() {
            let misses = |session: &&Arc<Session>| {
                let wants = session.subscriptions().iter().any(|(_, options)| options.qos > Qos::AtMostOnce);
                session.stored.is_none() && session.is_online() && wants
            };
            let all = self.sessions().all(&realm.name);
            all.iter().filter(misses).for_each(|session| session.outbox.ring(Bell::Overrun));
        }
    }

    /// A message of QoS 1 or 2 could not be sent here: clean sessions that miss it end (`guarantees.md` 8).
    fn end_clean(&self, realm: &Arc<str>, topic: &str) {
        let Some(realm) = self.realm(realm) else { return };
        let matched = realm.routes.find(topic, self.access());
        let misses = |target: &&crate::routes::Target| {
            let session = &target.session;
            session.stored.is_none() && session.peer.is_none() && target.qos > Qos::AtMostOnce
        };
        matched.targets.iter().filter(misses).for_each(|target| target.session.outbox.ring(Bell::Overrun));
    }
}
