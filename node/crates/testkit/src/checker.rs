//! The checker: says of every message whether its promise was kept, from what publishers and receivers noted.
//!
//! A publisher numbers what it sends on one topic at one QoS from 0 on; that is a [`Line`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use weir_model::Qos;

/// What one publisher sends on one topic at one QoS, which is what keeps its order (MQTT-4.6.0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    pub publisher: u32,
    pub topic: u8,
    pub qos: Qos,
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Acknowledged to its publisher and never received.
    Lost { receiver: String, line: Line, number: u64 },
    /// QoS 0 or 2, and received twice.
    Doubled { receiver: String, line: Line, number: u64 },
    /// Received for the first time after a later one.
    Reordered { receiver: String, line: Line, number: u64, after: u64 },
    /// Received and never sent.
    Invented { receiver: String, line: Line, number: u64 },
    /// Received, though its publisher had been told that it was refused.
    Contradicted { receiver: String, line: Line, number: u64 },
    /// A kept session that its client did not find again.
    SessionLost { client_id: String, node: usize },
    /// A connection was acknowledged a message long after another one had its client id.
    TwoOwners { client_id: String, nodes: (usize, usize), after: Duration },
    /// What somebody holds for the retained value of a topic is not what the store holds.
    Diverged { topic: String, who: String, has: String, stored: String },
}

/// What all publishers and receivers of a test have noted.
#[derive(Debug, Default)]
pub struct Checker {
    published: BTreeMap<Line, Published>,
    received: BTreeMap<(String, Line), Received>,
    receivers: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Published {
    sent: u64,
    acknowledged: BTreeSet<u64>,
    refused: BTreeSet<u64>,
}

#[derive(Debug, Default)]
struct Received {
    seen: BTreeSet<u64>,
    faults: Vec<Fault>,
}

impl Checker {
    /// From now on this receiver is owed everything that is acknowledged.
    pub fn expect(&mut self, receiver: &str) {
        self.receivers.insert(receiver.to_owned());
    }

    /// About to be sent for the first time. Returns its number.
    pub fn send(&mut self, line: Line) -> u64 {
        let published = self.published.entry(line).or_default();
        published.sent += 1;
        published.sent - 1
    }

    /// The publisher has its PUBACK or PUBREC.
    pub fn acknowledge(&mut self, line: Line, number: u64) {
        self.published.entry(line).or_default().acknowledged.insert(number);
    }

    /// The publisher was told that it is certainly not done, and had sent it once only.
    pub fn refuse(&mut self, line: Line, number: u64) {
        self.published.entry(line).or_default().refused.insert(number);
    }

    /// A receiver was given it: each copy that is none by the rules of its QoS.
    pub fn receive(&mut self, receiver: &str, line: Line, number: u64) {
        let is_known = self.published.get(&line).is_some_and(|published| number < published.sent);
        let received = self.received.entry((receiver.to_owned(), line)).or_default();
        let receiver = receiver.to_owned();
        let newest = received.seen.last().copied();
        if !is_known {
            received.faults.push(Fault::Invented { receiver, line, number });
        } else if !received.seen.insert(number) {
            if line.qos != Qos::AtLeastOnce {
                received.faults.push(Fault::Doubled { receiver, line, number });
            }
        } else if let Some(after) = newest.filter(|newest| *newest > number) {
            received.faults.push(Fault::Reordered { receiver, line, number, after });
        }
    }

    /// Messages acknowledged so far, of all lines.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.published.values().map(|published| published.acknowledged.len()).sum()
    }

    /// The newest number acknowledged, and the newest sent.
    #[must_use]
    pub fn newest(&self, line: Line) -> (Option<u64>, Option<u64>) {
        let Some(published) = self.published.get(&line) else { return (None, None) };
        (published.acknowledged.last().copied(), published.sent.checked_sub(1))
    }

    /// Whether this receiver has everything acknowledged until now.
    #[must_use]
    pub fn is_complete(&self, receiver: &str) -> bool {
        self.lost_by(receiver).next().is_none()
    }

    /// Every broken promise. Asked when the receivers have had their time.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        let lost = self.receivers.iter().flat_map(|receiver| self.lost_by(receiver));
        let noted = self.received.values().flat_map(|received| received.faults.iter().cloned());
        let mut faults: Vec<Fault> = lost.chain(noted).chain(self.contradictions()).collect();
        faults.sort();
        faults
    }

    fn contradictions(&self) -> impl Iterator<Item = Fault> {
        self.received.iter().flat_map(|((receiver, line), received)| {
            let refused = self.published.get(line).into_iter().flat_map(|published| &published.refused);
            let seen = refused.filter(|number| received.seen.contains(number));
            seen.map(|&number| Fault::Contradicted { receiver: receiver.clone(), line: *line, number })
        })
    }

    fn lost_by(&self, receiver: &str) -> impl Iterator<Item = Fault> {
        self.published.iter().flat_map(move |(line, published)| {
            let seen = self.received.get(&(receiver.to_owned(), *line)).map(|received| &received.seen);
            let missing = move |number: &&u64| seen.is_none_or(|seen| !seen.contains(number));
            let lost = published.acknowledged.iter().filter(missing);
            lost.map(move |number| Fault::Lost {
                receiver: receiver.to_owned(),
                line: *line,
                number: *number,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONCE: Line = Line { publisher: 1, topic: 0, qos: Qos::ExactlyOnce };
    const TWICE: Line = Line { publisher: 1, topic: 0, qos: Qos::AtLeastOnce };

    /// Three messages of a line, all acknowledged, owed to `a`.
    fn three(line: Line) -> Checker {
        let mut checker = Checker::default();
        checker.expect("a");
        for _ in 0..3 {
            let number = checker.send(line);
            checker.acknowledge(line, number);
        }
        checker
    }

    #[test]
    fn what_was_acknowledged_and_not_received_is_lost_and_what_was_not_acknowledged_is_not() {
        let mut checker = three(TWICE);
        checker.send(TWICE);
        checker.receive("a", TWICE, 0);
        checker.receive("a", TWICE, 2);
        let lost = Fault::Lost { receiver: "a".into(), line: TWICE, number: 1 };
        assert_eq!(checker.faults(), [lost]);
        assert!(!checker.is_complete("a"));
    }

    #[test]
    fn a_repeat_is_a_fault_at_qos_2_only() {
        for (line, faults) in [(ONCE, 1), (TWICE, 0)] {
            let mut checker = three(line);
            [0, 1, 2, 1].into_iter().for_each(|number| checker.receive("a", line, number));
            assert_eq!(checker.faults().len(), faults, "{line:?}");
        }
    }

    #[test]
    fn first_occurrences_keep_their_order_and_repeats_need_not() {
        let mut checker = three(TWICE);
        [0, 2, 0, 1].into_iter().for_each(|number| checker.receive("a", TWICE, number));
        let reordered = Fault::Reordered { receiver: "a".into(), line: TWICE, number: 1, after: 2 };
        assert_eq!(checker.faults(), [reordered]);
    }

    #[test]
    fn what_was_refused_and_came_nevertheless_is_named() {
        let mut checker = three(TWICE);
        let number = checker.send(TWICE);
        checker.refuse(TWICE, number);
        [0, 1, 2].into_iter().for_each(|number| checker.receive("a", TWICE, number));
        assert_eq!(checker.faults(), []);
        checker.receive("a", TWICE, number);
        let named = Fault::Contradicted { receiver: "a".into(), line: TWICE, number };
        assert_eq!(checker.faults(), [named]);
    }

    #[test]
    fn what_nobody_sent_is_invented() {
        let mut checker = three(ONCE);
        checker.receive("b", ONCE, 7);
        assert!(checker.faults().contains(&Fault::Invented { receiver: "b".into(), line: ONCE, number: 7 }));
    }
}
