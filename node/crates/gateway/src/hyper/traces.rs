//! The subscriptions of a session as its client knows them: each TRACE is one of its own, though several may be of the
//! same topic and so one subscription of the realm.

use std::collections::{BTreeMap, HashMap};

use smallvec::SmallVec;
use weir_wire::wamp::Id;

/// One TRACE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// What its events are called by.
    pub id: Id,
    /// What it is given up by.
    pub qid: u64,
    /// Whether it wants what is retained.
    pub wants_retained: bool,
}

/// All of a session, at most `broker.subscriptions_max`.
#[derive(Debug, Default)]
pub struct Traces {
    last: u64,
    of_number: HashMap<u32, SmallVec<[Trace; 1]>>,
    numbers: BTreeMap<u64, u32>,
    /// Asked for and not answered: their options.
    pending: BTreeMap<Id, bool>,
}

/// What a TRACE that is given up leaves.
#[derive(Debug, PartialEq, Eq)]
pub struct GivenUp {
    pub id: Id,
    pub number: u32,
    /// Whether nothing is left of the subscription.
    pub is_last: bool,
}

impl Traces {
    pub fn count(&self) -> usize {
        self.numbers.len() + self.pending.len()
    }

    /// One is asked for.
    pub fn asked(&mut self, id: Id, wants_retained: bool) {
        self.pending.insert(id, wants_retained);
    }

    /// It is refused.
    pub fn refused(&mut self, id: Id) {
        self.pending.remove(&id);
    }

    /// It is granted, as this subscription; what it is given up by.
    pub fn granted(&mut self, id: Id, number: u32) -> u64 {
        let wants_retained = self.pending.remove(&id).unwrap_or_default();
        self.last += 1;
        let trace = Trace { id, qid: self.last, wants_retained };
        self.of_number.entry(number).or_default().push(trace);
        self.numbers.insert(self.last, number);
        self.last
    }

    /// Gives one up; `None` = there is none of this number.
    pub fn give_up(&mut self, qid: u64) -> Option<GivenUp> {
        let number = self.numbers.remove(&qid)?;
        let traces = self.of_number.get_mut(&number)?;
        let at = traces.iter().position(|trace| trace.qid == qid)?;
        let trace = traces.remove(at);
        let is_last = traces.is_empty();
        if is_last {
            self.of_number.remove(&number);
        }
        Some(GivenUp { id: trace.id, number, is_last })
    }

    /// The subscription has ended: all that were of it.
    pub fn ended(&mut self, number: u32) -> SmallVec<[Trace; 1]> {
        let traces = self.of_number.remove(&number).unwrap_or_default();
        for trace in &traces {
            self.numbers.remove(&trace.qid);
        }
        traces
    }

    /// Those that an event of a subscription is for.
    pub fn wanting(&self, number: u32, retained: bool) -> impl Iterator<Item = &Trace> {
        let traces = self.of_number.get(&number).into_iter().flatten();
        traces.filter(move |trace| trace.wants_retained || !retained)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> Id {
        Id::new(number).expect("an id")
    }

    #[test]
    fn two_traces_of_one_topic_are_given_up_one_by_one() {
        let mut traces = Traces::default();
        let first = traces.granted(id(1), 7);
        let second = traces.granted(id(2), 7);
        assert_eq!(traces.give_up(first), Some(GivenUp { id: id(1), number: 7, is_last: false }));
        assert_eq!(traces.give_up(first), None);
        assert_eq!(traces.wanting(7, false).map(|trace| trace.id).collect::<Vec<_>>(), [id(2)]);
        assert_eq!(traces.give_up(second), Some(GivenUp { id: id(2), number: 7, is_last: true }));
        assert_eq!(traces.count(), 0);
    }

    #[test]
    fn retained_events_are_for_those_who_asked_for_them() {
        let mut traces = Traces::default();
        traces.asked(id(1), true);
        traces.granted(id(1), 7);
        traces.granted(id(2), 7);
        assert_eq!(traces.wanting(7, true).map(|trace| trace.id).collect::<Vec<_>>(), [id(1)]);
        assert_eq!(traces.wanting(7, false).count(), 2);
    }
}
