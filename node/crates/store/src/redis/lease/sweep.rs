//! Forgetting the dead: incarnations that have nothing left to see to.

use std::time::Duration;

use redis::RedisError;

use super::{Lease, script};
use crate::Incarnation;
use crate::redis::shard::Shard;

/// Renewals between two sweeps.
pub(super) const EVERY: u64 = 60;

/// A write of a dead node that is late on its way comes within this time, or never.
const LATE: Duration = Duration::from_mins(10);

/// Takes incarnations off the list of the dead that own no session in any shard.
pub(super) async fn sweep(lease: &Lease) {
    if let Err(error) = try_sweep(lease).await {
        tracing::debug!(%error, "the dead were not swept");
    }
}

async fn try_sweep(lease: &Lease) -> Result<(), RedisError> {
    let away = |away: super::Away| RedisError::from(std::io::Error::other(away.to_string()));
    let mut connection = lease.servers.commands(Shard::Nodes).await.map_err(away)?;
    let long_dead = script::long_dead(&lease.layout, LATE);
    let mut dead: Vec<Incarnation> = long_dead.query_async(&mut connection).await?;
    for shard in lease.layout.sessions() {
        if dead.is_empty() {
            return Ok(());
        }
        let mut question = redis::pipe();
        for incarnation in &dead {
            question.cmd("EXISTS").arg(lease.layout.key(shard, &format!("owned:{incarnation}")));
        }
        let mut there = lease.servers.commands(shard).await.map_err(away)?;
        let owns: Vec<bool> = question.query_async(&mut there).await?;
        let mut owns = owns.into_iter();
        dead.retain(|_| owns.next() == Some(false));
    }
    script::forget(&lease.layout, &dead).query_async(&mut connection).await
}
