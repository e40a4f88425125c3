//! `$SYS`: what the node says about itself on topics, retained in memory only.

use std::sync::Arc;

use bytes::Bytes;
use weir_model::{DEFAULT_REALM, Message, Position, Qos, Topic};

use crate::broker::Broker;
use crate::clock;
use crate::fanout;
use crate::ledger::Loss;

/// Publishes the current figures, in the names that MQTT monitors know.
pub(crate) fn publish(broker: &Broker) {
    let (sessions, connected) = broker.sessions().count();
    let ledger = broker.ledger();
    let dropped: u64 = Loss::ALL.iter().map(|loss| ledger.dropped(*loss)).sum();
    let retained = broker.realm(&DEFAULT_REALM.into()).map_or(0, |realm| realm.retained.len());
    let figures = [
        ("broker/version", concat!("weir ", env!("CARGO_PKG_VERSION")).to_owned()),
        ("broker/uptime", format!("{} seconds", broker.uptime().as_secs())),
        ("broker/clients/connected", connected.to_string()),
        ("broker/clients/total", sessions.to_string()),
        ("broker/clients/disconnected", (sessions - connected).to_string()),
        ("broker/messages/received", ledger.received.get().to_string()),
        ("broker/messages/sent", ledger.delivered.get().to_string()),
        ("broker/publish/messages/dropped", dropped.to_string()),
        ("broker/bytes/received", ledger.received_bytes.get().to_string()),
        ("broker/bytes/sent", ledger.delivered_bytes.get().to_string()),
        ("broker/retained messages/count", retained.to_string()),
    ];
    for (name, value) in figures {
        say(broker, &format!("$SYS/{name}"), value);
    }
    for loss in Loss::ALL.iter().filter(|loss| ledger.dropped(**loss) > 0) {
        say(broker, &format!("$SYS/drops/{}", loss.as_str()), ledger.dropped(*loss).to_string());
    }
}

fn say(broker: &Broker, topic: &str, value: String) {
    let (Some(realm), Ok(topic)) = (broker.realm(&DEFAULT_REALM.into()), Topic::new(topic)) else { return };
    let message = Arc::new(Message {
        topic: topic.clone(),
        payload: Bytes::from(value),
        qos: Qos::AtMostOnce,
        retain: true,
        expires_at: None,
        properties: None,
    });
    let position = Position { epoch: 0, ms: clock::unix().0, seq: 0 };
    realm.retained.apply(&topic, position, Some(&message));
    let matched = realm.routes.find(&topic);
    let copies = fanout::deliver(broker, &message, &matched, None);
    broker.ledger().received.add(1);
    broker.ledger().accepted.add(1);
    broker.ledger().matched.add(copies);
    broker.ledger().unmatched.add(u64::from(copies == 0));
}
