//! The task that looks after the table: who is primary, what it proves, how full it is.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use metrics::{counter, gauge};
use tokio::sync::watch;

use super::discover::{Found, Scout};
use super::primary::Primary;
use super::table::Table;
use super::target::Address;
use super::{Servers, lines};
use crate::redis::level::Facts;

/// The shortest time between two looks, however many report that something is wrong.
const BREATH: Duration = Duration::from_millis(50);

/// Looks until the servers are closed or nobody has them any more.
pub(super) async fn watch(servers: Weak<Servers>, mut scout: Scout, mut closed: watch::Receiver<bool>) {
    loop {
        let Some(servers) = servers.upgrade() else { return };
        let pause = Duration::from_millis(servers.config.watch_interval_ms).max(BREATH);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = servers.look_again.notified() => tokio::time::sleep(BREATH).await,
            () = ended(&mut closed) => return,
        }
        servers.look(&mut scout).await;
        let primaries = servers.primaries();
        join_all(primaries.iter().map(|primary| servers.look_at(primary))).await;
        measure(&primaries);
    }
}

async fn ended(closed: &mut watch::Receiver<bool>) {
    // An error says that nobody is left who could close.
    let _ = closed.wait_for(|closed| *closed).await;
}

impl Servers {
    fn primaries(&self) -> Vec<Arc<Primary>> {
        self.table.borrow().primaries().cloned().collect()
    }

    /// Finds out who is primary and replaces the table when it is somebody else.
    async fn look(&self, scout: &mut Scout) {
        let known: Vec<Address> = self.primaries().iter().map(|primary| primary.address.clone()).collect();
        match scout.look(&self.dialer, &self.target, &known).await {
            Ok(found) => {
                if !self.table.borrow().is_as(&found) {
                    self.replace(&found);
                }
            }
            Err(lost) => tracing::debug!(%lost, "cannot find out who is primary"),
        }
    }

    fn replace(&self, found: &Found) {
        let lines = lines(&self.config, self.level);
        self.table.send_modify(|table| {
            let make = |address| Primary::new(address, lines, self.back_off);
            let next = Table::new(found, Some(table), &self.config, make);
            for gone in table.gone(&next) {
                gone.retire();
                counter!("weir_store_redis_failovers_total").increment(1);
                tracing::warn!(address = %gone.address, "is not a Redis primary any more");
            }
            *table = Arc::new(next);
        });
    }

    /// Reads settings and memory of a primary again, over its first line.
    async fn look_at(&self, primary: &Arc<Primary>) {
        let Some(mut connection) = primary.line(0).current() else { return };
        match Facts::of(&mut connection.link).await {
            Ok(facts) if !facts.is_primary => {
                self.lost(&connection, &std::io::Error::other("became a replica").into());
            }
            Ok(mut facts) => {
                facts.replicas_known = self.table.borrow().replicas_known(&primary.address);
                let was_good = primary.confirm().is_ok();
                let proved = primary.note(facts, Some(self.level), self.config.memory_high_percent);
                if let (true, Err(unproved)) = (was_good, proved) {
                    counter!("weir_store_redis_level_unproved_total").increment(1);
                    tracing::error!(address = %primary.address, level = %self.level, %unproved, "acknowledges nothing");
                }
            }
            Err(error) => self.lost(&connection, &error),
        }
    }
}

fn measure(primaries: &[Arc<Primary>]) {
    let sum = |of: fn(&Facts) -> u64| bytes(primaries.iter().map(|primary| of(&primary.facts())).sum());
    gauge!("weir_store_redis_memory_bytes").set(sum(|facts| facts.used_memory));
    gauge!("weir_store_redis_memory_max_bytes").set(sum(|facts| facts.maxmemory));
}

/// Gauges are floating point.
#[expect(clippy::cast_precision_loss, reason = "no server has 2^53 bytes")]
fn bytes(count: u64) -> f64 {
    count as f64
}
