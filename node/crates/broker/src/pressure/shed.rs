//! Shedding: waiting QoS 0 is dropped where most of it lies, until enough memory is free.

use std::cmp::Reverse;
use std::sync::Arc;

use super::Level;
use crate::broker::Broker;
use crate::ledger::Loss;
use crate::outbox::Bell;
use crate::session::Session;

/// An outbox with less than this is not worth emptying.
const WORTH_BYTES: usize = 4 << 10;

/// Drops the QoS 0 that waits: of receivers whose sockets take nothing until the level is left, of the
/// others at [`Level::Shed`] until that one is; of each kind the largest outbox first. Connections
/// that hold half a packet and wait for the rest are woken, to see that there is no memory for it.
pub(crate) fn shed(broker: &Broker, level: Level) {
    let (mut excess, mut grave) = broker.pressure().excess_bytes();
    let mut waiting = waiting(broker);
    waiting.sort_by_key(|full| (!full.stalled, Reverse(full.bytes)));
    let (mut bytes, mut messages, mut receivers) = (0, 0, 0);
    for full in waiting.into_iter().filter(|full| full.stalled || level >= Level::Shed) {
        if if full.stalled { excess == 0 } else { grave == 0 } {
            continue;
        }
        let gone = full.session.outbox.shed();
        broker.ledger().lost_by(full.session.client_id(), "", Loss::Shed, gone.messages);
        excess = excess.saturating_sub(gone.bytes as u64);
        grave = grave.saturating_sub(gone.bytes as u64);
        bytes += gone.bytes;
        messages += gone.messages;
        receivers += usize::from(gone.messages > 0);
    }
    if messages > 0 {
        tracing::warn!(messages, bytes, receivers, level = level.as_str(), "waiting messages were shed");
    }
}

struct Full {
    session: Arc<Session>,
    bytes: usize,
    stalled: bool,
}

/// Outboxes worth emptying.
fn waiting(broker: &Broker) -> Vec<Full> {
    let mut found = Vec::new();
    for realm in broker.realms() {
        for session in broker.sessions().all(&realm.name) {
            if session.has_half_received() {
                session.outbox.ring(Bell::Progress);
            }
            let bytes = session.outbox.waiting_bytes();
            if bytes >= WORTH_BYTES {
                let stalled = session.outbox.is_stalled(broker.limits());
                found.push(Full { session, bytes, stalled });
            }
        }
    }
    found
}
