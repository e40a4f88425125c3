//! The home: registrations of all nodes, who is called next, and the calls under way.

mod calling;
mod group;
mod registering;

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use weir_model::Filter;

use crate::calls::message::{CallId, Stage};
use crate::calls::procedure::portions;
use crate::calls::{Answer, Invoke, MatchKind, Offer, Payload, Procedure, Why};
use group::Group;

/// Calls handed to another home and remembered: far more than a link holds of them.
const HANDED_ON_MAX: usize = 65_536;

/// What is registered and called here.
pub(super) struct Home {
    groups: HashMap<u64, Group>,
    exact: HashMap<Arc<str>, u64>,
    prefixes: HashMap<Arc<str>, u64>,
    /// Lengths of the prefixes there are, the longest first, and how many have each.
    prefix_lengths: Vec<(usize, usize)>,
    /// The greatest first.
    wildcards: Vec<(Vec<usize>, Filter, u64)>,
    /// Groups by the callees' nodes and slots.
    slots: HashMap<(u64, u64), u64>,
    calls: HashMap<CallId, Call>,
    /// Calls of what is not known here while others may still tell.
    held: VecDeque<CallId>,
    handed_on: HandedOn,
    /// Whether all nodes have told what is registered with them.
    settled: bool,
    next_group: u64,
    /// Of the generator that picks at random.
    random: u64,
}

/// A call that is not over.
struct Call {
    /// Where it was found; 0 while it is held.
    group: u64,
    /// Callees that could not take it.
    tried: Vec<(u64, u64)>,
    state: Progress,
}

enum Progress {
    /// No callee is free, or the procedure may still become known.
    Waits { offer: Box<Offer>, more: Vec<(Payload, bool)>, at: Stage, hops: u8 },
    /// A callee has it. `abandoned`: nobody waits for its answer, but it is still at work.
    Runs { node: u64, slot: u64, abandoned: bool },
}

/// Calls that another home has got, or will get: until it says so, its end is theirs; and what follows them finds it.
/// Full: the oldest is forgotten, which has long arrived.
#[derive(Default)]
struct HandedOn {
    to: HashMap<CallId, u64>,
    order: VecDeque<CallId>,
}

impl HandedOn {
    fn add(&mut self, call: CallId, to: u64) {
        if self.to.insert(call, to).is_none() {
            self.order.push_back(call);
        }
        if self.order.len() > HANDED_ON_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.to.remove(&oldest);
        }
    }

    /// Those that went to a node that is gone.
    fn lost_with(&self, node: u64) -> Vec<CallId> {
        self.to.iter().filter(|(_, to)| **to == node).map(|(call, _)| *call).collect()
    }
}

/// A registration as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub procedure: Procedure,
    pub invoke: Invoke,
    /// When it was made (Unix milliseconds); of one that has moved home, when the first that came along registered.
    pub created_ms: u64,
    /// Public numbers of the callees' sessions, in the order of registration.
    pub callees: Vec<u64>,
}

impl Home {
    pub fn new(seed: u64) -> Home {
        Home {
            groups: HashMap::new(),
            exact: HashMap::new(),
            prefixes: HashMap::new(),
            prefix_lengths: Vec::new(),
            wildcards: Vec::new(),
            slots: HashMap::new(),
            calls: HashMap::new(),
            held: VecDeque::new(),
            handed_on: HandedOn::default(),
            settled: true,
            next_group: 0,
            random: seed | 1,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.calls.is_empty()
    }

    /// The group of the very same procedure or pattern.
    fn group_of(&self, procedure: &Procedure) -> Option<u64> {
        match procedure {
            Procedure::Exact(topic) => self.exact.get(topic).copied(),
            Procedure::Prefix(prefix) => self.prefixes.get(prefix).copied(),
            Procedure::Wildcard(filter) => {
                self.wildcards.iter().find(|(_, known, _)| known == filter).map(|(_, _, group)| *group)
            }
        }
    }

    /// The pattern that means a topic: the longest prefix, else the greatest wildcard pattern (WAMP,
    /// "Pattern-based Registrations").
    fn pattern_of(&self, topic: &str) -> Option<u64> {
        let prefix =
            self.prefix_lengths.iter().find_map(|(length, _)| self.prefixes.get(topic.get(..*length)?));
        let wildcard = || self.wildcards.iter().find(|(_, filter, _)| filter.matches(topic));
        prefix.copied().or_else(|| wildcard().map(|(_, _, group)| *group))
    }

    /// Makes a place for a procedure that nobody has.
    fn add_group(
        &mut self,
        procedure: &Procedure,
        invoke: Invoke,
        shares_always: bool,
        created_ms: u64,
    ) -> u64 {
        self.next_group += 1;
        let id = self.next_group;
        match procedure {
            Procedure::Exact(topic) => drop(self.exact.insert(topic.clone(), id)),
            Procedure::Prefix(prefix) => {
                self.prefixes.insert(prefix.clone(), id);
                match self.prefix_lengths.binary_search_by(|(length, _)| prefix.len().cmp(length)) {
                    Ok(at) => self.prefix_lengths[at].1 += 1,
                    Err(at) => self.prefix_lengths.insert(at, (prefix.len(), 1)),
                }
            }
            Procedure::Wildcard(filter) => {
                let weight = portions(filter.as_str());
                let at = self.wildcards.partition_point(|(known, _, _)| *known >= weight);
                self.wildcards.insert(at, (weight, filter.clone(), id));
            }
        }
        self.groups.insert(id, Group::new(procedure.clone(), invoke, shares_always, created_ms));
        id
    }

    /// Takes a procedure out that nobody has any more; returns the calls that waited for it.
    fn remove_group(&mut self, id: u64) -> Vec<CallId> {
        let Some(group) = self.groups.remove(&id) else { return Vec::new() };
        match &group.procedure {
            Procedure::Exact(topic) => drop(self.exact.remove(topic)),
            Procedure::Prefix(prefix) => {
                self.prefixes.remove(prefix);
                if let Some(at) = self.prefix_lengths.iter().position(|(length, _)| *length == prefix.len()) {
                    self.prefix_lengths[at].1 -= 1;
                    if self.prefix_lengths[at].1 == 0 {
                        self.prefix_lengths.remove(at);
                    }
                }
            }
            Procedure::Wildcard(_) => self.wildcards.retain(|(_, _, group)| *group != id),
        }
        group.queue.into()
    }

    fn wildcards(&self) -> usize {
        self.wildcards.len()
    }

    /// Every registration here.
    pub fn list(&self) -> Vec<Listed> {
        self.groups.values().map(Group::listed).collect()
    }

    /// What would be called.
    pub fn find(&self, topic: &str, kinds: &[MatchKind]) -> Option<Listed> {
        let exact = || self.exact.get(topic).copied().filter(|_| kinds.contains(&MatchKind::Exact));
        let pattern = || self.pattern_of(topic).filter(|_| kinds.len() > 1);
        let group = exact().or_else(pattern)?;
        self.groups.get(&group).map(Group::listed)
    }
}

/// What the caller of a call hears whose callee is gone.
fn callee_gone() -> Answer {
    Answer::failed(Why::Canceled)
}
