//! The records of a partition that a group has read and not finished, and what is finished among and below them.
//!
//! Records stand in the order of the partition, each under a number of its own here: its seat. What is finished at the
//! front goes; a record that stays unfinished for long is put aside, so that it holds up nothing but itself.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use weir_model::Message;
use weir_store::{Mark, Record};

use super::Failure;

/// Which record: dense from 0 on, in the order they were read.
pub(super) type Seat = u64;

/// Seats that stay in a row although a record at its front is unfinished.
const IN_ROW_MAX: usize = 4096;

/// One record that was read.
#[derive(Debug)]
pub(super) struct Entry {
    pub mark: Mark,
    pub key: Bytes,
    /// `None` = finished.
    pub message: Option<Arc<Message>>,
    /// Of its key; 0 = it has none. Two keys of one hash are kept in order as one.
    pub hash: u64,
    pub bytes: u32,
    /// How often it was delivered.
    pub deliveries: u32,
    /// A delivery of it is over without success.
    pub failed: bool,
    /// What a member said of that.
    pub reason: Option<Arc<str>>,
    pub state: State,
}

/// What becomes of a record. Times are milliseconds of the node's own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nobody has looked at it; not to be delivered before.
    New {
        retry_at: u64,
    },
    /// It can be delivered as soon as its key lets it.
    Ready,
    /// With a member, which has until then.
    Out {
        member: u32,
        until: u64,
    },
    /// Not to be delivered before.
    Waiting {
        retry_at: u64,
    },
    /// Delivered as often as may be: it is on its way to the dead letters.
    Dead(Failure),
    Done,
}

impl Entry {
    pub fn new(record: Record, hash: u64) -> Entry {
        let Record { mark, key, message } = record;
        let bytes = u32::try_from(message.size_bytes() + key.len()).unwrap_or(u32::MAX);
        let state = State::New { retry_at: 0 };
        let message = Some(message);
        Entry { mark, key, message, hash, bytes, deliveries: 0, failed: false, reason: None, state }
    }

    /// Stands for records that are finished or gone.
    pub fn done(mark: Mark) -> Entry {
        let (key, state) = (Bytes::new(), State::Done);
        let (message, reason) = (None, None);
        Entry { mark, key, message, hash: 0, bytes: 0, deliveries: 0, failed: false, reason, state }
    }
}

/// Finished records that follow one another.
#[derive(Debug, Clone, Copy)]
struct Run {
    last_seat: Seat,
    first: Mark,
    last: Mark,
}

#[derive(Debug, Default)]
pub(super) struct Window {
    /// The seats from `base` on.
    row: VecDeque<Entry>,
    base: Seat,
    /// Unfinished records below `base`.
    aside: BTreeMap<Seat, Entry>,
    aside_at: BTreeMap<Mark, Seat>,
    /// What is finished above the first one aside, by first seat.
    runs: BTreeMap<Seat, Run>,
    low: Mark,
    /// Finished records in the row.
    done_in_row: usize,
    bytes: u64,
}

impl Window {
    pub fn new(low: Mark) -> Window {
        Window { low, ..Window::default() }
    }

    /// Everything up to here is finished.
    pub fn low(&self) -> Mark {
        self.low
    }

    /// The seat that the next record gets.
    pub fn end(&self) -> Seat {
        self.base + self.row.len() as u64
    }

    pub fn base(&self) -> Seat {
        self.base
    }

    pub fn is_empty(&self) -> bool {
        self.row.is_empty() && self.aside.is_empty()
    }

    /// Of the messages it holds.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn push(&mut self, entry: Entry) {
        self.bytes += u64::from(entry.bytes);
        self.done_in_row += usize::from(entry.state == State::Done);
        self.row.push_back(entry);
        if self.row.len() == 1 {
            self.pop_done();
        }
    }

    pub fn get_mut(&mut self, seat: Seat) -> Option<&mut Entry> {
        match seat.checked_sub(self.base) {
            Some(place) => self.row.get_mut(place as usize),
            None => self.aside.get_mut(&seat),
        }
    }

    pub fn get(&self, seat: Seat) -> Option<&Entry> {
        match seat.checked_sub(self.base) {
            Some(place) => self.row.get(place as usize),
            None => self.aside.get(&seat),
        }
    }

    /// The seat of a record. Numbers are dense but for what compaction took: mostly the first guess is right.
    pub fn find(&self, mark: Mark) -> Option<Seat> {
        let Some(front) = self.row.front().map(|entry| entry.mark).filter(|front| mark >= *front) else {
            return self.aside_at.get(&mark).copied();
        };
        let guess = usize::try_from(mark.number.saturating_sub(front.number)).unwrap_or(usize::MAX);
        if self.row.get(guess).is_some_and(|entry| entry.mark == mark) {
            return Some(self.base + guess as u64);
        }
        let place = self.row.binary_search_by_key(&mark, |entry| entry.mark).ok()?;
        Some(self.base + place as u64)
    }

    /// The record is finished.
    pub fn finish(&mut self, seat: Seat) {
        let Some(place) = seat.checked_sub(self.base) else { return self.finish_aside(seat) };
        let Some(entry) = self.row.get_mut(place as usize) else { return };
        if entry.state == State::Done {
            return;
        }
        self.bytes -= u64::from(entry.bytes);
        entry.state = State::Done;
        entry.message = None;
        entry.reason = None;
        entry.key = Bytes::new();
        self.done_in_row += 1;
        if place == 0 {
            self.pop_done();
        }
    }

    fn pop_done(&mut self) {
        while let Some(entry) = self.row.front().filter(|entry| entry.state == State::Done) {
            let mark = entry.mark;
            self.row.pop_front();
            self.done_in_row -= 1;
            self.base += 1;
            self.add_run(self.base - 1, Run { last_seat: self.base - 1, first: mark, last: mark });
        }
    }

    fn finish_aside(&mut self, seat: Seat) {
        let Some(entry) = self.aside.remove(&seat) else { return };
        self.aside_at.remove(&entry.mark);
        self.bytes -= u64::from(entry.bytes);
        self.add_run(seat, Run { last_seat: seat, first: entry.mark, last: entry.mark });
    }

    /// Joins what is finished with what is beside it; what nothing unfinished stands below raises the low mark.
    fn add_run(&mut self, first_seat: Seat, run: Run) {
        if self.aside.is_empty() && self.runs.is_empty() {
            self.low = run.last;
            return;
        }
        let (mut first_seat, mut run) = (first_seat, run);
        if let Some((before_seat, before)) = self.runs.range(..first_seat).next_back()
            && before.last_seat + 1 == first_seat
        {
            (first_seat, run.first) = (*before_seat, before.first);
        }
        if let Some(after) = self.runs.remove(&(run.last_seat + 1)) {
            (run.last_seat, run.last) = (after.last_seat, after.last);
        }
        self.runs.insert(first_seat, run);
        let lowest = self.aside.keys().next().copied().unwrap_or(Seat::MAX);
        while let Some(first) = self.runs.first_entry().filter(|first| *first.key() < lowest) {
            self.low = first.remove().last;
        }
    }

    /// Puts aside what is unfinished at the front of a row that has become long. What nobody has looked at, from
    /// `cursor` on, stays.
    pub fn shorten(&mut self, cursor: Seat) {
        while self.row.len() > IN_ROW_MAX && self.base < cursor {
            let Some(entry) = self.row.pop_front() else { return };
            let seat = self.base;
            self.base += 1;
            self.aside_at.insert(entry.mark, seat);
            self.aside.insert(seat, entry);
            self.pop_done();
        }
    }

    /// First and last of each run that is finished above the low mark, in order.
    pub fn done_above(&self) -> Vec<(Mark, Mark)> {
        let mut done: Vec<_> = self.runs.values().map(|run| (run.first, run.last)).collect();
        if self.done_in_row == 0 {
            return done;
        }
        let mut reaches = self.runs.values().next_back().map(|run| run.last_seat);
        for (seat, entry) in (self.base..).zip(&self.row).filter(|(_, entry)| entry.state == State::Done) {
            match done.last_mut().filter(|_| reaches.is_some_and(|reaches| reaches + 1 == seat)) {
                Some(run) => run.1 = entry.mark,
                None => done.push((entry.mark, entry.mark)),
            }
            reaches = Some(seat);
        }
        done
    }

    /// What somebody has looked at, and finished records, in order.
    pub fn up_to(&self, cursor: Seat) -> impl Iterator<Item = (Seat, &Entry)> {
        let row = (self.base..cursor).zip(&self.row);
        self.aside.iter().map(|(seat, entry)| (*seat, entry)).chain(row)
    }
}
