//! The callees of one procedure or pattern, and which of them is next.

use std::collections::VecDeque;

use super::Listed;
use crate::calls::message::CallId;
use crate::calls::{Invoke, Procedure};

/// All who have registered the same.
pub(super) struct Group {
    pub procedure: Procedure,
    pub invoke: Invoke,
    pub shares_always: bool,
    /// When the first of them registered, or of those who came to this home (Unix milliseconds).
    pub created_ms: u64,
    /// In the order of registration.
    pub callees: Vec<Callee>,
    /// Calls that wait for one to be free, the oldest first: at most `queued_max`.
    pub queue: VecDeque<CallId>,
    turn: usize,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Callee {
    pub node: u64,
    pub slot: u64,
    /// Calls at a time; 0 = no limit.
    pub concurrency: u32,
    pub busy: u32,
    pub interruptible: bool,
    pub session: u64,
}

impl Callee {
    fn is_free(&self) -> bool {
        self.concurrency == 0 || self.busy < self.concurrency
    }
}

impl Group {
    pub fn new(procedure: Procedure, invoke: Invoke, shares_always: bool, created_ms: u64) -> Group {
        let (callees, queue) = (Vec::new(), VecDeque::new());
        Group { procedure, invoke, shares_always, created_ms, callees, queue, turn: 0 }
    }

    pub fn callee(&mut self, node: u64, slot: u64) -> Option<&mut Callee> {
        self.callees.iter_mut().find(|callee| callee.node == node && callee.slot == slot)
    }

    /// Takes the next free callee's time, but of none that was `tried`; `None` = none is free.
    pub fn pick(&mut self, random: &mut u64, tried: &[(u64, u64)]) -> Option<(u64, u64)> {
        let count = self.callees.len();
        let free = |at: &usize| {
            let callee = &self.callees[*at];
            callee.is_free() && !tried.contains(&(callee.node, callee.slot))
        };
        let at = match self.invoke {
            Invoke::Single | Invoke::First => (0..count).find(free),
            Invoke::Last => (0..count).rev().find(free),
            Invoke::RoundRobin => (self.turn..self.turn + count).map(|at| at % count).find(free),
            Invoke::Random => {
                let first = next_random(random) as usize % count.max(1);
                (first..first + count).map(|at| at % count).find(free)
            }
            Invoke::Load => (0..count).filter(free).min_by_key(|at| self.callees[*at].busy),
        }?;
        self.turn = (at + 1) % count;
        let callee = &mut self.callees[at];
        callee.busy += 1;
        Some((callee.node, callee.slot))
    }

    /// A callee has finished a call.
    pub fn give_back(&mut self, node: u64, slot: u64) {
        if let Some(callee) = self.callee(node, slot) {
            callee.busy = callee.busy.saturating_sub(1);
        }
    }

    pub fn remove(&mut self, node: u64, slot: u64) -> Option<Callee> {
        let at = self.callees.iter().position(|callee| callee.node == node && callee.slot == slot)?;
        if self.turn > at {
            self.turn -= 1;
        }
        Some(self.callees.remove(at))
    }

    pub fn listed(&self) -> Listed {
        Listed {
            procedure: self.procedure.clone(),
            invoke: self.invoke,
            created_ms: self.created_ms,
            callees: self.callees.iter().map(|callee| callee.session).collect(),
        }
    }
}

/// xorshift64: evenly enough, and the same again in tests.
fn next_random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(invoke: Invoke, limits: &[u32]) -> Group {
        let mut group = Group::new(Procedure::Exact("p".into()), invoke, false, 0);
        group.callees = (0..).zip(limits).map(|(slot, limit)| callee(slot, *limit)).collect();
        group
    }

    fn callee(slot: u64, concurrency: u32) -> Callee {
        Callee { node: 1, slot, concurrency, busy: 0, interruptible: true, session: slot }
    }

    fn picks(group: &mut Group, count: usize) -> Vec<Option<u64>> {
        let mut random = 7;
        (0..count).map(|_| group.pick(&mut random, &[]).map(|(_, slot)| slot)).collect()
    }

    #[test]
    fn each_policy_picks_as_its_name_says() {
        assert_eq!(picks(&mut group(Invoke::First, &[2, 0]), 4), [Some(0), Some(0), Some(1), Some(1)]);
        assert_eq!(picks(&mut group(Invoke::Last, &[0, 1]), 3), [Some(1), Some(0), Some(0)]);
        let turns = [Some(0), Some(1), Some(2), Some(0)];
        assert_eq!(picks(&mut group(Invoke::RoundRobin, &[0, 0, 0]), 4), turns);
        assert_eq!(picks(&mut group(Invoke::Load, &[0, 0]), 4), [Some(0), Some(1), Some(0), Some(1)]);
        let random = picks(&mut group(Invoke::Random, &[0, 0, 0]), 60);
        assert!((0..3).all(|slot| random.contains(&Some(slot))));
    }

    #[test]
    fn nobody_is_picked_beyond_their_limits() {
        let mut group = group(Invoke::RoundRobin, &[1, 2]);
        assert_eq!(picks(&mut group, 4), [Some(0), Some(1), Some(1), None]);
        group.give_back(1, 0);
        assert_eq!(picks(&mut group, 2), [Some(0), None]);
    }
}
