//! The subscribe barrier: a subscription is acknowledged when a publish that comes after, on whatever
//! node, meets it (`guarantees.md` 5). And what clean sessions want, told to the peers.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use weir_cluster::{Barrier, Links};

use crate::broker::Broker;
use crate::outbox::Bell;
use crate::session::Session;

/// A clean session's subscription is acknowledged after this long, whoever has not answered.
const CLEAN_WAITS: Duration = Duration::from_secs(1);

/// A peer that was silent is asked again, until its lease has ended.
const ASKED_AGAIN: Duration = Duration::from_millis(250);

/// A persistent session's subscription fails when a silent node keeps its lease for so long.
const PERSISTENT_WAITS: Duration = Duration::from_secs(10);

impl Broker {
    /// Makes this node one of a cluster. Before it takes connections.
    pub fn join(&self, links: Arc<Links>) {
        self.topics().join(links.clone());
        self.calls().join(self, links.incarnation());
        self.peers().join(links);
    }

    /// Waits until every node meets what this session has subscribed to. False: a node that may publish
    /// has not confirmed a persistent session's subscription, and it must be refused.
    pub async fn met_everywhere(&self, session: &Session) -> bool {
        let Some(links) = self.peers().links() else { return true };
        if session.stored.is_none() {
            if !links.barrier(Barrier::Interest, CLEAN_WAITS).await.all_passed() {
                counter!("weir_broker_subscribe_barriers_missed_total").increment(1);
            }
            return true;
        }
        let begun = tokio::time::Instant::now();
        loop {
            let result = links.barrier(Barrier::Mirror, ASKED_AGAIN).await;
            let leased = self.store().nodes();
            let me = self.incarnation();
            let passed = |node: u64| node == me || result.passed.iter().any(|(_, passed)| *passed == node);
            if leased.iter().all(|node| passed(node.incarnation)) {
                return true;
            }
            counter!("weir_broker_subscribe_barriers_missed_total").increment(1);
            if begun.elapsed() >= PERSISTENT_WAITS {
                return false;
            }
            if result.all_passed() {
                // There is no link to it: its lease ends, or a link comes.
                tokio::time::sleep(ASKED_AGAIN).await;
            }
        }
    }

    /// Has a session that was opened here look into its queue once every node knows where it is.
    pub(crate) fn look_when_all_know(&self, session: &Arc<Session>) {
        let Some(links) = self.peers().links().cloned() else { return };
        let (session, connection) = (session.clone(), session.connection());
        self.runtime().spawn(async move {
            while session.is_attached_to(connection) {
                let all_know = links.barrier(Barrier::Mirror, CLEAN_WAITS).await.all_passed();
                session.outbox.ring(Bell::Recheck);
                if all_know {
                    return;
                }
            }
        });
    }

    /// Waits until what is retained here is what the store holds.
    pub async fn retained_is_current(&self) -> bool {
        !self.store().is_shared() || self.store().caught_up().await.is_ok()
    }
}
