//! Reading partitions: records in order, where they begin and end, and the places of groups.

use bytes::Bytes;
use metrics::counter;
use redis::{Cmd, FromRedisValue as _, RedisError, Value};

use super::effects::count;
use super::{garbled, unconfirmed};
use crate::redis::decode::{self, Partition};
use crate::redis::layout::{Layout, partition_id};
use crate::redis::mirror::EntryId;
use crate::redis::servers::Connection;
use crate::{GroupPlace, Mark, Page, PartitionEnds, PartitionInfo, PartitionKey, Record, Start, StreamPage};

/// Entries of the first question; how large records are is known from its answer.
const FIRST_ROWS: usize = 64;

/// Most entries of one question.
const ROWS_MAX: usize = 4096;

/// One question's answer: all of it of the same moment.
pub(in crate::redis) struct Entries {
    pub partition: Partition,
    /// With an id as the stream has it.
    pub entries: Vec<(EntryId, Vec<Bytes>)>,
}

/// What to ask beside where the partition stands.
#[derive(Clone, Copy)]
enum From {
    Id(EntryId),
    Position(Start),
}

/// Records from `start` on, and where the partition begins and ends. All of them are as safe as the level wants.
pub(in crate::redis) async fn stream(
    connection: &mut Connection,
    layout: &Layout,
    key: &PartitionKey,
    start: Start,
    page: Page,
) -> Result<StreamPage, RedisError> {
    let found = records(connection, layout, key, start, page).await?;
    if connection.wait().map_err(unconfirmed)?.is_some() && !found.records.is_empty() {
        let shard = layout.of_partition(&partition_id(key));
        connection.confirm(&layout.prefix, shard, super::CONFIRM).await.map_err(unconfirmed)?;
    }
    Ok(found)
}

async fn records(
    connection: &mut Connection,
    layout: &Layout,
    key: &PartitionKey,
    start: Start,
    page: Page,
) -> Result<StreamPage, RedisError> {
    let rows_max = page.rows_max.max(1);
    let mut count = FIRST_ROWS.min(rows_max);
    let mut from = From::Position(start);
    let (mut found, mut bytes) = (StreamPage::default(), 0);
    loop {
        let Some(piece) = piece(connection, layout, key, from, count).await? else { return Ok(found) };
        found.ends = piece.partition.ends;
        let asked = piece.entries.len();
        let last = piece.entries.last().map(|(id, _)| *id);
        for (id, fields) in piece.entries {
            // What is about to go is not handed out any more.
            let is_going = id < piece.partition.keep_from;
            let Some(record) = readable(&piece.partition, id, &fields).filter(|_| !is_going) else {
                continue;
            };
            let size = record.message.size_bytes();
            if found.records.len() >= rows_max || (bytes + size > page.bytes_max && !found.records.is_empty())
            {
                return Ok(found);
            }
            bytes += size;
            found.records.push(record);
        }
        let Some(last) = last.filter(|_| asked == count && found.records.len() < rows_max) else {
            return Ok(found);
        };
        from = From::Id(EntryId { ms: last.ms, seq: last.seq + 1 });
        let room = page.bytes_max.saturating_sub(bytes);
        let size = (found.ends.bytes / found.ends.records.max(1)).max(1) as usize;
        count = (room / size + 1).min(rows_max - found.records.len()).clamp(1, ROWS_MAX);
    }
}

/// A record, unless somebody else has put something there that is none.
fn readable(partition: &Partition, id: EntryId, fields: &[Bytes]) -> Option<Record> {
    match decode::record(partition, id, fields) {
        Ok(record) => Some(record),
        Err(error) => {
            counter!("weir_store_redis_unreadable_total").increment(1);
            tracing::error!(%id, %error, "an entry of a stream in Redis is no record: left out");
            None
        }
    }
}

/// So many entries from an id on, as they are; `None` = there is no such partition.
pub(in crate::redis) async fn piece_from(
    connection: &mut Connection,
    layout: &Layout,
    key: &PartitionKey,
    first: EntryId,
    count: usize,
) -> Result<Option<Entries>, RedisError> {
    piece(connection, layout, key, From::Id(first), count).await
}

/// `None` = there is no such partition.
async fn piece(
    connection: &mut Connection,
    layout: &Layout,
    key: &PartitionKey,
    from: From,
    count: usize,
) -> Result<Option<Entries>, RedisError> {
    let names = Names::of(layout, key);
    let from = match from {
        From::Id(id) => Some(id),
        From::Position(Start::Earliest) => Some(EntryId::default()),
        From::Position(Start::At(at)) => Some(EntryId { ms: at.0, seq: 0 }),
        From::Position(Start::After(position)) => {
            let Some(partition) = names.look(connection).await? else { return Ok(None) };
            partition.behind(position)
        }
        From::Position(Start::Latest) => None,
    };
    let mut question = names.question();
    if let Some(from) = from {
        let mut page = redis::cmd("XRANGE");
        page.arg(&names.stream).arg(from.to_string()).arg("+").arg("COUNT").arg(count);
        question.push(page);
    }
    let mut answers = at_one_moment(connection, question).await?;
    let Some(partition) = stands(&mut answers)? else { return Ok(None) };
    let entries = answers.next().map_or(Ok(Vec::new()), entries)?;
    Ok(Some(Entries { partition, entries }))
}

/// A partition with its groups; `None` = there is none.
pub(in crate::redis) async fn partition(
    connection: &mut Connection,
    layout: &Layout,
    key: &PartitionKey,
) -> Result<Option<PartitionInfo>, RedisError> {
    let names = Names::of(layout, key);
    let mut question = names.question();
    question.push(redis::Cmd::hgetall(&names.groups));
    let mut answers = at_one_moment(connection, question).await?;
    let Some(found) = stands(&mut answers)? else { return Ok(None) };
    let rows =
        Vec::<(String, Vec<u8>)>::from_redis_value(answers.next().unwrap_or(Value::Array(Vec::new())))?;
    let place = |(name, row): &(String, Vec<u8>)| decode::group_place(name, row).map_err(garbled);
    let mut groups = rows.iter().map(place).collect::<Result<Vec<GroupPlace>, _>>()?;
    groups.sort_by(|one, other| one.group.cmp(&other.group));
    count(connection, layout, key, &mut groups).await?;
    Ok(Some(PartitionInfo { ends: found.ends, retention: found.retention, groups }))
}

/// The keys of a partition.
struct Names {
    row: String,
    stream: String,
    groups: String,
}

impl Names {
    fn of(layout: &Layout, key: &PartitionKey) -> Names {
        let id = partition_id(key);
        let name = |kind: &str| layout.key(layout.of_partition(&id), &format!("{kind}:{id}"));
        Names { row: name("partition"), stream: name("stream"), groups: name("groups") }
    }

    /// Where the partition stands: its row, how many entries there are, and the first.
    fn question(&self) -> Vec<Cmd> {
        let (mut row, mut there, mut first) = (redis::cmd("HMGET"), redis::cmd("XLEN"), redis::cmd("XRANGE"));
        row.arg(&self.row).arg(&decode::PARTITION);
        there.arg(&self.stream);
        first.arg(&self.stream).arg("-").arg("+").arg("COUNT").arg(1);
        vec![row, there, first]
    }

    async fn look(&self, connection: &mut Connection) -> Result<Option<Partition>, RedisError> {
        let mut question = redis::cmd("HMGET");
        question.arg(&self.row).arg(&decode::PARTITION);
        let row: Vec<Option<Vec<u8>>> = question.query_async(connection).await?;
        decode::partition(&row).map_err(garbled)
    }
}

/// Asks as a transaction. A server without memory lets none in: then the answers are of moments close to each other, and
/// nothing is appended between them.
async fn at_one_moment(
    connection: &mut Connection,
    question: Vec<Cmd>,
) -> Result<std::vec::IntoIter<Value>, RedisError> {
    let mut pipeline = redis::pipe();
    for command in question {
        pipeline.add_command(command);
    }
    let mut transaction = pipeline.clone();
    let answers = match transaction.atomic().query_async::<Vec<Value>>(connection).await {
        Err(error) if matches!(error.code(), Some("OOM" | "EXECABORT")) => {
            pipeline.query_async(connection).await?
        }
        answers => answers?,
    };
    Ok(answers.into_iter())
}

/// The answers to [`Names::question`].
fn stands(answers: &mut impl Iterator<Item = Value>) -> Result<Option<Partition>, RedisError> {
    let mut next = || answers.next().unwrap_or_default();
    let row = Vec::<Option<Vec<u8>>>::from_redis_value(next())?;
    let (there, first) = (u64::from_redis_value(next())?, entries(next())?);
    let Some(mut partition) = decode::partition(&row).map_err(garbled)? else { return Ok(None) };
    if there != partition.ends.records {
        correct(&mut partition, there, first.first());
    }
    Ok(Some(partition))
}

/// Somebody else has deleted or trimmed records, or the whole key; the next batch notes it.
fn correct(partition: &mut Partition, there: u64, first: Option<&(EntryId, Vec<Bytes>)>) {
    let PartitionEnds { trimmed, tail, records, bytes, .. } = partition.ends;
    let scaled = u128::from(bytes) * u128::from(there) / u128::from(records.max(1));
    partition.ends.bytes = u64::try_from(scaled).unwrap_or(bytes);
    partition.ends.records = there;
    let before_first = match first {
        None => Some(tail),
        Some((id, fields)) => decode::record(partition, *id, fields).ok().map(|record| {
            let seq = id.seq.checked_sub(1);
            let before =
                EntryId { ms: seq.map_or(id.ms.saturating_sub(1), |_| id.ms), seq: seq.unwrap_or(0) };
            Mark { position: partition.position(before), number: record.mark.number.saturating_sub(1) }
        }),
    };
    if let Some(before) = before_first.filter(|before| before.number > trimmed.number) {
        partition.ends.trimmed = before;
    }
}

/// Entries as `XRANGE` answers them.
pub(super) fn entries(answer: Value) -> Result<Vec<(EntryId, Vec<Bytes>)>, RedisError> {
    let bad = || RedisError::from((redis::ErrorKind::UnexpectedReturnType, "no entry of a stream"));
    let Value::Array(rows) = answer else { return Ok(Vec::new()) };
    let entry = |row: Value| {
        let Value::Array(parts) = row else { return Err(bad()) };
        let mut parts = parts.into_iter();
        let (Some(Value::BulkString(id)), Some(Value::Array(fields))) = (parts.next(), parts.next()) else {
            return Err(bad());
        };
        let field = |value: Value| match value {
            Value::BulkString(bytes) => Ok(Bytes::from(bytes)),
            _ => Err(bad()),
        };
        let id = EntryId::parse(&id).ok_or_else(bad)?;
        Ok((id, fields.into_iter().map(field).collect::<Result<_, _>>()?))
    };
    rows.into_iter().map(entry).collect()
}
