//! A reader: follows a stream from any place, alone, without a group. Its place is its own business.

use std::sync::Arc;

use weir_model::Position;
use weir_store::{Mark, Page, PartitionEnds, PartitionKey, ReadError, Record, Start};

use super::Stream;
use crate::broker::Broker;

/// Reads one stream: each partition in order, generations one after the other.
pub struct Reader {
    broker: Broker,
    stream: Arc<Stream>,
    start: Start,
    /// Where single partitions begin instead.
    after: Vec<(u32, Position)>,
    /// The generation being read.
    cursors: Vec<Cursor>,
    generation: u64,
    /// Which partition is asked first.
    turn: usize,
    missed: u64,
    /// The place it began after lies in the generation being read, or before it.
    has_met_start: bool,
}

struct Cursor {
    key: PartitionKey,
    from: Start,
    last: Option<Mark>,
    /// The partition takes no more, and everything in it was read.
    is_over: bool,
}

/// What a reader found.
#[derive(Debug, Default)]
pub struct Batch {
    /// All records are of this one.
    pub generation: u64,
    /// Of each partition in order.
    pub records: Vec<(u32, Record)>,
    /// Records, at least, that were let go before this reader came to them.
    pub missed: u64,
}

/// Why there is nothing more to read.
#[derive(Debug, thiserror::Error)]
pub enum ReaderEnd {
    #[error("the stream was deleted")]
    Deleted,
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Reader {
    /// Begins in the oldest generation there is; with [`Start::Latest`] in the newest.
    pub fn new(broker: &Broker, stream: Arc<Stream>, start: Start) -> Reader {
        Reader::after(broker, stream, start, Vec::new())
    }

    /// The same, but in these partitions after these positions.
    pub fn after(broker: &Broker, stream: Arc<Stream>, start: Start, after: Vec<(u32, Position)>) -> Reader {
        let first = match start {
            Start::Latest if after.is_empty() => (stream.generation(), stream.definition.partitions),
            _ => stream.generations().next().unwrap_or_default(),
        };
        Reader::within(broker, stream, first, start, after)
    }

    /// The same, in this generation, which has so many partitions.
    pub fn within(
        broker: &Broker,
        stream: Arc<Stream>,
        (generation, partitions): (u64, u32),
        start: Start,
        after: Vec<(u32, Position)>,
    ) -> Reader {
        let mut reader = Reader::empty(broker, stream, start, after);
        reader.begin(generation, partitions);
        reader
    }

    /// Goes on in a generation behind these marks, one for each partition.
    pub fn behind(broker: &Broker, stream: Arc<Stream>, generation: u64, marks: &[Mark]) -> Reader {
        let mut reader = Reader::empty(broker, stream, Start::Earliest, Vec::new());
        reader.begin(generation, u32::try_from(marks.len()).unwrap_or(u32::MAX));
        for (cursor, mark) in reader.cursors.iter_mut().zip(marks) {
            (cursor.last, cursor.from) = (Some(*mark), Start::After(mark.position));
        }
        reader
    }

    fn empty(broker: &Broker, stream: Arc<Stream>, start: Start, after: Vec<(u32, Position)>) -> Reader {
        Reader {
            broker: broker.clone(),
            stream,
            start,
            after,
            cursors: Vec::new(),
            generation: 0,
            turn: 0,
            missed: 0,
            has_met_start: false,
        }
    }

    /// The stream as it was when last looked at.
    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// The generation being read.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Fixes where "latest" is: what is appended from now on is read.
    pub async fn fix(&mut self) -> Result<(), ReadError> {
        let one = Page { rows_max: 1, bytes_max: 1 };
        for at in 0..self.cursors.len() {
            if self.cursors[at].from == Start::Latest {
                self.read_from(at, &mut { one }, &mut Batch::default()).await?;
            }
        }
        Ok(())
    }

    /// What there is now, at most a page; empty at the end of the stream.
    pub async fn read(&mut self, page: Page) -> Result<Batch, ReaderEnd> {
        loop {
            let mut left = page;
            let mut batch = Batch { generation: self.generation, ..Batch::default() };
            for _ in 0..self.cursors.len() {
                if left.rows_max == 0 || (left.bytes_max == 0 && !batch.records.is_empty()) {
                    break;
                }
                let at = self.turn % self.cursors.len();
                self.turn += 1;
                self.read_from(at, &mut left, &mut batch).await?;
            }
            if !batch.records.is_empty() || !self.next_generation() {
                batch.missed = std::mem::take(&mut self.missed);
                return Ok(batch);
            }
        }
    }

    /// What comes next; waits for it. May be dropped while it waits.
    pub async fn next(&mut self, page: Page) -> Result<Batch, ReaderEnd> {
        loop {
            let rings = self.stream.rings();
            self.look_again()?;
            let batch = self.read(page).await?;
            if !batch.records.is_empty() || batch.missed > 0 {
                return Ok(batch);
            }
            self.stream.grown(rings).await;
        }
    }

    /// Takes the stream's newest definition. One that was made anew under the same name is another stream.
    fn look_again(&mut self) -> Result<(), ReaderEnd> {
        let now = self.broker.streams().get(&self.stream.realm, &self.stream.name);
        let same = now.filter(|now| now.is_same(&self.stream));
        self.stream = same.ok_or(ReaderEnd::Deleted)?;
        Ok(())
    }

    fn begin(&mut self, generation: u64, partitions: u32) {
        self.generation = generation;
        let start = |partition| {
            let own = self.after.iter().find(|(at, _)| *at == partition);
            own.map_or(self.start, |(_, position)| Start::After(*position))
        };
        let cursor = |partition| Cursor {
            key: self.stream.partition_of(generation, partition),
            from: start(partition),
            last: None,
            is_over: false,
        };
        self.cursors = (0..partitions).map(cursor).collect();
    }

    /// Goes on with the next generation when this one is read, or was let go; false when there is none yet.
    fn next_generation(&mut self) -> bool {
        let is_there = self.stream.generations().any(|(generation, _)| generation == self.generation);
        if is_there && !self.cursors.iter().all(|cursor| cursor.is_over) {
            return false;
        }
        let next = self.stream.generations().find(|(generation, _)| *generation > self.generation);
        let Some((generation, partitions)) = next else { return false };
        // Who has read to the end of one generation has seen nothing of the next.
        if self.start == Start::Latest || self.has_met_start {
            self.start = Start::Earliest;
            self.after.clear();
        }
        self.begin(generation, partitions);
        true
    }

    async fn read_from(&mut self, at: usize, left: &mut Page, batch: &mut Batch) -> Result<(), ReadError> {
        let cursor = &mut self.cursors[at];
        if cursor.is_over {
            return Ok(());
        }
        let page = self.broker.store().read_stream(cursor.key.clone(), cursor.from, *left).await?;
        let PartitionEnds { trimmed, tail, is_sealed, .. } = page.ends;
        self.missed += cursor.missed(trimmed);
        self.has_met_start |= matches!(cursor.from, Start::After(position) if tail.position >= position);
        if let Some(record) = page.records.last() {
            cursor.last = Some(record.mark);
            cursor.from = Start::After(record.mark.position);
        } else if cursor.from == Start::Latest || cursor.begins_beyond(tail) {
            (cursor.last, cursor.from) = (Some(tail), Start::After(tail.position));
        } else if trimmed > cursor.last.unwrap_or_default() {
            (cursor.last, cursor.from) = (Some(trimmed), Start::After(trimmed.position));
        }
        let is_read = page.records.is_empty() || cursor.last.unwrap_or_default() >= tail;
        cursor.is_over = is_sealed && is_read;
        left.rows_max -= page.records.len().min(left.rows_max);
        let bytes: usize = page.records.iter().map(|record| record.message.size_bytes()).sum();
        left.bytes_max = left.bytes_max.saturating_sub(bytes);
        let partition = cursor.key.partition;
        batch.records.extend(page.records.into_iter().map(|record| (partition, record)));
        Ok(())
    }
}

impl Cursor {
    /// A place that no record has reached is the end.
    fn begins_beyond(&self, tail: Mark) -> bool {
        self.last.is_none() && matches!(self.from, Start::After(position) if position > tail.position)
    }

    /// How many records were let go before it came to them. Who begins after a position has no number yet: one, if
    /// there were any.
    fn missed(&self, trimmed: Mark) -> u64 {
        match (self.last, self.from) {
            (Some(last), _) if trimmed > last => trimmed.number.saturating_sub(last.number),
            (None, Start::After(position)) if position != Position::default() => {
                u64::from(trimmed.position > position)
            }
            _ => 0,
        }
    }
}
