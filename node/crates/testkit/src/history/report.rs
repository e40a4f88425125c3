//! What is wrong, said with the numbers around it and what was done to the cluster at the time.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::{Arrival, History, Sent};
use crate::{Fault, Line};

/// Faults explained; the others are counted.
const EXPLAINED_MAX: usize = 12;

/// Arrivals shown before and after.
const AROUND: usize = 4;

impl History {
    /// All that is to be known about these faults.
    #[must_use]
    pub fn report(&self, faults: &[Fault]) -> String {
        let mut text = format!("{} promises were broken\n", faults.len());
        for (kind, count) in count_kinds(faults) {
            let _ = writeln!(text, "  {kind}: {count}");
        }
        for fault in faults.iter().take(EXPLAINED_MAX) {
            let _ = write!(text, "{}", self.explain(fault));
        }
        if faults.len() > EXPLAINED_MAX {
            let _ = writeln!(text, "and {} more", faults.len() - EXPLAINED_MAX);
        }
        text + &self.events()
    }

    /// What was done to the cluster, and how far the traffic came.
    #[must_use]
    pub fn events(&self) -> String {
        let book = self.book();
        let sent = book.sent.len();
        let (acknowledged, refused) = (book.checker.acknowledged(), book.refused);
        let mut text =
            format!("{sent} messages sent, {acknowledged} acknowledged, {refused} refused; meanwhile:\n");
        for (at, what) in &book.events {
            let _ = writeln!(text, "  {:8.3} s  {what}", at.as_secs_f64());
        }
        text
    }

    fn explain(&self, fault: &Fault) -> String {
        let (receiver, line, number) = match fault {
            Fault::Lost { receiver, line, number }
            | Fault::Doubled { receiver, line, number }
            | Fault::Reordered { receiver, line, number, .. }
            | Fault::Invented { receiver, line, number }
            | Fault::Contradicted { receiver, line, number } => (receiver, *line, *number),
            other => return format!("- {other:?}\n"),
        };
        let book = self.book();
        let what = match fault {
            Fault::Reordered { after, .. } => format!("reordered (after {after})"),
            other => kind(other).to_owned(),
        };
        let sent = book.sent.get(&(line, number)).map_or_else(|| "never sent".to_owned(), when_sent);
        let name_only = receiver.split(' ').next().unwrap_or_default().to_owned();
        let arrivals = book.arrived.get(&(name_only, line)).map_or(&[][..], Vec::as_slice);
        let mut text = format!("- {what} at {receiver}: {}, number {number}, {sent}\n", name(line));
        let _ = writeln!(text, "    it got {}", around(arrivals, number));
        text
    }
}

fn when_sent(sent: &Sent) -> String {
    let mut text = format!("sent at {} to node {}", seconds(sent.at), sent.node);
    match sent.acknowledged {
        Some((at, node)) => text += &format!(", acknowledged at {} by node {node}", seconds(at)),
        None => text += ", never acknowledged",
    }
    text
}

/// What arrived around the place where this number is, or would be.
fn around(arrivals: &[Arrival], number: u64) -> String {
    let is_it = |arrival: &Arrival| arrival.number == number;
    let last = arrivals.iter().rposition(is_it);
    let at = last
        .or_else(|| arrivals.iter().position(|arrival| arrival.number > number))
        .unwrap_or(arrivals.len());
    let (from, to) = (at.saturating_sub(AROUND), (at + AROUND).min(arrivals.len()));
    let first = arrivals.iter().position(is_it).filter(|first| *first < from);
    let shown: Vec<String> =
        first.iter().map(|first| &arrivals[*first]).chain(&arrivals[from..to]).map(show).collect();
    if shown.is_empty() { "nothing of this line".to_owned() } else { shown.join(", ") }
}

fn show(arrival: &Arrival) -> String {
    let dup = if arrival.dup { " dup" } else { "" };
    format!("{}{dup} at {} from node {}", arrival.number, seconds(arrival.at), arrival.node)
}

fn seconds(at: Duration) -> String {
    format!("{:.3} s", at.as_secs_f64())
}

fn name(line: Line) -> String {
    format!("publisher {} topic {} QoS {}", line.publisher, line.topic, line.qos as u8)
}

fn count_kinds(faults: &[Fault]) -> BTreeMap<&'static str, usize> {
    let mut kinds = BTreeMap::new();
    for fault in faults {
        *kinds.entry(kind(fault)).or_default() += 1;
    }
    kinds
}

fn kind(fault: &Fault) -> &'static str {
    match fault {
        Fault::Lost { .. } => "lost",
        Fault::Doubled { .. } => "doubled",
        Fault::Reordered { .. } => "reordered",
        Fault::Invented { .. } => "invented",
        Fault::Contradicted { .. } => "refused and received",
        Fault::SessionLost { .. } => "session lost",
        Fault::TwoOwners { .. } => "two owners",
        Fault::Diverged { .. } => "diverged",
    }
}
