//! Pages: rows gathered until there are enough of them to hand on.

use super::{CopyError, CopyRow, QueueCopy, Sink};
use crate::SessionKey;

/// Most rows of a page.
const ROWS_MAX: usize = 512;

/// Bytes of messages at which a page is handed on; one larger message still goes alone.
const BYTES_MAX: usize = 1 << 20;

/// Gathers rows for a sink. After an error it takes nothing more in.
pub(crate) struct Pages<'a> {
    sink: Sink<'a>,
    rows: Vec<CopyRow>,
    count: usize,
    bytes: usize,
}

impl<'a> Pages<'a> {
    pub fn new(sink: Sink<'a>) -> Pages<'a> {
        Pages { sink, rows: Vec::new(), count: 0, bytes: 0 }
    }

    pub fn add(&mut self, row: CopyRow) -> Result<(), CopyError> {
        let (count, bytes) = match &row {
            CopyRow::Session(session) => {
                let many = session.subscriptions.len() + session.received.len() + session.seen.len();
                (1 + many, session.will.as_ref().map_or(0, |will| will.message.size_bytes()))
            }
            CopyRow::Queue { rows, .. } => (rows.len(), rows.iter().map(size_of).sum()),
            CopyRow::Owed { entry, .. } | CopyRow::Delayed { entry, .. } => (1, entry.message.size_bytes()),
            CopyRow::DelaySeen(ids) => (ids.len(), 0),
            CopyRow::Retained { message, .. } => (1, message.size_bytes()),
        };
        self.rows.push(row);
        self.note(count, bytes)
    }

    /// One row of a queue, behind those of the same queue that came before it.
    pub fn add_queued(&mut self, key: &SessionKey, generation: u64, row: QueueCopy) -> Result<(), CopyError> {
        let bytes = size_of(&row);
        match self.rows.last_mut() {
            Some(CopyRow::Queue { generation: last, rows, .. }) if *last == generation => rows.push(row),
            _ => self.rows.push(CopyRow::Queue { key: key.clone(), generation, rows: vec![row] }),
        }
        self.note(1, bytes)
    }

    /// Hands on what is left.
    pub fn finish(&mut self) -> Result<(), CopyError> {
        (self.count, self.bytes) = (0, 0);
        if self.rows.is_empty() { Ok(()) } else { (self.sink)(std::mem::take(&mut self.rows)) }
    }

    fn note(&mut self, count: usize, bytes: usize) -> Result<(), CopyError> {
        self.count += count;
        self.bytes += bytes;
        if self.count >= ROWS_MAX || self.bytes >= BYTES_MAX { self.finish() } else { Ok(()) }
    }
}

fn size_of(row: &QueueCopy) -> usize {
    row.delivery().map_or(0, |delivery| delivery.message.size_bytes())
}
