//! One reader: loads its shards, then waits for the next entries of their streams, for ever.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use redis::{RedisError, Value};

use super::entry::{Entry, read_streams};
use super::rows::MustLoad;
use super::tail::{are_whole, changes, tails_by};
use super::{BLOCK, EntryId, Feed};
use crate::redis::servers::Connection;
use crate::redis::shard::Shard;

/// Most entries of one read, of each stream. A stream keeps more than that when it is trimmed, so while a connection
/// holds, a read that brings fewer has missed none.
const ENTRIES_MAX: usize = 512;

/// Reads these shards until the feed is closed; connects and loads again whenever it has to.
pub(super) async fn read(feed: Arc<Feed>, shards: Vec<Shard>) {
    let mut closed = feed.closed.subscribe();
    let reading = async {
        let mut pause = Duration::ZERO;
        loop {
            tokio::time::sleep(pause).await;
            pause = attempt(&feed, &shards).await;
        }
    };
    tokio::select! {
        () = reading => {}
        _ = async { closed.wait_for(|closed| *closed).await.map(|_| ()) } => {}
    }
}

/// One connection's life; answers how long to wait for the next.
async fn attempt(feed: &Feed, shards: &[Shard]) -> Duration {
    let back_off = Duration::from_millis(feed.servers.config().back_off_max_ms.clamp(1, 1000));
    let mut connection = match feed.servers.reader(shards[0]).await {
        Ok(connection) => connection.answering_within(feed.servers.config().response_timeout()),
        Err(away) => return away.retry_in.max(back_off / 4),
    };
    let Err(error) = follow(feed, shards, &mut connection).await;
    tracing::debug!(%error, "a reader of changes lost its connection");
    feed.servers.lost(&connection, &error);
    back_off / 4
}

/// Loads what is not loaded and hands on what comes, as long as the connection holds.
async fn follow(
    feed: &Feed,
    shards: &[Shard],
    connection: &mut Connection,
) -> Result<std::convert::Infallible, RedisError> {
    let heard = |shard: &Shard| Some((*shard, feed.heard(*shard)?));
    forget_gaps(feed, shards.iter().filter_map(heard).collect(), connection).await?;
    loop {
        load_missing(feed, shards, connection).await?;
        hear(feed, shards, connection).await?;
    }
}

/// Forgets those shards of which entries behind the given ones were trimmed.
async fn forget_gaps(
    feed: &Feed,
    read: Vec<(Shard, EntryId)>,
    connection: &mut Connection,
) -> Result<(), RedisError> {
    if read.is_empty() {
        return Ok(());
    }
    let whole = are_whole(connection, &feed.layout, &read, feed.servers.is_cluster()).await?;
    for ((shard, _), _) in read.into_iter().zip(whole).filter(|(_, is_whole)| !is_whole) {
        tracing::warn!(%shard, "changes were missed: reading everything again");
        counter!("weir_store_redis_mirror_gaps_total").increment(1);
        feed.forget(shard);
    }
    Ok(())
}

async fn load_missing(feed: &Feed, shards: &[Shard], connection: &mut Connection) -> Result<(), RedisError> {
    let missing: Vec<Shard> = shards.iter().copied().filter(|shard| feed.heard(*shard).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let is_cluster = feed.servers.is_cluster();
    let before = tails_by(connection, &feed.layout, &missing, is_cluster).await?;
    for (shard, tail) in missing.iter().zip(&before) {
        feed.wait_for_turn(*shard).await;
        feed.rows.load(*shard, *tail, connection).await?;
        counter!("weir_store_redis_mirror_loads_total").increment(1);
    }
    let after = tails_by(connection, &feed.layout, &missing, is_cluster).await?;
    for ((shard, before), after) in missing.into_iter().zip(before).zip(after) {
        feed.loaded(shard, before, after);
    }
    Ok(())
}

/// Waits for entries and hands them on. After so many that some may have been trimmed unread, looks whether they were.
async fn hear(feed: &Feed, shards: &[Shard], connection: &mut Connection) -> Result<(), RedisError> {
    let mut command = redis::cmd("XREAD");
    let block = u64::try_from(BLOCK.as_millis()).unwrap_or(u64::MAX);
    command.arg("COUNT").arg(ENTRIES_MAX).arg("BLOCK").arg(block).arg("STREAMS");
    let keys: Vec<String> = shards.iter().map(|shard| changes(&feed.layout, *shard)).collect();
    let after = shards.iter().map(|shard| feed.heard(*shard).unwrap_or_default());
    let after: Vec<EntryId> = after.collect();
    command.arg(&keys).arg(after.iter().map(EntryId::to_string).collect::<Vec<_>>());
    // An answer later than this never comes: the server is gone without a word.
    let mut patient = connection.answering_within(BLOCK + feed.servers.config().response_timeout());
    let answer: Value = command.query_async(&mut patient).await?;
    let at = |key: &String| keys.iter().position(|known| known == key);
    let streams: Vec<(usize, Vec<Entry>)> =
        read_streams(answer)?.into_iter().filter_map(|(key, entries)| Some((at(&key)?, entries))).collect();
    let is_full = |(_, entries): &&(usize, Vec<Entry>)| entries.len() >= ENTRIES_MAX;
    let suspects = streams.iter().filter(is_full).map(|(at, _)| (shards[*at], after[*at])).collect();
    forget_gaps(feed, suspects, connection).await?;
    for (at, entries) in streams {
        // One that was forgotten is loaded next, from a later tail.
        if feed.heard(shards[at]).is_some() {
            counter!("weir_store_redis_changes_heard_total").increment(entries.len() as u64);
            hand_on(feed, shards[at], &entries);
        }
    }
    Ok(())
}

fn hand_on(feed: &Feed, shard: Shard, entries: &[Entry]) {
    match entries.iter().try_for_each(|entry| feed.rows.apply(shard, entry)) {
        Ok(()) => entries.iter().next_back().into_iter().for_each(|last| feed.reached(shard, last.id)),
        Err(MustLoad) => feed.forget(shard),
    }
}
