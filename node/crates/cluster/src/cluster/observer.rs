//! Watches gossip and the clock for the state of membership, and shows the picture.

use std::collections::BTreeMap;
use std::time::Duration;

use chitchat::{ChitchatId, NodeState};
use metrics::{counter, gauge};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior};

use crate::facts::{Facts, KEY_LEAVING};
use crate::membership::{Candidate, Change, Members, State};

/// Rounds of gossip that this node may miss before it takes itself for stalled.
const ROUNDS_MISSED: u32 = 4;

type Shown = watch::Receiver<BTreeMap<ChitchatId, NodeState>>;

pub(super) struct Observer {
    state: State,
    interval: Duration,
}

impl Observer {
    pub fn new(state: State, interval: Duration) -> Self {
        Self { state, interval }
    }

    /// Begins to watch; the task ends with gossip or with the last who looks.
    pub fn start(self, shown: Shown) -> (watch::Receiver<Members>, AbortHandle) {
        let (sender, members) = watch::channel(self.state.members());
        (members, tokio::spawn(self.run(shown, sender)).abort_handle())
    }

    async fn run(mut self, mut shown: Shown, members: watch::Sender<Members>) {
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = Instant::now();
        loop {
            let changed = tokio::select! {
                changed = shown.changed() => Some(changed),
                _ = ticks.tick() => None,
            };
            let now = Instant::now();
            if now.duration_since(last) > self.interval * ROUNDS_MISSED {
                counter!("weir_cluster_stalls_total").increment(1);
                tracing::warn!(millis = now.duration_since(last).as_millis() as u64, "this node stood still");
                self.state.stalled(now);
            }
            last = now;
            let changes = match changed {
                Some(Ok(())) => {
                    let candidates = shown.borrow_and_update().iter().map(candidate).collect();
                    self.state.observe(now, candidates)
                }
                Some(Err(_)) => return,
                None => self.state.expire(now),
            };
            changes.iter().for_each(tell);
            self.show(&members);
        }
    }

    fn show(&self, members: &watch::Sender<Members>) {
        let picture = self.state.members();
        gauge!("weir_cluster_members").set(picture.count() as f64);
        gauge!("weir_cluster_members_suspected").set(picture.suspected().len() as f64);
        gauge!("weir_cluster_members_lost").set(picture.lost().len() as f64);
        members.send_if_modified(|shown| {
            let differs = *shown != picture;
            if differs {
                *shown = picture;
            }
            differs
        });
    }
}

fn candidate((id, state): (&ChitchatId, &NodeState)) -> Candidate {
    Candidate {
        name: id.node_id.clone(),
        incarnation: id.generation_id,
        address: id.gossip_advertise_addr,
        facts: Facts::from_keys(state.key_values()),
        leaving: state.get(KEY_LEAVING).is_some(),
    }
}

/// Logs and counts.
fn tell(change: &Change) {
    match change {
        Change::Joined(member) => {
            let (node, incarnation, address) = (&member.node_id, member.incarnation, member.address);
            tracing::info!(%node, incarnation, %address, release = member.facts.release, "node joined");
        }
        Change::Left(member) => {
            counter!("weir_cluster_leaves_total").increment(1);
            tracing::info!(node = %member.node_id, incarnation = member.incarnation, "node left");
        }
        Change::Died(member) => {
            counter!("weir_cluster_deaths_total").increment(1);
            tracing::warn!(node = %member.node_id, incarnation = member.incarnation, "node died");
        }
        Change::Refused { name, address, why } => {
            counter!("weir_cluster_refused_total", "reason" => why.as_str()).increment(1);
            let name: String = name.chars().take(64).collect();
            tracing::warn!(node = name, %address, %why, "node refused");
        }
        Change::Superseded { incarnation } => {
            tracing::error!(incarnation, "a newer process has this node's name; this one must end");
        }
    }
}
