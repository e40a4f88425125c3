//! Claiming what is due, over all shards.

use std::sync::Arc;

use futures_util::future::join_all;
use weir_model::UnixMillis;

use super::decode::{self, Found};
use super::library::Function;
use super::read::{ask, garbled, read_error};
use super::shard::Shard;
use super::store::Context;
use crate::{Due, Incarnation, ReadError};

/// At most `max` entries that are due by `now`, the oldest first, and what the nodes that are lost left behind. Each
/// shard is asked for its part of them; those that have more are asked again, one by one.
pub(super) async fn due(
    context: &Arc<Context>,
    now: UnixMillis,
    max: usize,
    lost: &[Incarnation],
) -> Result<Vec<Due>, ReadError> {
    let shards: Vec<Shard> = context.layout.timed().collect();
    let part = max / shards.len().max(1);
    let mut found = Vec::new();
    let mut more = Vec::new();
    if part > 0 {
        let asked = shards.iter().map(|shard| claim(context, *shard, now, part, lost));
        for (shard, answer) in shards.iter().zip(join_all(asked).await) {
            let answer = answer?;
            if answer.len() >= part {
                more.push(*shard);
            }
            found.extend(answer);
        }
    } else {
        more = shards;
    }
    for shard in more {
        let room = max.saturating_sub(found.len());
        if room == 0 {
            break;
        }
        found.extend(claim(context, shard, now, room, lost).await?);
    }
    found.sort_by(|one, other| one.since.total_cmp(&other.since));
    Ok(found.into_iter().map(|found| found.due).collect())
}

async fn claim(
    context: &Arc<Context>,
    shard: Shard,
    now: UnixMillis,
    max: usize,
    lost: &[Incarnation],
) -> Result<Vec<Found>, ReadError> {
    let mut connection = context.servers.commands(shard).await.map_err(|_| ReadError::Unavailable)?;
    let mut arguments = vec![now.to_string(), max.to_string(), context.claim_ms.to_string()];
    arguments.extend(lost.iter().map(Incarnation::to_string));
    let tag = context.layout.tag(shard);
    let answer = ask(&mut connection, Function::Due, &tag, &arguments).await;
    let answer = answer.and_then(|packed| decode::due(&packed).map_err(garbled));
    answer.map_err(|error| {
        super::errors::Kind::of(&error).count();
        context.servers.lost(&connection, &error);
        read_error(&error)
    })
}
