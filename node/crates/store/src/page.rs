//! A page of queue rows or of records, collected in order until it is full.

use std::ops::RangeInclusive;

use crate::row::{Key, Kind, RecordRow, Row, number_key, numbers_of};
use crate::{Mark, Page, Queued, Record, RowState, Start};

pub(crate) struct Paged {
    pub rows: Vec<Queued>,
    page: Page,
    bytes: usize,
}

impl Paged {
    pub fn new(page: Page) -> Paged {
        Paged { rows: Vec::new(), page, bytes: 0 }
    }

    /// Takes a row in; false when the page is full and the row stayed outside.
    pub fn add(&mut self, key: &Key, row: &Row) -> bool {
        let Some((_, number)) = numbers_of(key) else { return true };
        let (state, bytes) = match row {
            Row::Waiting { delivery, .. } => {
                (RowState::Waiting(delivery.clone()), delivery.message.size_bytes())
            }
            Row::Released => (RowState::Released, 0),
            _ => return true,
        };
        let full = self.rows.len() >= self.page.rows_max || self.bytes + bytes > self.page.bytes_max;
        if full && !self.rows.is_empty() {
            return false;
        }
        self.bytes += bytes;
        self.rows.push(Queued { number, state });
        true
    }
}

/// The keys of a queue's rows above a number.
pub(crate) fn queue_range(generation: u64, after: u64) -> RangeInclusive<Key> {
    let first = number_key(Kind::Queue, generation, after.saturating_add(1));
    first..=number_key(Kind::Queue, generation, u64::MAX)
}

/// Records from where a reader begins.
pub(crate) struct PagedRecords {
    pub records: Vec<Record>,
    start: Start,
    page: Page,
    bytes: usize,
    full: bool,
}

impl PagedRecords {
    pub fn new(start: Start, page: Page) -> PagedRecords {
        PagedRecords { records: Vec::new(), start, page, bytes: 0, full: false }
    }

    /// Takes a record in, unless it lies before the reader's start; false when the page is full and it stayed outside.
    pub fn add(&mut self, number: u64, row: RecordRow) -> bool {
        let RecordRow { position, key, message } = row;
        let is_before = match self.start {
            Start::After(after) => position <= after,
            Start::At(at) => position.ms < at.0,
            Start::Earliest | Start::Latest => false,
        };
        if is_before {
            return true;
        }
        let bytes = message.size_bytes() + key.len();
        self.full = self.is_full() || self.bytes + bytes > self.page.bytes_max;
        if self.full && !self.records.is_empty() {
            return false;
        }
        self.bytes += bytes;
        self.records.push(Record { mark: Mark { position, number }, key, message });
        true
    }

    pub fn is_full(&self) -> bool {
        self.full || self.records.len() >= self.page.rows_max.max(1)
    }

    /// How many more there is room for.
    pub fn room(&self) -> usize {
        self.page.rows_max.max(1).saturating_sub(self.records.len())
    }
}

/// The keys of a partition's records.
pub(crate) fn record_range(id: u64, first: u64, last: u64) -> RangeInclusive<Key> {
    number_key(Kind::Record, id, first)..=number_key(Kind::Record, id, last)
}
