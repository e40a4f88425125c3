//! A page of queue rows, collected in order until it is full.

use std::ops::RangeInclusive;

use crate::row::{Key, Kind, Row, number_key, numbers_of};
use crate::{Page, Queued, RowState};

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
