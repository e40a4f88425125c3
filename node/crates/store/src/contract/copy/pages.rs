//! Pages: rows gathered until there are enough of them to hand on.

use std::sync::Arc;

use bytes::Bytes;

use super::{CopyError, CopyRow, OwedCopy, QueueCopy, Sink};
use crate::{PartitionKey, Record, SessionKey};

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
            CopyRow::Partition(_) | CopyRow::Claim(_) => (1, 0),
            CopyRow::Place { place, .. } => {
                (1 + place.progress.done.len() + place.progress.attempts.len(), 0)
            }
            CopyRow::RecordSeen { ids, .. } => (ids.len(), 0),
            CopyRow::Records { records, .. } => (records.len(), records.iter().map(size_of_record).sum()),
            CopyRow::Kept { values, .. } => {
                (values.len(), values.iter().map(|(key, value)| key.len() + value.len()).sum())
            }
            CopyRow::GroupOwed { entries, .. } => {
                (entries.len(), entries.iter().map(|entry| entry.message.size_bytes()).sum())
            }
            CopyRow::GroupOutbox { .. } => (1, 0),
            CopyRow::Table(row) => (1, row.value.as_ref().map_or(0, |value| value.len())),
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

    /// One record of a partition, behind those of the same that came before it.
    pub fn add_record(&mut self, key: &PartitionKey, record: Record) -> Result<(), CopyError> {
        let bytes = size_of_record(&record);
        match self.rows.last_mut() {
            Some(CopyRow::Records { key: last, records }) if last == key => records.push(record),
            _ => self.rows.push(CopyRow::Records { key: key.clone(), records: vec![record] }),
        }
        self.note(1, bytes)
    }

    /// One value that a group keeps, behind those of the same group.
    pub fn add_kept(
        &mut self,
        (key, group): (&PartitionKey, &Arc<str>),
        value: (Bytes, Bytes),
    ) -> Result<(), CopyError> {
        let bytes = value.0.len() + value.1.len();
        match self.rows.last_mut() {
            Some(CopyRow::Kept { key: of, group: by, values }) if of == key && by == group => {
                values.push(value)
            }
            _ => {
                let (key, group) = (key.clone(), group.clone());
                self.rows.push(CopyRow::Kept { key, group, values: vec![value] });
            }
        }
        self.note(1, bytes)
    }

    /// One entry of a group's outbox, behind those of the same group.
    pub fn add_owed(
        &mut self,
        (key, group): (&PartitionKey, &Arc<str>),
        entry: OwedCopy,
    ) -> Result<(), CopyError> {
        let bytes = entry.message.size_bytes();
        match self.rows.last_mut() {
            Some(CopyRow::GroupOwed { key: of, group: by, entries }) if of == key && by == group => {
                entries.push(entry);
            }
            _ => {
                let (key, group) = (key.clone(), group.clone());
                self.rows.push(CopyRow::GroupOwed { key, group, entries: vec![entry] });
            }
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

fn size_of_record(record: &Record) -> usize {
    record.key.len() + record.message.size_bytes()
}
