//! Keeps what a node knows of the store fresh while it does nothing: accounts, the marks of its last batches, and whether
//! the store went back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use weir_model::UnixMillis;

use super::lane::Lane;
use super::open::read_accounts;
use super::read::read_error;
use super::store::Context;
use super::witness;
use crate::ReadError;

/// How often the accounts of all shards are read: other nodes change them, too.
const REFRESH: Duration = Duration::from_secs(1);

/// Looks at the accounts between two times at which the marks of this node's last batches are kept for longer.
const KEEP_EVERY: u64 = 3600;

/// Looks at the accounts between two times at which shards are asked for what dead nodes were acknowledged.
const WITNESS_EVERY: u64 = 3;

/// How long such a mark stays after its node has gone.
const KEPT_SECONDS: u64 = 604_800;

/// Keeps the account up to date while this node does nothing, and looks whether the store went back.
pub(super) async fn refresh(context: Arc<Context>, lanes: Vec<Arc<Lane>>) {
    let mut rounds = 0_u64;
    loop {
        tokio::select! {
            () = tokio::time::sleep(REFRESH) => {}
            () = context.rollbacks.news.notified() => {}
        }
        // What cannot be read now is read the next time; whoever needs the shard reports it.
        let _ = read_accounts(&context.servers, &context.layout, &context.accounts).await;
        context.counters.note(context.accounts.sum());
        for lane in &lanes {
            let _ = look_for_last(&context, lane, rounds.is_multiple_of(KEEP_EVERY)).await;
        }
        rounds += 1;
        if rounds.is_multiple_of(WITNESS_EVERY)
            && let Some(lease) = context.lease.get()
        {
            let alive: Vec<_> = lease.nodes().iter().map(|node| node.incarnation).collect();
            witness::look(&context, &alive, UnixMillis::from(SystemTime::now())).await;
        }
        context.rollbacks.tell(&context);
    }
}

/// Whether the last batch that was acknowledged is still known where nothing is written for a while. `keep` sees to it
/// that it is.
async fn look_for_last(context: &Context, lane: &Lane, keep: bool) -> Result<(), ReadError> {
    let acknowledged = lane.last.load(Ordering::Acquire);
    if acknowledged == 0 {
        return Ok(());
    }
    let now = Instant::now();
    let mut connection = context.servers.commands(lane.shard).await.map_err(|_| ReadError::Unavailable)?;
    let key = context.layout.key(lane.shard, &format!("batch:{}", context.node.incarnation));
    let mut question = redis::pipe();
    question.cmd("HGET").arg(&key).arg("number");
    if keep {
        question.cmd("EXPIRE").arg(&key).arg(KEPT_SECONDS).ignore();
    }
    let answer: Result<(Option<u64>,), _> = question.query_async(&mut connection).await;
    let (known,) = answer.map_err(|error| {
        context.servers.lost(&connection, &error);
        read_error(&error)
    })?;
    if known.unwrap_or(0) < acknowledged {
        lane.suspect();
    } else {
        lane.window.lock().forget_before(now);
    }
    Ok(())
}
