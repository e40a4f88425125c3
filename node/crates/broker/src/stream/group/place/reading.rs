//! Pages of a partition, taken into a group's place: what is new, what was finished before, what is gone.

use weir_model::UnixMillis;
use weir_store::{Mark, Progress, Record, Start, StreamPage};
use xxhash_rust::xxh3::xxh3_64;

use super::window::{Entry, State};
use super::{Found, Place};

/// A page is read when fewer records than this wait to be looked at.
const READ_AHEAD: u64 = 500;

/// Bytes of records that are read and not finished; beyond, nothing more is read.
const WINDOW_BYTES_MAX: u64 = 4 << 20;

impl Place {
    /// Where to read on, if more is wanted.
    pub fn wants(&self) -> Option<Start> {
        let is_more = self.stale || self.read.position < self.tail.position;
        let has_room = self.window.end() - self.cursor < READ_AHEAD && self.window.bytes() < WINDOW_BYTES_MAX;
        (is_more && has_room).then_some(Start::After(self.read.position))
    }

    /// The partition has records up to here.
    pub fn grown(&mut self, tail: Mark) {
        self.tail = self.tail.max(tail);
    }

    /// The partition may have changed without a word.
    pub fn look_again(&mut self) {
        self.stale = true;
    }

    /// Takes a page that begins where [`Place::wants`] said.
    pub fn page(&mut self, page: StreamPage, now: u64, unix: UnixMillis) -> Found {
        let (ends, first) = (page.ends, page.records.first().map(|record| record.mark));
        let mut found = Found::default();
        if ends.tail == Mark::default() && self.read != Mark::default() {
            return Found { is_gone: true, ..found };
        }
        self.stale = false;
        self.sealed = ends.is_sealed;
        self.window.shorten(self.cursor);
        if ends.tail.position < self.read.position {
            return Found { went_back: true, ends_at: Some(ends.tail), ..found };
        }
        self.tail = self.tail.max(ends.tail);
        if ends.trimmed.position > self.read.position {
            found.lost = self.pass_trimmed(ends.trimmed, first);
        }
        for record in page.records {
            if record.mark.position > self.read.position {
                found.went_back |= record.mark.number <= self.read.number;
                self.add(record, now, unix);
            }
        }
        if first.is_none() {
            self.pass_empty(ends.tail);
        }
        found
    }

    /// Records that were let go before they were read are passed over; says how many.
    fn pass_trimmed(&mut self, trimmed: Mark, first: Option<Mark>) -> u64 {
        let gone = match first.filter(|first| first.position <= trimmed.position) {
            // Trimmed after it was read.
            Some(first) if first.number <= self.read.number + 1 => return 0,
            Some(first) => Mark { number: first.number - 1, ..self.read },
            None => trimmed,
        };
        let finished = self.restored.forget_up_to(self.read, gone);
        let lost = gone.number.saturating_sub(self.read.number).saturating_sub(finished);
        if gone.position > self.read.position {
            self.pass(gone);
        }
        lost
    }

    /// A page without records: when the same was seen before, nothing is left up to its tail. (Where it begins and
    /// what it holds may be read one after the other.)
    fn pass_empty(&mut self, tail: Mark) {
        if tail.position <= self.read.position {
            self.empty_up_to = None;
            return;
        }
        match self.empty_up_to.take() {
            Some(seen) if seen.position > self.read.position => self.pass(seen),
            _ => self.empty_up_to = Some(tail),
        }
        self.stale = true;
    }

    /// There is nothing more up to a mark.
    fn pass(&mut self, mark: Mark) {
        self.window.push(Entry::done(mark));
        self.read = mark;
        self.cursor = self.cursor.max(self.window.base());
        self.changes += 1;
    }

    fn add(&mut self, record: Record, now: u64, unix: UnixMillis) {
        let mark = record.mark;
        self.empty_up_to = None;
        if let Some((first, last)) = self.restored.run_at(mark) {
            if first.position > self.read.position && first < last {
                self.pass(first);
            }
            return self.pass(last);
        }
        let hash = match record.key.is_empty() && !self.rules.keyless_in_order {
            true => 0,
            // What has no key has one in common, where order counts.
            false => xxh3_64(&record.key).max(1),
        };
        let mut entry = Entry::new(record, hash);
        if let Some(attempt) = self.restored.attempt_at(mark) {
            let wait = attempt.retry_at.map_or(0, |at| at.0.saturating_sub(unix.0));
            entry.deliveries = attempt.deliveries;
            entry.failed = true;
            entry.state = State::New { retry_at: if wait > 0 { now + wait } else { 0 } };
            self.failed += 1;
        }
        self.window.push(entry);
        self.read = mark;
    }

    /// Begins anew from a mark: what was read and not finished is gone.
    pub fn restart(&mut self, low: Mark) {
        let fresh = Place::new(Progress { low, ..Progress::default() }, self.rules.clone());
        *self = Place { changes: self.changes + 1, dropped: self.dropped, ..fresh };
    }
}
