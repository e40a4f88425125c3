//! Barriers: waiting until every peer knows.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use metrics::counter;
use tokio::time::{Instant, timeout_at};
use weir_net::peer::NodeId;

use super::Links;
use crate::link::Link;

/// What a barrier waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barrier {
    /// Every peer has applied this node's interest as it was at the call.
    Interest,
    /// The same, and every peer's mirror of the store has what was written before the call.
    Mirror,
}

impl Barrier {
    fn label(self) -> &'static str {
        match self {
            Barrier::Interest => "interest",
            Barrier::Mirror => "mirror",
        }
    }
}

/// Who passed a barrier and who was silent, by name and incarnation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BarrierResult {
    pub passed: Vec<(NodeId, u64)>,
    pub silent: Vec<(NodeId, u64)>,
}

impl BarrierResult {
    pub fn all_passed(&self) -> bool {
        self.silent.is_empty()
    }
}

impl Links {
    /// Waits until every peer has passed, at most `within`; peers that die meanwhile do not count. Calls
    /// at the same time share their round trips.
    pub async fn barrier(&self, kind: Barrier, within: Duration) -> BarrierResult {
        let links = self.all();
        let mut result = BarrierResult::default();
        if links.is_empty() {
            return result;
        }
        counter!("weir_cluster_link_barriers_total", "kind" => kind.label()).increment(1);
        let id = self.shared.barriers[kind as usize].fetch_add(1, Ordering::Relaxed) + 1;
        for link in &links {
            link.ask(kind, id);
        }
        let deadline = Instant::now() + within;
        for link in links {
            let peer = (link.node_id().clone(), link.incarnation());
            match timeout_at(deadline, link.passed(kind, id)).await {
                Ok(true) => result.passed.push(peer),
                Ok(false) => {}
                Err(_) => result.silent.push(peer),
            }
        }
        if !result.silent.is_empty() {
            counter!("weir_cluster_link_silent_total", "kind" => kind.label())
                .increment(result.silent.len() as u64);
        }
        result
    }
}

impl Link {
    /// Whether the peer has passed barrier `id`; false when the link is over before that.
    async fn passed(self: Arc<Link>, kind: Barrier, id: u64) -> bool {
        let mut passed = self.watch_passed();
        let reached = |passed: &crate::link::Passed| match kind {
            Barrier::Interest => passed.interest >= id,
            Barrier::Mirror => passed.mirror >= id,
        };
        match passed.wait_for(|passed| passed.over || reached(passed)).await {
            Ok(passed) => reached(&passed),
            Err(_) => false,
        }
    }
}
