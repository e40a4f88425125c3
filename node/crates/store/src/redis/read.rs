//! Reading queues and streams, and calls that ask without a batch.

use std::collections::BTreeMap;
use std::time::Duration;

use redis::RedisError;

use super::decode::{self, DecodeError};
use super::errors::{Kind, Policy};
use super::layout::{Layout, session_id};
use super::level::Unconfirmed;
use super::library::{self, Function};
use super::servers::Connection;
use crate::{Delivery, Page, Queued, ReadError, RowState, SessionKey};

mod effects;
mod stream;

pub(super) use effects::Group;
pub(super) use stream::{Entries, partition, piece_from, stream};

/// How long what was read may take to be confirmed.
const CONFIRM: Duration = Duration::from_secs(1);

/// Entries of one read of a queue.
const ROWS: usize = 128;

/// Asks, and loads the library when it is not there.
pub(super) async fn ask(
    connection: &mut Connection,
    function: Function,
    tag: &str,
    arguments: &[String],
) -> Result<Vec<u8>, RedisError> {
    let mut command = function.call();
    command.arg(1).arg(tag).arg(arguments);
    match command.query_async::<Vec<u8>>(connection).await {
        Err(error) if Kind::of(&error).policy() == Policy::Load => {
            Kind::of(&error).count();
            library::load(connection).await?;
            command.query_async(connection).await
        }
        answer => answer,
    }
}

/// What cannot be decoded, as an error of Redis.
pub(super) fn garbled(error: DecodeError) -> RedisError {
    RedisError::from((redis::ErrorKind::UnexpectedReturnType, "a row cannot be read", error.to_string()))
}

/// Rows of a queue above a number, in order: those that wait, and those that PUBREC has released. All of them are as
/// safe as the level wants: the number of a row that a failover takes back is given to another message, which the
/// client would take for the one it had.
pub(super) async fn queue(
    connection: &mut Connection,
    layout: &Layout,
    key: &SessionKey,
    after: u64,
    page: Page,
) -> Result<Vec<Queued>, RedisError> {
    let found = rows(connection, layout, key, after, page).await?;
    let wait = connection.wait().map_err(unconfirmed)?;
    if wait.is_some() && !found.is_empty() {
        let shard = layout.of_session(&session_id(key));
        connection.confirm(&layout.prefix, shard, CONFIRM).await.map_err(unconfirmed)?;
    }
    Ok(found)
}

fn unconfirmed(error: Unconfirmed) -> RedisError {
    RedisError::from((redis::ErrorKind::Io, "rows that may be taken back", error.to_string()))
}

async fn rows(
    connection: &mut Connection,
    layout: &Layout,
    key: &SessionKey,
    mut after: u64,
    page: Page,
) -> Result<Vec<Queued>, RedisError> {
    let (mut found, mut bytes) = (Vec::new(), 0);
    loop {
        let count = ROWS.min(page.rows_max.max(1));
        let piece = piece(connection, layout, key, after, count).await?;
        for row in piece.rows {
            let size = match &row.state {
                RowState::Waiting(delivery) => delivery.message.size_bytes(),
                RowState::Released => 0,
            };
            let is_full = found.len() >= page.rows_max || bytes + size > page.bytes_max;
            if is_full && !found.is_empty() {
                return Ok(found);
            }
            bytes += size;
            found.push(row);
        }
        match piece.until {
            Some(until) if found.len() < page.rows_max => after = until,
            _ => return Ok(found),
        }
    }
}

/// Some rows of a queue.
struct Piece {
    rows: Vec<Queued>,
    /// Where it ends; `None` = with the queue.
    until: Option<u64>,
}

/// Reads up to so many waiting and released rows. The released ones are read second, so that a row which is released in
/// between is there twice and not missing.
async fn piece(
    connection: &mut Connection,
    layout: &Layout,
    key: &SessionKey,
    after: u64,
    count: usize,
) -> Result<Piece, RedisError> {
    let id = session_id(key);
    let key = |name: &str| layout.key(layout.of_session(&id), &format!("{name}:{id}"));
    let from = after.saturating_add(1);
    let mut pipeline = redis::pipe();
    pipeline.cmd("XRANGE").arg(key("queue")).arg(from).arg("+").arg("COUNT").arg(count);
    pipeline.cmd("ZRANGEBYSCORE").arg(key("released")).arg(from).arg("+inf").arg("LIMIT").arg(0).arg(count);
    type Stream = Vec<(String, Vec<Vec<u8>>)>;
    let (waiting, released): (Stream, Vec<u64>) = pipeline.query_async(connection).await?;
    let mut rows = BTreeMap::new();
    for (id, fields) in &waiting {
        let (number, delivery) = waiting_row(id, fields).map_err(garbled)?;
        rows.insert(number, RowState::Waiting(delivery));
    }
    // Of a list that is full nobody knows how it goes on.
    let last_waiting = rows.last_key_value().map(|(number, _)| *number).filter(|_| waiting.len() == count);
    let last_released = released.last().copied().filter(|_| released.len() == count);
    let until = last_waiting.into_iter().chain(last_released).min();
    rows.extend(released.into_iter().map(|number| (number, RowState::Released)));
    let within = |number: &u64| until.is_none_or(|until| *number <= until);
    let rows = rows.into_iter().filter(|(number, _)| within(number));
    Ok(Piece { rows: rows.map(|(number, state)| Queued { number, state }).collect(), until })
}

fn waiting_row(id: &str, fields: &[Vec<u8>]) -> Result<(u64, Delivery), DecodeError> {
    let number = id.split('-').next().and_then(|number| number.parse().ok());
    let number = number.ok_or_else(|| DecodeError::Number(id.to_owned()))?;
    let fields: Vec<(&[u8], &[u8])> =
        fields.chunks_exact(2).map(|pair| (pair[0].as_slice(), pair[1].as_slice())).collect();
    Ok((number, decode::delivery(&fields)?))
}

/// What a reader is told.
pub(super) fn read_error(error: &RedisError) -> ReadError {
    match error.kind() {
        redis::ErrorKind::UnexpectedReturnType => {
            ReadError::Damaged { table: "redis", cause: error.to_string() }
        }
        _ => ReadError::Unavailable,
    }
}
