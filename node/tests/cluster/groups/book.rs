//! The book of a group's work: what was published, delivered and finished, by the clock, and what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// One record, as its publisher numbers it within its topic, from 1 on.
pub type Id = (String, u64);

/// What all who work on a group write into.
pub struct Book {
    started: Instant,
    pages: Mutex<Pages>,
}

#[derive(Default)]
struct Pages {
    /// The last number that was acknowledged to its publisher, of each topic; all below it were too.
    published: BTreeMap<String, u64>,
    /// The highest number that anybody was given, of each topic.
    given: BTreeMap<String, u64>,
    /// Who was told that a record is finished.
    finished: BTreeMap<Id, String>,
    /// Acknowledged by a member whose call ended before it was answered: finished, or to come again.
    in_doubt: BTreeSet<Id>,
    /// Records may come again though they were finished: the store has forgotten some.
    has_forgotten: bool,
    /// The last number of each topic that may have been forgotten and put back by then: such a record may come behind
    /// newer ones, all others are in order.
    put_back: BTreeMap<String, u64>,
    /// Acknowledgements without effect, by reason.
    refused: BTreeMap<String, u64>,
    /// How members were ended.
    ended: BTreeMap<String, u64>,
    repeats: u64,
    events: Vec<String>,
    faults: Vec<String>,
}

impl Book {
    pub fn new() -> Book {
        Book { started: Instant::now(), pages: Mutex::default() }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn note(&self, what: impl std::fmt::Display) {
        let line = format!("{:8.3} {what}", self.started.elapsed().as_secs_f64());
        self.pages().events.push(line);
    }

    /// From now on records that were finished may come again.
    pub fn store_has_forgotten(&self) {
        self.note("the store has forgotten something");
        self.pages().has_forgotten = true;
    }

    /// What was acknowledged until now may have been forgotten; what is from now on was not.
    pub fn store_forgets_no_more(&self) {
        self.note("the store forgets no more");
        let mut pages = self.pages();
        pages.put_back = pages.published.clone();
    }

    /// The publisher of a topic was told that this one is kept.
    pub fn published(&self, topic: &str, number: u64) {
        self.pages().published.insert(topic.to_owned(), number);
    }

    /// A member was given a record.
    pub fn given(&self, member: &str, (topic, number): Id, deliveries: u32) {
        self.note(format_args!("{member} is given {topic} {number}, time {deliveries}"));
        let mut pages = self.pages();
        pages.repeats += u64::from(deliveries > 1);
        let highest = pages.given.entry(topic.clone()).or_default();
        let before = *highest;
        *highest = before.max(number);
        let put_back = pages.put_back.get(&topic).copied().unwrap_or(0);
        if number > before + 1 && number - 1 > put_back {
            pages.faults.push(format!("{topic} {number} is given to {member} before {}", before + 1));
        }
        if pages.has_forgotten {
            return;
        }
        if let Some(other) = pages.finished.get(&(topic.clone(), number)) {
            let fault = format!("{topic} {number} is given to {member}, and was finished by {other}");
            pages.faults.push(fault);
        }
    }

    /// A member was told that a record is finished, and stored as such.
    pub fn finished(&self, member: &str, (topic, number): Id) {
        self.note(format_args!("{member} has finished {topic} {number}"));
        let mut pages = self.pages();
        let other = pages.finished.insert((topic.clone(), number), member.to_owned());
        if let Some(other) = other.filter(|_| !pages.has_forgotten) {
            pages.faults.push(format!("{topic} {number} was finished by {other}, and again by {member}"));
        }
    }

    /// A member's call ended before it heard whether a record is finished.
    pub fn not_answered(&self, member: &str, id: Id) {
        self.note(format_args!("{member} does not know of {} {}", id.0, id.1));
        self.pages().in_doubt.insert(id);
    }

    /// An acknowledgement had no effect; of one that got lost on its way to the store that is not known.
    pub fn refused(&self, member: &str, (topic, number): &Id, reason: &str) {
        self.note(format_args!("{member} may not finish {topic} {number}: {reason}"));
        let mut pages = self.pages();
        *pages.refused.entry(reason.to_owned()).or_default() += 1;
        if reason == "elsewhere" {
            pages.in_doubt.insert((topic.clone(), *number));
        }
    }

    /// A member's call came to an end.
    pub fn ended(&self, member: &str, why: &str) {
        self.note(format_args!("{member} has ended: {why}"));
        *self.pages().ended.entry(why.to_owned()).or_default() += 1;
    }

    /// How many records are finished.
    pub fn count(&self) -> usize {
        self.pages().finished.len()
    }

    /// Records that were acknowledged to their publisher and that nobody can have finished.
    pub fn missing(&self) -> Vec<Id> {
        let pages = self.pages();
        let all = pages.published.iter().flat_map(|(topic, last)| (1..=*last).map(|n| (topic.clone(), n)));
        all.filter(|id| !pages.finished.contains_key(id) && !pages.in_doubt.contains(id)).collect()
    }

    /// Looks for broken promises, and tells everything there is if there are any.
    pub fn judge(&self) {
        let mut faults = std::mem::take(&mut self.pages().faults);
        faults.extend(self.missing().into_iter().map(|(topic, n)| format!("{topic} {n} was never finished")));
        let pages = self.pages();
        if !faults.is_empty() {
            let path = std::env::temp_dir().join(format!("weir-group-history-{}", std::process::id()));
            std::fs::write(&path, pages.events.join("\n")).expect("the history is written");
            faults.truncate(20);
            panic!("{}\nthe history is in {}", faults.join("\n"), path.display());
        }
        println!(
            "finished {}, delivered again {}, refused {:?}, ended {:?}",
            pages.finished.len(),
            pages.repeats,
            pages.refused,
            pages.ended
        );
    }
}
