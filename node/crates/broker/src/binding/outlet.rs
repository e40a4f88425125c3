//! An outlet: the events of a live binding, gathered into runs for their receivers as a connection's publishes are.

use std::sync::Arc;

use metrics::{Counter, counter};
use weir_model::{Message, Qos};

use super::definition::Hook;
use crate::broker::Broker;
use crate::fanout::{self, Run};
use crate::form::Publish;
use crate::ledger::Tally;
use crate::publish::matches::Matches;
use crate::realm::Realm;
use crate::routes::Matched;

pub(super) struct Outlet {
    broker: Broker,
    realm: Arc<Realm>,
    matches: Matches,
    run: Run,
    tally: Tally,
    published: Counter,
    refused: Counter,
}

impl Outlet {
    pub fn new(broker: &Broker, realm: Arc<Realm>) -> Outlet {
        let outputs = |result| counter!("weir_broker_binding_outputs_total", "result" => result);
        Outlet {
            broker: broker.clone(),
            realm,
            matches: Matches::default(),
            run: Run::default(),
            tally: Tally::default(),
            published: outputs("published"),
            refused: outputs("refused"),
        }
    }

    /// Publishes an event. What nobody durable wants is with its receivers after [`Outlet::push`].
    pub async fn publish(&mut self, message: &Arc<Message>) {
        let matched = self.matches.find(&self.broker, &self.realm, &message.topic).await;
        if !self.gathers(message, &matched) {
            self.push();
            let is_kept = self.broker.publish(&self.realm, message, None).await;
            let counter = if is_kept { &self.published } else { &self.refused };
            return counter.increment(1);
        }
        self.published.increment(1);
        self.tally.receive(message.payload.len());
        self.tally.accepted += 1;
        if matched.is_empty() {
            self.tally.unmatched += 1;
            return;
        }
        if !self.run.takes(&matched, message.qos) || self.run.is_full() {
            self.run.push(&self.broker, &mut self.tally);
        }
        matched.live.iter().for_each(|live| live.offer(message));
        let publish = Publish { qos: message.qos, ..fanout::borrowed(message) };
        let copy = (message.qos > Qos::AtMostOnce).then(|| message.clone());
        self.run.add(&self.broker, &self.realm, &matched, None, &publish, copy);
    }

    /// Whether it goes only to connections of this node, and to no store.
    fn gathers(&self, message: &Message, matched: &Matched) -> bool {
        let is_stored = message.retain
            || (message.qos > Qos::AtMostOnce && matched.queued)
            || !matched.captures.is_empty()
            || !matched.groups.is_empty();
        let is_here = || {
            let mut targets = matched.targets.iter();
            !self.broker.peers().any()
                || targets.all(|to| to.session.is_online() && to.session.peer.is_none())
        };
        !is_stored && is_here() && !self.realm.middleware.wants_of(Hook::Deliver, &message.topic)
    }

    /// Gives receivers what was gathered for them.
    pub fn push(&mut self) {
        if !self.run.is_empty() {
            self.run.push(&self.broker, &mut self.tally);
        }
        self.broker.ledger().settle(&mut self.tally);
    }
}
