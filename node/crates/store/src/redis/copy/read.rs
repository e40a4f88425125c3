//! Everything that lies in the shards of a Redis, as rows of a copy.

use std::collections::{HashMap, HashSet};

use redis::RedisError;
use weir_model::{Filter, MessageId, UnixMillis};
use xxhash_rust::xxh3::xxh3_128;

use super::Place;
use crate::copy::{CopyError, CopyRow, Pages, QueueCopy, SessionCopy};
use crate::redis::decode::{self, DecodeError};
use crate::redis::layout::{session_of, topic_of};
use crate::redis::read::queue;
use crate::redis::servers::Connection;
use crate::redis::shard::Shard;
use crate::redis::text;
use crate::{Detach, Fence, Page, SessionKey, SessionKind, SubscriptionOptions, Table, Will};

mod claims;
mod groups;
mod live;
mod partitions;

pub(super) use claims::standing as standing_claims;

/// Sessions asked for at once.
const SESSIONS: usize = 64;

/// Retained or delayed messages asked for at once.
const MESSAGES: usize = 64;

/// Rows of a queue asked for at once.
const PAGE: Page = Page { rows_max: 256, bytes_max: 1 << 20 };

/// Bytes of a session's state.
const STATE_BYTES: usize = 30;

/// Stands among the states to say what they are.
const LEGEND: &[u8] = b"legend";

pub(super) fn everything(place: &Place, pages: &mut Pages<'_>) -> Result<(), CopyError> {
    for shard in place.layout.sessions() {
        sessions(place, shard, pages)?;
    }
    let mut delay_seen = Vec::new();
    for shard in place.layout.topics() {
        retained(place, shard, pages)?;
        delayed(place, shard, pages)?;
        delay_seen.push(ids(place, shard)?);
    }
    let ids = merged(delay_seen);
    if !ids.is_empty() {
        pages.add(CopyRow::DelaySeen(ids))?;
    }
    let mut known = HashSet::new();
    partitions::partitions(place, &mut known, pages)?;
    tables(place, pages)?;
    if place.live {
        // A stream that was made since: its definition comes before its partitions.
        partitions::partitions(place, &mut known, pages)?;
    }
    claims::claims(place, pages)
}

/// Rows of tables, but not which nodes have members: those do not work on a copy.
pub(super) fn tables(place: &Place, pages: &mut Pages<'_>) -> Result<(), CopyError> {
    for shard in place.layout.topics() {
        scan(place, shard, "tables", |page| {
            for (name, value) in page {
                let name = String::from_utf8_lossy(&name).into_owned();
                let row = decode::table_row(&name, &value);
                let row =
                    row.map_err(|cause| place.damaged(format!("the row `{name}` of the tables"), cause))?;
                if row.table != Table::Members {
                    pages.add(CopyRow::Table(row))?;
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Names and values.
type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// Fields of a hash, a page at a time. What is scanned may come twice; it is handed on once.
fn scan(
    place: &Place,
    shard: Shard,
    name: &str,
    mut page: impl FnMut(Fields) -> Result<(), CopyError>,
) -> Result<(), CopyError> {
    let (mut cursor, mut known) = (0_u64, HashSet::new());
    loop {
        let mut question = redis::cmd("HSCAN");
        question.arg(place.layout.key(shard, name)).arg(cursor).arg("COUNT").arg(MESSAGES);
        let (next, mut found): (u64, Fields) =
            place.with(shard, async |connection| question.query_async(connection).await)?;
        found.retain(|(field, _)| known.insert(xxh3_128(field)));
        page(found)?;
        if next == 0 {
            return Ok(());
        }
        cursor = next;
    }
}

/// What lies in the keys of one session.
struct Found {
    row: HashMap<String, Vec<u8>>,
    subscriptions: Vec<(String, Vec<u8>)>,
    received: Vec<(u16, u64)>,
    seen: Vec<String>,
    outbox: Vec<(u64, Vec<u8>)>,
}

fn sessions(place: &Place, shard: Shard, pages: &mut Pages<'_>) -> Result<(), CopyError> {
    scan(place, shard, "sessions", |mut page| {
        page.retain(|(id, _)| id != LEGEND);
        if place.live {
            return page.iter().try_for_each(|(id, _)| live::session(place, shard, id, pages));
        }
        for some in page.chunks(SESSIONS) {
            let found = place.with(shard, async |connection| ask(place, connection, shard, some).await)?;
            for ((id, state), found) in some.iter().zip(found) {
                session(place, shard, (id, state), &found, pages)?;
            }
        }
        Ok(())
    })
}

async fn ask(
    place: &Place,
    connection: &mut Connection,
    shard: Shard,
    sessions: &[(Vec<u8>, Vec<u8>)],
) -> Result<Vec<Found>, RedisError> {
    let mut question = redis::pipe();
    sessions.iter().for_each(|(id, _)| ask_for(place, shard, id, &mut question));
    let answers: Vec<redis::Value> = question.query_async(connection).await?;
    answers.chunks_exact(5).map(found).collect()
}

/// The keys of one session, as [`found`] reads the answers.
fn ask_for(place: &Place, shard: Shard, id: &[u8], question: &mut redis::Pipeline) {
    let key = |name: &str| [place.layout.key(shard, name).as_bytes(), b":", id].concat();
    question.cmd("HGETALL").arg(key("session"));
    question.cmd("HGETALL").arg(key("subscriptions"));
    question.cmd("HGETALL").arg(key("received"));
    question.cmd("ZRANGE").arg(key("seen")).arg(0).arg(-1);
    question.cmd("HGETALL").arg(key("outbox"));
}

fn found(answers: &[redis::Value]) -> Result<Found, RedisError> {
    let [row, subscriptions, received, seen, outbox] = answers else {
        return Err(RedisError::from((redis::ErrorKind::UnexpectedReturnType, "too few answers")));
    };
    Ok(Found {
        row: redis::from_redis_value_ref(row)?,
        subscriptions: redis::from_redis_value_ref(subscriptions)?,
        received: redis::from_redis_value_ref(received)?,
        seen: redis::from_redis_value_ref(seen)?,
        outbox: redis::from_redis_value_ref(outbox)?,
    })
}

fn session(
    place: &Place,
    shard: Shard,
    (id, state): (&[u8], &[u8]),
    found: &Found,
    pages: &mut Pages<'_>,
) -> Result<(), CopyError> {
    let id = String::from_utf8_lossy(id).into_owned();
    let damaged = |cause: DecodeError| place.damaged(format!("the session `{id}`"), cause);
    let key = session_of(&id).ok_or_else(|| damaged(DecodeError::Name(id.clone())))?;
    for (entry, value) in &found.outbox {
        let entry = decode::outbox_entry(*entry, value).map_err(damaged)?;
        let generation = decode::outbox_generation(value).map_err(damaged)?;
        pages.add(CopyRow::Owed { key: key.clone(), generation, entry })?;
    }
    if state.is_empty() {
        return Ok(());
    }
    // Gone since it was listed.
    if found.row.is_empty() && place.live {
        return Ok(());
    }
    if state.len() != STATE_BYTES || found.row.is_empty() {
        return Err(damaged(DecodeError::Short));
    }
    let generation = uint(&state[..6]);
    let fence = Fence { generation, fence: uint(&state[6..12]) };
    let (tail, messages) = (uint(&state[12..17]), uint(&state[17..21]));
    let session = session_copy(key.clone(), fence, tail, found).map_err(damaged)?;
    pages.add(CopyRow::Session(Box::new(session)))?;
    let mut after = 0;
    while messages > 0 && after < tail {
        let rows =
            place.with(shard, async |connection| queue(connection, &place.layout, &key, after, PAGE).await);
        let rows = rows.map_err(|error| in_queue(error, &id, after))?;
        let Some(last) = rows.last() else { break };
        after = last.number;
        for row in rows.into_iter().filter(|row| row.number <= tail) {
            pages.add_queued(
                &key,
                generation,
                QueueCopy { number: row.number, state: row.state, body: 0 },
            )?;
        }
    }
    Ok(())
}

/// Says where a row is that cannot be read.
fn in_queue(error: CopyError, id: &str, after: u64) -> CopyError {
    named(error, || format!("a row behind {after} in the queue of `{id}`"))
}

/// An answer that cannot be read is this row.
fn named(error: CopyError, row: impl FnOnce() -> String) -> CopyError {
    match error {
        CopyError::Damaged { store, cause, .. } => CopyError::Damaged { store, row: row(), cause },
        other => other,
    }
}

fn session_copy(key: SessionKey, fence: Fence, tail: u64, found: &Found) -> Result<SessionCopy, DecodeError> {
    let field = |name: &str| found.row.get(name).map(Vec::as_slice);
    let number = |name: &str| field(name).map(decode::number_of_text).transpose();
    let time = |name: &str| Ok::<_, DecodeError>(number(name)?.map(UnixMillis));
    let will = match field("will") {
        None => None,
        Some(message) => Some(Will {
            message: text::decode(message)?,
            delay_seconds: small(number("will_delay")?.unwrap_or(0)),
            expiry_seconds: number("will_expiry")?.map(small),
        }),
    };
    let left = match time("at")?.filter(|_| key.kind == SessionKind::Client) {
        None => None,
        Some(at) => Some(Detach {
            at,
            sent: number("sent")?.unwrap_or(tail),
            expires_at: time("expires_at")?,
            will_at: time("will_at")?,
        }),
    };
    let subscription = |(filter, options): &(String, Vec<u8>)| {
        let options: SubscriptionOptions = decode::json(options)?;
        Ok((Filter::new(filter).map_err(|_| DecodeError::Topic)?, options))
    };
    let subscriptions: Result<Vec<_>, DecodeError> = found.subscriptions.iter().map(subscription).collect();
    let seen: Result<Vec<MessageId>, DecodeError> = found.seen.iter().map(|id| message_id(id)).collect();
    Ok(SessionCopy {
        fence,
        owner: field("owner").map_or(Ok(None), decode::owner)?,
        persistent: field("persistent") == Some(b"1"),
        expiry_seconds: small(number("expiry")?.unwrap_or(0)),
        will,
        left,
        tail,
        uses: number("uses")?.unwrap_or(0),
        subscriptions: subscriptions?,
        received: found.received.clone(),
        seen: seen?,
        key,
    })
}

fn retained(place: &Place, shard: Shard, pages: &mut Pages<'_>) -> Result<(), CopyError> {
    let epoch = place.shard_marks(shard)?.epoch;
    scan(place, shard, "retained", |page| {
        for (name, value) in page {
            let name = String::from_utf8_lossy(&name).into_owned();
            let damaged = |cause: DecodeError| place.damaged(format!("what is retained for `{name}`"), cause);
            let named = topic_of(&name).ok_or_else(|| damaged(DecodeError::Name(name.clone())));
            let (realm, topic) = named?;
            let (position, message) = decode::retained(epoch, &value).map_err(damaged)?;
            pages.add(CopyRow::Retained { realm, topic, position, message })?;
        }
        Ok(())
    })
}

fn delayed(place: &Place, shard: Shard, pages: &mut Pages<'_>) -> Result<(), CopyError> {
    scan(place, shard, "delayed", |page| {
        let timers = place.layout.key(shard, "timers");
        let mut question = redis::pipe();
        for (entry, _) in &page {
            question.cmd("ZSCORE").arg(&timers).arg([b"delayed:", entry.as_slice()].concat());
        }
        let due: Vec<Option<f64>> = match page.is_empty() {
            true => Vec::new(),
            false => place.with(shard, async |connection| question.query_async(connection).await)?,
        };
        for ((entry, value), due) in page.into_iter().zip(due) {
            let damaged = |cause: DecodeError| {
                place.damaged(format!("delayed message {}", String::from_utf8_lossy(&entry)), cause)
            };
            let number = decode::number_of_text(&entry).map_err(damaged)?;
            let (realm, entry) = decode::delayed_entry(number, &value).map_err(damaged)?;
            // One without a timer has been due for long.
            let due = UnixMillis(due.unwrap_or(0.0) as u64);
            pages.add(CopyRow::Delayed { realm, due, entry })?;
        }
        Ok(())
    })
}

/// Ids of delayed publishes that a shard remembers, the oldest first.
fn ids(place: &Place, shard: Shard) -> Result<Vec<MessageId>, CopyError> {
    let mut question = redis::cmd("ZRANGE");
    question.arg(place.layout.key(shard, "delay_seen")).arg(0).arg(-1);
    let ids: Vec<String> = place.with(shard, async |connection| question.query_async(connection).await)?;
    let ids: Result<_, DecodeError> = ids.iter().map(|id| message_id(id)).collect();
    ids.map_err(|cause| place.damaged(format!("what shard {shard} remembers of delayed publishes"), cause))
}

/// All ids once: of each list the newest last, and those of equal rank beside each other.
fn merged(lists: Vec<Vec<MessageId>>) -> Vec<MessageId> {
    let ranked = lists.into_iter().flat_map(|ids| ids.into_iter().rev().enumerate());
    let mut ranked: Vec<(usize, MessageId)> = ranked.collect();
    ranked.sort_unstable();
    let mut known = HashSet::new();
    let mut ids: Vec<MessageId> =
        ranked.into_iter().map(|(_, id)| id).filter(|id| known.insert(*id)).collect();
    ids.reverse();
    ids
}

/// `<source>.<slot>.<count>`.
fn message_id(text: &str) -> Result<MessageId, DecodeError> {
    let mut parts = text.splitn(3, '.').map(|part| part.parse::<u64>().ok());
    let mut next = || parts.next().flatten();
    let bad = || DecodeError::Number(text.to_owned());
    let (Some(source), Some(slot), Some(count)) = (next(), next(), next()) else { return Err(bad()) };
    Ok(MessageId { source, slot: u32::try_from(slot).map_err(|_| bad())?, count })
}

fn uint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_ids_in_several_shards_the_newest_stay_last() {
        let id = |count| MessageId::received(1, 1, count);
        let ids = merged(vec![vec![id(1), id(3)], vec![id(2), id(4), id(3)]]);
        assert_eq!(ids.len(), 4, "each once");
        assert_eq!(ids[3], id(3), "newest in both");
        assert_eq!(message_id("7.4294967295.9").unwrap(), MessageId::outbox(7, 9));
        assert!(message_id("7.x.9").is_err());
    }
}
