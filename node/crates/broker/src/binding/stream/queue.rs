//! Records that wait for calls: in a line for each key, of which one lane at a time has the records in order.

use std::collections::VecDeque;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::atomic::{AtomicBool, Ordering};

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::stream::group::{Delivered, Receipt};

/// Most records of a line that a lane takes at once.
const RUN_RECORDS_MAX: usize = 64;

/// A key in a partition. Two keys of one hash wait in one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct LineId(u64);

/// What a lane gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Records of this line; it is this lane's until [`Queue::free`].
    Line(LineId),
    /// There is none now.
    Nothing,
    /// There will be none.
    Over,
}

/// At most as many records as the member may hold.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    is_closed: AtomicBool,
    /// Who was rung and leaves something rings the next.
    pub bell: Notify,
}

#[derive(Default)]
struct Waiting {
    lines: HashMap<LineId, Line, BuildHasherDefault<DefaultHasher>>,
    /// Lines that have records and that no lane has.
    ready: VecDeque<LineId>,
    /// Lines of which what comes with batches up to this one goes back; only of those that lanes have.
    stopped: Vec<(LineId, u64)>,
    /// The batch put in last.
    newest: u64,
    is_closed: bool,
}

#[derive(Default)]
struct Line {
    /// Each with the number of its batch.
    records: VecDeque<(u64, Delivered)>,
    is_taken: bool,
}

impl LineId {
    fn of(record: &Delivered) -> LineId {
        LineId(xxh3_64_with_seed(&record.record.key, record.receipt.partition.into()))
    }
}

impl Queue {
    /// Puts in the records of a batch; those come back that are behind one that failed.
    #[must_use]
    pub fn put(&self, batch: u64, records: Vec<Delivered>) -> Vec<Receipt> {
        let mut back = Vec::new();
        let mut waiting = self.waiting.lock();
        for record in records {
            let id = LineId::of(&record);
            match waiting.is_closed || waiting.is_stopped(id, batch) {
                true => back.push(record.receipt),
                false => waiting.push(id, batch, record),
            }
        }
        waiting.newest = batch;
        waiting.stopped.retain(|(_, through)| *through > batch);
        let is_ready = !waiting.ready.is_empty();
        drop(waiting);
        self.ring(is_ready);
        back
    }

    /// Puts what a lane is to handle next into `run`, which is empty.
    pub fn take(&self, run: &mut VecDeque<Delivered>) -> Taken {
        let mut waiting = self.waiting.lock();
        let Some(id) = waiting.ready.pop_front() else {
            return if waiting.is_closed { Taken::Over } else { Taken::Nothing };
        };
        if let Some(line) = waiting.lines.get_mut(&id) {
            let count = line.records.len().min(RUN_RECORDS_MAX);
            line.is_taken = true;
            run.extend(line.records.drain(..count).map(|(_, record)| record));
        }
        let is_ready = !waiting.ready.is_empty();
        drop(waiting);
        self.ring(is_ready);
        Taken::Line(id)
    }

    /// Lines that a lane has had.
    pub fn free(&self, lines: &mut Vec<LineId>) {
        let mut waiting = self.waiting.lock();
        for id in lines.drain(..) {
            let Some(line) = waiting.lines.get_mut(&id) else { continue };
            line.is_taken = false;
            match line.records.is_empty() {
                true => drop(waiting.lines.remove(&id)),
                false => waiting.ready.push_back(id),
            }
        }
        let is_ready = !waiting.ready.is_empty();
        drop(waiting);
        self.ring(is_ready);
    }

    /// A record of a line that a lane has comes again: what was delivered up to this batch is not to overtake it and is
    /// to be put back. Some of that may be on its way here.
    #[must_use]
    pub fn stop(&self, id: LineId, through: u64) -> Vec<Receipt> {
        let mut back = Vec::new();
        let mut waiting = self.waiting.lock();
        if let Some(line) = waiting.lines.get_mut(&id) {
            let later = line.records.partition_point(|(batch, _)| *batch <= through);
            back.extend(line.records.drain(..later).map(|(_, record)| record.receipt));
        }
        if waiting.newest < through {
            waiting.stopped.retain(|(stopped, _)| *stopped != id);
            waiting.stopped.push((id, through));
        }
        back
    }

    /// Nothing more is taken in or handed out; says what is left.
    pub fn close(&self) -> Vec<Receipt> {
        let mut waiting = self.waiting.lock();
        waiting.is_closed = true;
        self.is_closed.store(true, Ordering::Release);
        waiting.ready.clear();
        let lines = waiting.lines.values_mut().flat_map(|line| line.records.drain(..));
        let left = lines.map(|(_, record)| record.receipt).collect();
        drop(waiting);
        self.bell.notify_waiters();
        left
    }

    pub fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    fn ring(&self, is_ready: bool) {
        if is_ready {
            self.bell.notify_one();
        }
    }
}

impl Waiting {
    fn is_stopped(&self, id: LineId, batch: u64) -> bool {
        self.stopped.iter().any(|(stopped, through)| *stopped == id && batch <= *through)
    }

    fn push(&mut self, id: LineId, batch: u64, record: Delivered) {
        let line = self.lines.entry(id).or_default();
        if line.records.is_empty() && !line.is_taken {
            self.ready.push_back(id);
        }
        line.records.push_back((batch, record));
    }
}

#[cfg(test)]
mod tests;
