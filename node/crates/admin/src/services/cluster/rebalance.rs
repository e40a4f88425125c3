//! `Rebalance`: the plan is made once, and done a second's share at a time, as long as somebody listens.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use metrics::counter;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use weir_broker::admin::{Order, TOLD_WITHIN};

use super::super::watch::until_over;
use super::super::{Shared, blocking, reason};
use super::plan::{self, Move};
use crate::audit;
use crate::caller::Caller;
use crate::error::Refused;
use crate::machine::NodeView;
use crate::proto::{
    ClusterRebalanceRequest, ClusterRebalanceResponse, NodeState, RebalanceGroup, RebalanceNode,
    RebalancePhase,
};

const PER_SECOND_MAX: u32 = 10_000;

/// Groups that are told of.
const GROUPS_MAX: usize = 100;

/// Answers on their way to the caller beside HTTP/2's own window; while it takes none nobody is moved.
const WAITING_MAX: usize = 4;

type Answer = Result<ClusterRebalanceResponse, Status>;

/// Plans, and begins to move clients unless that is all that is asked.
pub async fn rebalance(
    shared: Shared,
    caller: Caller,
    request: ClusterRebalanceRequest,
) -> Result<ReceiverStream<Answer>, Refused> {
    reason(&request.reason)?;
    let per_second = match request.per_second {
        0 => shared.config.rebalance_per_second.get(),
        asked @ 1..=PER_SECOND_MAX => asked,
        _ => {
            let hint = format!("0 to {PER_SECOND_MAX}");
            return Err(Refused::field("per_second", "it is too large", hint));
        }
    };
    let plan = Plan::make(&shared, request.include_v3).await;
    let (sender, answers) = mpsc::channel(WAITING_MAX);
    tokio::spawn(async move {
        let is_done = AtomicBool::new(false);
        let told = async {
            plan.run(&shared, per_second, request.dry_run, &sender).await;
            is_done.store(true, Ordering::Relaxed);
        };
        until_over(&shared, &caller, &sender, told).await;
        let result = if is_done.load(Ordering::Relaxed) { "done" } else { "cut_short" };
        if !request.dry_run {
            audit::ended(&caller, "cluster.rebalance_end", "", result);
        }
    });
    Ok(ReceiverStream::new(answers))
}

/// A node that takes part, and what has become of its share.
struct Side {
    view: NodeView,
    connected: u64,
    share: u64,
    moved: u64,
    kept: u64,
}

struct Plan {
    run: u64,
    include_v3: bool,
    sides: Vec<Side>,
    missing: Vec<String>,
    /// Those that are not done yet.
    moves: Vec<Move>,
}

impl Plan {
    /// Asks every node how many clients it has.
    async fn make(shared: &Shared, include_v3: bool) -> Plan {
        let (fit, others): (Vec<_>, Vec<_>) = shared.machine.nodes().into_iter().partition(is_fit);
        let counts = join_all(fit.iter().map(|node| shared.broker.count_clients(there(node)))).await;
        let (mut sides, mut missing) =
            (Vec::new(), others.into_iter().map(|node| node.node_id).collect::<Vec<_>>());
        for (view, count) in fit.into_iter().zip(counts) {
            match count {
                Ok(connected) => sides.push(Side { view, connected, share: 0, moved: 0, kept: 0 }),
                Err(_) => missing.push(view.node_id),
            }
        }
        sides.sort_by(|a, b| a.view.node_id.cmp(&b.view.node_id));
        missing.sort();
        let connected: Vec<u64> = sides.iter().map(|side| side.connected).collect();
        let shares = plan::shares(&connected);
        sides.iter_mut().zip(&shares).for_each(|(side, share)| side.share = *share);
        // One that starts later in the same millisecond has another name or node.
        let run = weir_broker::clock::unix().0 << 20 | shared.broker.next_connection() & 0xf_ffff;
        Plan { run, include_v3, sides, missing, moves: plan::moves(&connected, &shares) }
    }

    async fn run(mut self, shared: &Shared, per_second: u32, dry_run: bool, sender: &mpsc::Sender<Answer>) {
        let mut planned = self.told(RebalancePhase::Planned);
        (planned.groups, planned.groups_more) = groups(shared).await;
        if sender.send(Ok(planned)).await.is_err() || dry_run {
            return;
        }
        let mut seconds = tokio::time::interval(TOLD_WITHIN);
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.leave_out(&shared.machine.nodes());
            if self.moves.is_empty() {
                break;
            }
            seconds.tick().await;
            // Nobody is moved whom nobody is told of.
            let Ok(room) = sender.reserve().await else { break };
            match self.move_some(shared, per_second).await {
                Ok(()) => room.send(Ok(self.told(RebalancePhase::Moving))),
                Err(refused) => return room.send(Err(refused.into())),
            }
        }
        self.release(shared).await;
        let counts =
            join_all(self.sides.iter().map(|side| shared.broker.count_clients(there(&side.view)))).await;
        for (side, count) in self.sides.iter_mut().zip(counts) {
            side.connected = count.unwrap_or(side.connected);
        }
        // It has heard of all that was moved.
        let _ = sender.send(Ok(self.told(RebalancePhase::Done))).await;
    }

    /// Nobody is sent to a node that has begun to drain, or is gone.
    fn leave_out(&mut self, nodes: &[NodeView]) {
        let sides = &mut self.sides;
        let takes = |name: &str| nodes.iter().any(|node| node.node_id == name && is_fit(node));
        self.moves.retain(|one| {
            let goes_on = takes(&sides[one.from].view.node_id) && takes(&sides[one.to].view.node_id);
            sides[one.from].kept += if goes_on { 0 } else { one.clients };
            goes_on
        });
    }

    /// A second's share: each node sends to one other at a time.
    async fn move_some(&mut self, shared: &Shared, per_second: u32) -> Result<(), Refused> {
        let mut busy = HashSet::new();
        let most = per_second as usize;
        let now: Vec<usize> =
            (0..self.moves.len()).filter(|at| busy.insert(self.moves[*at].from)).take(most).collect();
        let each = u64::from(per_second) / now.len().max(1) as u64;
        let orders = now.iter().map(|at| {
            let Move { from, to, clients } = &self.moves[*at];
            let clients = u32::try_from((*clients).min(each.max(1))).unwrap_or(per_second);
            shared.broker.order_move(there(&self.sides[*from].view), self.order(shared, *to, clients))
        });
        let begun = Instant::now();
        let answers = join_all(orders).await;
        for (at, answer) in now.iter().zip(answers) {
            let Move { from, clients, .. } = &mut self.moves[*at];
            let wanted = (*clients).min(each.max(1));
            let side = &mut self.sides[*from];
            let moved = match answer {
                Ok(Ok(moved)) => u64::from(moved),
                Ok(Err(busy)) => {
                    return Err(Refused::new(Code::Aborted, "busy", busy.to_string())
                        .hint("try again when it is done"));
                }
                Err(error) => {
                    tracing::warn!(node = side.view.node_id, %error, "does not move its clients");
                    0
                }
            };
            side.moved += moved;
            *clients -= moved.min(*clients);
            if moved < wanted {
                side.kept += std::mem::take(clients);
            }
        }
        tracing::debug!(seconds = begun.elapsed().as_secs_f64(), "clients were moved");
        self.moves.retain(|one| one.clients > 0);
        Ok(())
    }

    fn order(&self, shared: &Shared, to: usize, clients: u32) -> Order {
        Order {
            run: self.run,
            clients,
            listeners: self.sides[to].view.listeners.clone(),
            without_reference: self.include_v3,
            pause_ms: shared.config.rebalance_pause_seconds.saturating_mul(1000),
        }
    }

    /// Nothing more is ordered: another run may begin at once.
    async fn release(&self, shared: &Shared) {
        let gave = self.sides.iter().filter(|side| side.connected > side.share);
        join_all(gave.map(|side| shared.broker.order_move(there(&side.view), self.order(shared, 0, 0))))
            .await;
        counter!("weir_admin_rebalances_total").increment(1);
    }

    fn told(&self, phase: RebalancePhase) -> ClusterRebalanceResponse {
        let node = |(at, side): (usize, &Side)| {
            let left = self.moves.iter().filter(|one| one.from == at).map(|one| one.clients);
            RebalanceNode {
                node_id: side.view.node_id.clone(),
                connected_sessions: side.connected,
                share: side.share,
                surplus: side.moved + side.kept + left.sum::<u64>(),
                moved: side.moved,
                kept: side.kept,
            }
        };
        ClusterRebalanceResponse {
            phase: phase.into(),
            moved: self.sides.iter().map(|side| side.moved).sum(),
            left: self.moves.iter().map(|one| one.clients).sum(),
            nodes: self.sides.iter().enumerate().map(node).collect(),
            missing_nodes: self.missing.clone(),
            ..ClusterRebalanceResponse::default()
        }
    }
}

/// Whether a node gives and takes clients.
fn is_fit(node: &NodeView) -> bool {
    node.state == NodeState::Live && node.serves && (node.is_this || node.linked)
}

/// The node as the broker is asked for it.
fn there(node: &NodeView) -> Option<&str> {
    (!node.is_this).then_some(&*node.node_id)
}

/// Who serves the partitions of groups that more than one node serves; whether there are more.
async fn groups(shared: &Shared) -> (Vec<RebalanceGroup>, bool) {
    let broker = shared.broker.clone();
    let streams = blocking(move || {
        let realms = broker.realms().into_iter().map(|realm| realm.name.clone());
        Ok(realms.flat_map(|realm| broker.streams().all(&realm)).collect::<Vec<_>>())
    });
    let mut told = Vec::new();
    for stream in streams.await.unwrap_or_default() {
        // What cannot be read now is left out: nobody is moved for it.
        let infos = shared.broker.groups(&stream.realm, &stream.name).await.unwrap_or_default();
        for info in infos {
            let present = info.partitions.iter().filter(|at| at.generation == stream.generation());
            let mut partitions: BTreeMap<String, u32> = BTreeMap::new();
            for owner in present.filter_map(|at| at.owner) {
                *partitions.entry(super::super::streams::node(shared, owner)).or_default() += 1;
            }
            if partitions.len() < 2 {
                continue;
            }
            if told.len() == GROUPS_MAX {
                return (told, true);
            }
            told.push(RebalanceGroup {
                realm: stream.realm.to_string(),
                stream: stream.name.to_string(),
                group: info.name.to_string(),
                partitions: partitions.into_iter().collect(),
            });
        }
    }
    (told, false)
}
