//! `$SYS`: what the node says about itself on topics, retained in memory only.

pub mod figures;

use std::sync::Arc;

use bytes::Bytes;
use weir_model::{DEFAULT_REALM, Message, Position, Qos, Topic};
use weir_store::Rollback;

use crate::admin::EventKind;
use crate::broker::Broker;
use crate::clock;
use crate::fanout;
use crate::ledger::{Loss, drops};
use crate::peers::Outgoing;
use crate::publish::plan::Plan;
use crate::routes::Matched;

/// Publishes the current figures, and who is slow.
pub(crate) fn publish(broker: &Broker) {
    for (name, value) in figures::all(broker) {
        say(broker, &format!("$SYS/{name}"), value);
    }
    let ranked_max = broker.config().slow_subscribers_max;
    if ranked_max > 0
        && let Ok(ranking) = serde_json::to_string(&broker.slow().rank(ranked_max))
    {
        say(broker, "$SYS/broker/slow_subscribers", ranking);
    }
    let ledger = broker.ledger();
    for loss in Loss::ALL.iter().filter(|loss| ledger.dropped(**loss) > 0) {
        say(broker, &format!("$SYS/broker/drops/{}", loss.as_str()), ledger.dropped(*loss).to_string());
    }
}

/// Publishes losses gathered since the last call, at most `events` of them, if somebody watches.
pub(crate) fn drops(broker: &Broker, events: usize) {
    let (Some(realm), Ok(topic)) = (broker.realm(&DEFAULT_REALM.into()), Topic::new(drops::TOPIC)) else {
        return;
    };
    let matched = realm.routes.find(&topic, broker.access());
    let watched = !(matched.targets.is_empty() && matched.groups.is_empty());
    let watched = watched || broker.admin().events.wants_drops();
    broker.ledger().drops.watch(watched && broker.config().drops_per_second_max > 0);
    for event in broker.ledger().drops.take(events) {
        broker.admin().events.tell(|| EventKind::Dropped((&event).into()));
        let Ok(payload) = serde_json::to_vec(&event) else { continue };
        deliver(broker, &message(&topic, payload, false), &matched);
    }
}

/// Says what became of the store when it went back; retained, so that who comes later hears of the last time.
pub(crate) fn rolled_back(broker: &Broker, rollback: &Rollback) {
    if let Ok(shards) = serde_json::to_string(&rollback.shards) {
        let at = clock::unix().0;
        say(broker, "$SYS/rollback", format!("{{\"at\":{at},\"shards\":{shards}}}"));
    }
}

fn say(broker: &Broker, topic: &str, value: String) {
    let (Some(realm), Ok(topic)) = (broker.realm(&DEFAULT_REALM.into()), Topic::new(topic)) else { return };
    let message = message(&topic, value, true);
    let position = Position { epoch: 0, ms: clock::unix().0, seq: 0 };
    realm.retained.apply(&topic, position, Some(&message));
    deliver(broker, &message, &realm.routes.find(&topic, broker.access()));
}

fn message(topic: &Topic, payload: impl Into<Bytes>, retain: bool) -> Arc<Message> {
    Arc::new(Message {
        topic: topic.clone(),
        payload: payload.into(),
        qos: Qos::AtMostOnce,
        retain,
        expires_at: None,
        properties: None,
    })
}

/// Through the door like any other, but never through the store.
fn deliver(broker: &Broker, message: &Arc<Message>, matched: &Matched) {
    // Each node speaks of itself, to its own.
    let groups = Plan::groups_here(broker, message, matched);
    let copies =
        fanout::deliver(broker, message, matched, None, None) + groups.push(broker, &mut Outgoing::default());
    let ledger = broker.ledger();
    ledger.received.add(1);
    ledger.accepted.add(1);
    ledger.matched.add(copies);
    ledger.unmatched.add(u64::from(copies == 0));
}
