//! Who is a member: what gossip shows, judged; a silent node is suspected first, and then dead.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use weir_net::peer::NodeId;

use crate::facts::{Facts, FactsError, StoreKind};

mod members;
mod refusal;

pub use members::{Member, Members};
pub use refusal::Refusal;

/// Nodes that are gone and still remembered; beyond, the longest gone is forgotten.
const GONE_MAX: usize = 4096;

/// How patient the judgement is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// How long a silent node is suspected before it counts as dead.
    pub suspicion: Duration,
    /// How long nobody is declared dead after this node itself stood still.
    pub after_stall: Duration,
    /// How long a node that is gone is remembered.
    pub memory: Duration,
}

/// A node as gossip shows it: alive to the failure detector, and all its facts are known.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub name: Arc<str>,
    pub incarnation: u64,
    pub address: SocketAddr,
    pub facts: Result<Facts, FactsError>,
    pub leaving: bool,
}

/// What happened to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Joined(Arc<Member>),
    Left(Arc<Member>),
    Died(Arc<Member>),
    Refused {
        name: Arc<str>,
        address: SocketAddr,
        why: Refusal,
    },
    /// A newer process has this node's name.
    Superseded {
        incarnation: u64,
    },
}

/// The state of membership: inputs are what gossip shows and the time, outputs are changes.
#[derive(Debug)]
pub(crate) struct State {
    me: Arc<Member>,
    patience: Patience,
    present: BTreeMap<NodeId, Present>,
    gone: BTreeMap<NodeId, Gone>,
    /// Told already, as long as they are shown.
    refused: BTreeMap<(Arc<str>, u64), Refusal>,
    superseded: bool,
    hold_until: Option<Instant>,
}

#[derive(Debug)]
struct Present {
    member: Arc<Member>,
    suspected: Option<Instant>,
}

#[derive(Debug)]
struct Gone {
    incarnation: u64,
    at: Instant,
    /// Whether it died; else it left.
    died: bool,
}

impl State {
    pub fn new(me: Member, patience: Patience) -> Self {
        Self {
            me: Arc::new(me),
            patience,
            present: BTreeMap::new(),
            gone: BTreeMap::new(),
            refused: BTreeMap::new(),
            superseded: false,
            hold_until: None,
        }
    }

    /// Takes what gossip shows now: who is not among `shown` is silent.
    pub fn observe(&mut self, now: Instant, shown: Vec<Candidate>) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut refused = BTreeMap::new();
        let mut seen = Vec::new();
        for candidate in newest(shown) {
            if *candidate.name == *self.me.node_id.as_str() {
                changes.extend(self.namesake(&candidate));
                continue;
            }
            match self.judge(&candidate) {
                Ok(member) if candidate.leaving => changes.extend(self.left(now, &member)),
                Ok(member) => {
                    seen.push(member.node_id.clone());
                    changes.extend(self.alive(member));
                }
                Err(why) => {
                    let key = (candidate.name.clone(), candidate.incarnation);
                    if self.refused.get(&key) != Some(&why) {
                        let (name, address) = (candidate.name, candidate.address);
                        changes.push(Change::Refused { name, address, why });
                    }
                    refused.insert(key, why);
                }
            }
        }
        self.refused = refused;
        for (node, present) in &mut self.present {
            if !seen.contains(node) {
                present.suspected.get_or_insert(now);
            }
        }
        changes.extend(self.expire(now));
        changes
    }

    /// Lets time pass: suspected nodes die, gone ones are forgotten.
    pub fn expire(&mut self, now: Instant) -> Vec<Change> {
        let (memory, suspicion) = (self.patience.memory, self.patience.suspicion);
        self.gone.retain(|_, gone| now < gone.at + memory);
        if self.hold_until.is_some_and(|until| now < until) {
            return Vec::new();
        }
        let overdue = |present: &Present| present.suspected.is_some_and(|since| now >= since + suspicion);
        let dead: Vec<_> = self
            .present
            .extract_if(.., |_, present| overdue(present))
            .map(|(_, present)| present.member)
            .collect();
        for member in &dead {
            self.bury(now, member, true);
        }
        dead.into_iter().map(Change::Died).collect()
    }

    /// This node itself stood still until now: the silence may have been its own.
    pub fn stalled(&mut self, now: Instant) {
        self.hold_until = Some(now + self.patience.after_stall);
        for present in self.present.values_mut() {
            present.suspected = present.suspected.map(|_| now);
        }
    }

    /// The picture to show to others.
    pub fn members(&self) -> Members {
        let peers = self.present.values().map(|present| present.member.clone());
        let live = peers.chain([self.me.clone()]).map(|member| (member.node_id.clone(), member)).collect();
        let lost = self.gone.iter().filter(|(_, gone)| gone.died).map(|(node, _)| node.clone()).collect();
        let suspected = self.present.values().filter(|present| present.suspected.is_some());
        let suspected = suspected.map(|present| present.member.node_id.clone()).collect();
        Members::new(self.me.node_id.clone(), live, suspected, lost, self.superseded)
    }

    fn namesake(&mut self, other: &Candidate) -> Option<Change> {
        let newer = other.incarnation > self.me.incarnation;
        let news = newer && !self.superseded;
        self.superseded |= newer;
        news.then_some(Change::Superseded { incarnation: other.incarnation })
    }

    fn judge(&self, candidate: &Candidate) -> Result<Member, Refusal> {
        let node_id: NodeId = candidate.name.parse().map_err(|_| Refusal::Name)?;
        let facts = candidate.facts.clone().map_err(|_| Refusal::Facts)?;
        let mine = &self.me.facts;
        if facts.protocol_min > mine.protocol {
            return Err(Refusal::NewerProtocol);
        }
        if facts.protocol < mine.protocol_min {
            return Err(Refusal::OlderProtocol);
        }
        if facts.store == StoreKind::Embedded || mine.store == StoreKind::Embedded {
            return Err(Refusal::EmbeddedStore);
        }
        let shared = facts.store == StoreKind::Redis;
        if facts.store != mine.store || (shared && facts.store_id != mine.store_id) {
            return Err(Refusal::OtherStore);
        }
        let present = self.present.get(&node_id).map(|present| present.member.incarnation);
        let gone = self.gone.get(&node_id).map(|gone| gone.incarnation);
        if present.max(gone).is_some_and(|known| candidate.incarnation < known) {
            return Err(Refusal::OldIncarnation);
        }
        Ok(Member { node_id, incarnation: candidate.incarnation, address: candidate.address, facts })
    }

    fn alive(&mut self, member: Member) -> Vec<Change> {
        self.gone.remove(&member.node_id);
        let member = Arc::new(member);
        let present = Present { member: member.clone(), suspected: None };
        match self.present.insert(member.node_id.clone(), present) {
            Some(before) if before.member.incarnation == member.incarnation => Vec::new(),
            // Started anew before anybody missed it: the one before is dead all the same.
            Some(before) => vec![Change::Died(before.member), Change::Joined(member)],
            None => vec![Change::Joined(member)],
        }
    }

    fn left(&mut self, now: Instant, member: &Member) -> Option<Change> {
        let before = self.present.remove(&member.node_id)?;
        self.bury(now, member, false);
        Some(Change::Left(before.member))
    }

    fn bury(&mut self, now: Instant, member: &Member, died: bool) {
        if self.gone.len() >= GONE_MAX {
            let oldest = self.gone.iter().min_by_key(|(_, gone)| gone.at).map(|(node, _)| node.clone());
            oldest.map(|node| self.gone.remove(&node));
        }
        let gone = Gone { incarnation: member.incarnation, at: now, died };
        self.gone.insert(member.node_id.clone(), gone);
    }
}

/// Of several incarnations of one name the newest; after a restart gossip shows both for a while.
fn newest(shown: Vec<Candidate>) -> impl Iterator<Item = Candidate> {
    let mut newest: BTreeMap<Arc<str>, Candidate> = BTreeMap::new();
    for candidate in shown {
        let known = newest.get(&candidate.name).map(|known| known.incarnation);
        if known.is_none_or(|known| known < candidate.incarnation) {
            newest.insert(candidate.name.clone(), candidate);
        }
    }
    newest.into_values()
}

#[cfg(test)]
mod tests;
