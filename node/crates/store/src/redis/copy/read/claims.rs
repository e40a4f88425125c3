//! Idempotency keys of a Redis as rows of a copy: of all shards together, in the order in which they run out.

use std::collections::VecDeque;

use weir_model::UnixMillis;

use super::super::{Place, now};
use super::message_id;
use crate::copy::{ClaimCopy, CopyError, CopyRow, Pages};
use crate::redis::decode::{self, DecodeError};
use crate::redis::layout::claim_of;
use crate::redis::shard::Shard;

/// Keys of one shard asked for at once.
const KEYS: usize = 64;

pub(super) fn claims(place: &Place, pages: &mut Pages<'_>) -> Result<(), CopyError> {
    let mut lines: Vec<Line> = place.layout.topics().map(Line::of).collect();
    loop {
        for line in &mut lines {
            while line.rows.is_empty() && !line.is_over {
                line.read_on(place)?;
            }
        }
        let first = |line: &&mut Line| line.rows.front().map(|claim| claim.until);
        let next = lines.iter_mut().filter(|line| !line.rows.is_empty()).min_by_key(first);
        let Some(claim) = next.and_then(|line| line.rows.pop_front()) else { return Ok(()) };
        pages.add(CopyRow::Claim(Box::new(claim)))?;
    }
}

/// How many there are whose time is not over.
pub(in crate::redis::copy) fn standing(place: &Place) -> Result<u64, CopyError> {
    let mut standing = 0;
    for shard in place.layout.topics() {
        let mut question = redis::cmd("ZCOUNT");
        question.arg(place.layout.key(shard, "idempotency_until")).arg(format!("({}", now())).arg("+inf");
        standing += place.with(shard, async |connection| question.query_async::<u64>(connection).await)?;
    }
    Ok(standing)
}

/// The keys of one shard, read up to a time.
struct Line {
    shard: Shard,
    rows: VecDeque<ClaimCopy>,
    /// The time of the last one read, and how many of that time were.
    until: f64,
    of_that_time: usize,
    is_over: bool,
}

impl Line {
    fn of(shard: Shard) -> Line {
        Line { shard, rows: VecDeque::new(), until: 0.0, of_that_time: 0, is_over: false }
    }

    fn read_on(&mut self, place: &Place) -> Result<(), CopyError> {
        let mut page = redis::cmd("ZRANGE");
        page.arg(place.layout.key(self.shard, "idempotency_until"))
            .arg(self.until)
            .arg("+inf")
            .arg("BYSCORE");
        page.arg("LIMIT").arg(self.of_that_time).arg(KEYS).arg("WITHSCORES");
        let names: Vec<(String, f64)> =
            place.with(self.shard, async |connection| page.query_async(connection).await)?;
        self.is_over = names.len() < KEYS;
        if names.is_empty() {
            return Ok(());
        }
        let mut question = redis::cmd("HMGET");
        question.arg(place.layout.key(self.shard, "idempotency"));
        question.arg(names.iter().map(|(name, _)| name).collect::<Vec<_>>());
        let values: Vec<Option<String>> =
            place.with(self.shard, async |connection| question.query_async(connection).await)?;
        for ((name, until), value) in names.iter().zip(values) {
            self.of_that_time = if self.until == *until { self.of_that_time + 1 } else { 1 };
            self.until = *until;
            let claim = value.map(|value| claim(name, &value)).transpose();
            let claim =
                claim.map_err(|cause| place.damaged(format!("the idempotency key `{name}`"), cause))?;
            // One of another time has been claimed anew since: it comes again.
            self.rows.extend(claim.filter(|claim| claim.until.0 as f64 == *until));
        }
        Ok(())
    }
}

/// A value is `<id> <position> <until> <1 if settled>`.
fn claim(name: &str, value: &str) -> Result<ClaimCopy, DecodeError> {
    let bad = || DecodeError::Number(value.to_owned());
    let (realm, topic, key) = claim_of(name).ok_or_else(|| DecodeError::Name(name.to_owned()))?;
    let parts: Vec<&str> = value.split(' ').collect();
    let [id, position, until, settled] = parts.as_slice() else { return Err(bad()) };
    Ok(ClaimCopy {
        realm,
        topic,
        key,
        id: message_id(id)?,
        position: position.parse().map_err(|_| bad())?,
        until: UnixMillis(decode::number_of_text(until.as_bytes())?),
        settled: *settled == "1",
    })
}
