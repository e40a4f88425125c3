//! Reading records of a partition: those in the tables first, then those that are not there yet.

use std::collections::BTreeSet;

use weir_model::Topic;

use super::{Layers, Shelf};
use crate::embedded::overlay::Entry;
use crate::embedded::tables::TablesError;
use crate::page::{PagedRecords, record_range};
use crate::row::{Key, Row, codec, numbers_of};
use crate::{Page, PartitionEnds, Start, StreamPage};

/// How many numbers of the tables one look covers at first: where compaction has left few records, each covers twice as
/// many as the one before.
const LOOK_NUMBERS: u64 = 1024;

/// How often a page is begun anew because records were let go while it was read.
const AGAIN_MAX: u32 = 8;

/// A page that is being read.
pub(crate) struct Reading {
    id: u64,
    start: Start,
    page: Page,
    /// The first record wanted, and the first not looked at yet.
    first: u64,
    next: u64,
    paged: PagedRecords,
    /// Of the record that was read last.
    topic: Option<Topic>,
    /// Where the partition began when this page was begun.
    trimmed: Option<u64>,
    look: u64,
    again: u32,
}

/// Numbers to be looked for in the tables.
struct Look {
    last: u64,
    /// Records that compaction took out and that may still have a row.
    gone: BTreeSet<u64>,
}

impl Reading {
    /// Of the partition whose rows lie under `id`, from number `first` on at the earliest.
    pub fn new(id: u64, first: u64, start: Start, page: Page) -> Reading {
        let paged = PagedRecords::new(start, page);
        Reading {
            id,
            start,
            page,
            first,
            next: first,
            paged,
            topic: None,
            trimmed: None,
            look: LOOK_NUMBERS,
            again: 0,
        }
    }

    fn begin_again(&mut self) {
        self.paged = PagedRecords::new(self.start, self.page);
        (self.next, self.trimmed) = (self.first, None);
        self.again += 1;
    }
}

/// What is to be done next.
enum Turn {
    Done(StreamPage),
    Tables(Look),
}

impl Shelf {
    /// Where a partition begins and ends; `None` = there is none.
    pub fn ends(&self, id: u64) -> Option<PartitionEnds> {
        self.layers.read().ends.get(&id).copied()
    }

    /// The page, if nothing of it is in the tables. Does not touch the disk.
    pub fn stream_front(&self, reading: &mut Reading) -> Option<StreamPage> {
        match self.layers.read().turn(reading) {
            Turn::Done(page) => Some(page),
            Turn::Tables(_) => None,
        }
    }

    /// The page, wherever it lies. Blocking.
    pub fn stream_page(&self, mut reading: Reading) -> Result<StreamPage, TablesError> {
        loop {
            let turn = self.layers.read().turn(&mut reading);
            match turn {
                Turn::Done(page) => return Ok(page),
                Turn::Tables(look) => self.look(&mut reading, &look)?,
            }
        }
    }

    fn look(&self, reading: &mut Reading, look: &Look) -> Result<(), TablesError> {
        for stored in self.tables()?.range(record_range(reading.id, reading.next, look.last)) {
            let (key, value) = stored?;
            let Some((_, number)) = numbers_of(&key).filter(|(_, number)| !look.gone.contains(number)) else {
                continue;
            };
            let row = codec::decode_record(&value, &mut reading.topic)?;
            if !reading.paged.add(number, row) {
                return Ok(());
            }
            reading.next = number + 1;
            if reading.paged.is_full() {
                return Ok(());
            }
        }
        reading.next = look.last + 1;
        reading.look = reading.look.saturating_mul(2);
        Ok(())
    }
}

impl Layers {
    /// Takes in what the overlays have, or says where to look in the tables before.
    fn turn(&self, reading: &mut Reading) -> Turn {
        let Some(ends) = self.ends.get(&reading.id) else { return Turn::Done(StreamPage::default()) };
        let trimmed = ends.trimmed.number;
        let known = *reading.trimmed.get_or_insert(trimmed);
        let lost = known < trimmed && reading.first <= trimmed && reading.next > known + 1;
        if lost && reading.again < AGAIN_MAX {
            reading.begin_again();
            reading.trimmed = Some(trimmed);
        }
        reading.next = reading.next.max(trimmed + 1);
        let stored = self.stored.get(&reading.id).map_or(0, |stored| *stored.end()).min(ends.tail.number);
        if reading.next <= stored && !reading.paged.is_full() {
            let last = stored.min(reading.next.saturating_add(reading.look - 1));
            let entries = self.merged(record_range(reading.id, reading.next, last));
            let gone = entries.filter(|(_, entry)| matches!(entry, Entry::Gone));
            let gone = gone.filter_map(|(key, _)| Some(numbers_of(key)?.1)).collect();
            return Turn::Tables(Look { last, gone });
        }
        if !reading.paged.is_full() && reading.next <= ends.tail.number {
            self.take_front(reading, ends.tail.number);
        }
        Turn::Done(StreamPage { records: std::mem::take(&mut reading.paged.records), ends: *ends })
    }

    fn take_front(&self, reading: &mut Reading, last: u64) {
        let wanted = (last - reading.next + 1).min(reading.paged.room() as u64);
        reading.paged.records.reserve(wanted as usize);
        for (key, entry) in self.merged(record_range(reading.id, reading.next, last)) {
            let record = |key: &Key| Some((numbers_of(key)?.1, entry.row()?));
            let Some((number, Row::Record(row))) = record(key) else { continue };
            if !reading.paged.add(number, row.clone()) || reading.paged.is_full() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_model::{Position, UnixMillis};

    use super::*;
    use crate::Mark;
    use crate::embedded::overlay::Overlay;
    use crate::embedded::tables::Tables;
    use crate::row::{Applied, Change, Kind, RecordRow, Write, id_key, number_key};
    use crate::suite::message;

    const PAGE: Page = Page { rows_max: 500, bytes_max: usize::MAX };

    struct Bench {
        shelf: Shelf,
        sequence: u64,
        _dir: tempfile::TempDir,
    }

    impl Bench {
        fn new() -> Bench {
            let dir = tempfile::tempdir().unwrap();
            let shelf = Shelf::new(Tables::open(dir.path()).unwrap(), Overlay::default());
            Bench { shelf, sequence: 0, _dir: dir }
        }

        /// Appends records up to a number and lets go those up to another.
        fn commit(&self, id: u64, numbers: std::ops::RangeInclusive<u64>, trimmed: u64) {
            let tail = *numbers.end();
            let mut writes: Vec<Write> = numbers.map(|number| append(id, number)).collect();
            writes.push(Write { key: id_key(Kind::PartitionEnds, id), change: ends(trimmed, tail) });
            self.shelf.apply(writes);
        }

        fn delete(&self, key: Key) {
            self.shelf.apply(vec![Write { key, change: Change::Delete }]);
        }

        fn checkpoint(&mut self) {
            let overlay = self.shelf.freeze().unwrap();
            self.sequence += 1;
            let applied = Applied { sequence: self.sequence, at: UnixMillis(1) };
            self.shelf.tables().unwrap().ingest(applied, &overlay).unwrap();
            self.shelf.thaw();
        }

        fn read(&self, id: u64, first: u64, page: Page) -> Vec<u64> {
            let found = self.shelf.stream_page(Reading::new(id, first, Start::Earliest, page)).unwrap();
            found.records.iter().map(|record| record.mark.number).collect()
        }

        fn in_tables(&self) -> Vec<(u64, u64)> {
            let tables = self.shelf.tables().unwrap();
            let keys =
                tables.range(record_range(0, 0, 0).start().clone()..=record_range(9, 0, 9).end().clone());
            keys.filter_map(|stored| numbers_of(&stored.unwrap().0)).collect()
        }
    }

    fn append(id: u64, number: u64) -> Write {
        let position = Position { epoch: 1, ms: number, seq: 0 };
        let row = RecordRow { position, key: Default::default(), message: message("m", 10) };
        Write { key: number_key(Kind::Record, id, number), change: Change::Fresh(Row::Record(row)) }
    }

    fn ends(trimmed: u64, tail: u64) -> Change {
        let mark = |number| Mark { position: Position { epoch: 1, ms: number, seq: 0 }, number };
        let ends = PartitionEnds { trimmed: mark(trimmed), tail: mark(tail), ..PartitionEnds::default() };
        Change::Put(Row::PartitionEnds(Box::new(ends)))
    }

    #[test]
    fn records_are_read_from_every_layer_once_and_in_order() {
        let mut bench = Bench::new();
        bench.commit(1, 1..=1500, 0);
        bench.commit(2, 1..=10, 0);
        bench.checkpoint();
        bench.commit(1, 1501..=1600, 0);
        let frozen = bench.shelf.freeze().unwrap();
        bench.commit(1, 1601..=1700, 0);
        bench.delete(number_key(Kind::Record, 1, 1499));
        let few = Page { rows_max: 4, ..PAGE };
        assert_eq!(bench.read(1, 1497, few), [1497, 1498, 1500, 1501]);
        assert_eq!(bench.read(1, 0, Page { rows_max: 5000, ..PAGE }).len(), 1699);
        assert_eq!(bench.read(1, 1598, few), [1598, 1599, 1600, 1601]);
        assert_eq!(bench.read(2, 0, few), [1, 2, 3, 4]);
        drop(frozen);
        bench.shelf.thaw();
    }

    #[test]
    fn rows_of_records_that_were_let_go_leave_the_tables_with_the_next_checkpoint() {
        let mut bench = Bench::new();
        bench.commit(1, 1..=6, 0);
        bench.commit(2, 1..=3, 0);
        bench.checkpoint();
        bench.commit(1, 7..=8, 4);
        bench.delete(number_key(Kind::Record, 1, 2));
        bench.delete(number_key(Kind::Record, 1, 6));
        bench.delete(id_key(Kind::PartitionEnds, 2));
        assert_eq!(bench.read(1, 0, PAGE), [5, 7, 8]);
        assert!(bench.read(2, 0, PAGE).is_empty());
        bench.checkpoint();
        assert_eq!(bench.in_tables(), [(1, 5), (1, 7), (1, 8)]);
        assert_eq!(bench.read(1, 0, PAGE), [5, 7, 8]);
        bench.commit(1, 9..=9, 9);
        bench.checkpoint();
        bench.checkpoint();
        assert!(bench.in_tables().is_empty(), "also what went in and was let go at once");
    }

    #[test]
    fn a_page_that_loses_records_while_it_is_read_is_begun_anew() {
        let mut bench = Bench::new();
        bench.commit(1, 1..=3000, 0);
        bench.checkpoint();
        let mut reading = Reading::new(1, 0, Start::Earliest, Page { rows_max: 2000, ..PAGE });
        let Turn::Tables(look) = bench.shelf.layers.read().turn(&mut reading) else {
            panic!("in the tables")
        };
        bench.shelf.look(&mut reading, &look).unwrap();
        bench.commit(1, 3001..=3001, 2900);
        bench.checkpoint();
        let found = bench.shelf.stream_page(reading).unwrap();
        let numbers: Vec<u64> = found.records.iter().map(|record| record.mark.number).collect();
        assert_eq!(numbers, (2901..=3001).collect::<Vec<_>>());
        assert_eq!(found.ends.trimmed.number, 2900);
    }
}
