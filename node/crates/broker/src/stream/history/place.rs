//! Where reading begins behind a publication: its record is looked for by its number.
//!
//! Numbers are made where a publish comes in, positions by the store, so both rise with time and not quite together. The
//! record is looked for around its time first, then everywhere. If it is gone, reading begins with the first record that has
//! a higher number.

use std::sync::Arc;

use weir_model::{Position, UnixMillis};
use weir_store::{Page, Start};

use crate::broker::Broker;
use crate::publication;
use crate::stream::Stream;
use crate::stream::reader::{Reader, ReaderEnd};
use crate::sync::After;

/// Records looked at in one read.
const PAGE: Page = Page { rows_max: 500, bytes_max: 1 << 20 };

/// How far the clocks of nodes and store, and the time a publish takes, may bring a record from its number.
const SLACK_MS: u64 = 10_000;

/// What a look through records has found.
enum Found {
    /// The record stands here.
    Here(Position),
    /// It is not there; the first record with a higher number stands behind this one, or is the first of all.
    Not { before_higher: Option<Start> },
}

impl Broker {
    /// Where in a stream everything behind `after` begins.
    ///
    /// # Errors
    /// The stream was deleted, or cannot be read.
    pub async fn place_after(&self, stream: &Arc<Stream>, after: After) -> Result<Start, ReaderEnd> {
        let number = match after {
            After::Position(position) => return Ok(Start::After(position)),
            After::Publication(number) => number,
        };
        let time = publication::time_of(number).0;
        // With several partitions there is no one place.
        if stream.definition.partitions > 1 {
            return Ok(Start::At(UnixMillis(time)));
        }
        let (from, until) = (UnixMillis(time.saturating_sub(SLACK_MS)), UnixMillis(time + SLACK_MS));
        if let Found::Here(position) = self.look_for(stream, number, Start::At(from), Some(until)).await? {
            return Ok(Start::After(position));
        }
        Ok(match self.look_for(stream, number, Start::Earliest, None).await? {
            Found::Here(position) => Start::After(position),
            Found::Not { before_higher } => before_higher.unwrap_or(Start::Latest),
        })
    }

    async fn look_for(
        &self,
        stream: &Arc<Stream>,
        number: u64,
        from: Start,
        until: Option<UnixMillis>,
    ) -> Result<Found, ReaderEnd> {
        let mut reader = Reader::new(self, stream.clone(), from);
        let (mut last, mut before_higher) = (None, None);
        loop {
            let batch = reader.read(PAGE).await?;
            if batch.records.is_empty() {
                // The end now: what is recorded from here on is behind it in any case.
                let end = last.map_or(Start::Earliest, Start::After);
                return Ok(Found::Not { before_higher: before_higher.or(Some(end)) });
            }
            for (_, record) in &batch.records {
                let (found, position) = (super::number_of(record), record.mark.position);
                if found == number {
                    return Ok(Found::Here(position));
                }
                if found > number && before_higher.is_none() {
                    before_higher = Some(last.map_or(Start::Earliest, Start::After));
                }
                last = Some(position);
                if until.is_some_and(|until| position.ms > until.0) {
                    return Ok(Found::Not { before_higher });
                }
            }
        }
    }
}
