//! The node's lease: renewed on the store's time, as long as the mirror hears; and who else holds one (`guarantees.md` 6).
//!
//! A node that has died, left, or let its lease end is listed as dead by the next renewal of another; its incarnation
//! never comes back. After an outage of the store nobody is, before those who renew have stood for a whole lease.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::counter;
use parking_lot::RwLock;
use redis::{FromRedisValue as _, RedisError, Value};
use tokio::sync::watch;

use super::errors::Kind;
use super::layout::Layout;
use super::mirror::Feed;
use super::servers::{Away, Connection, Servers};
use super::shard::Shard;
use crate::{Incarnation, NodeRef};

mod clock;
mod enrol;
mod script;
mod sweep;

pub use clock::BootClock;
pub use enrol::EnrolError;

pub(super) use clock::boot_clock;
pub(super) use enrol::{LAYOUT_VERSION, enrol};
pub(super) use script::hold;

/// A lease is over here a little before it is over in the store, for clocks that run apart.
const MARGIN_PARTS: u32 = 100;

/// This node's lease, renewed by a task.
pub(super) struct Lease {
    servers: Arc<Servers>,
    layout: Layout,
    feed: Arc<Feed>,
    node: NodeRef,
    clock: BootClock,
    /// Nanoseconds on the clock until which the lease stands; 0 = it does not.
    stands_until: AtomicU64,
    /// How many times it began to stand.
    terms: AtomicU64,
    seen: RwLock<Seen>,
    ended: watch::Sender<Option<Ended>>,
}

/// A time without a gap in which a lease stands: what was asked for in one is not done in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Term(u64);

impl From<Term> for u64 {
    /// From 1.
    fn from(term: Term) -> u64 {
        term.0
    }
}

/// As of the last renewal.
#[derive(Debug, Clone, Default)]
struct Seen {
    nodes: Vec<NodeRef>,
    dead: Vec<Incarnation>,
    highest: Incarnation,
    not_buried: Vec<Incarnation>,
}

/// Why the lease never stands again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    #[error("another process has started with this node's id: its incarnation is {by}")]
    Superseded { by: Incarnation },
    #[error("the lease was over and another node has seen to this one's sessions: it has to start anew")]
    Buried,
    #[error("it was given back")]
    Left,
}

/// Why a renewal failed; the next one may not.
#[derive(Debug, thiserror::Error)]
enum NotRenewed {
    #[error("the mirror does not hear")]
    Deaf,
    #[error(transparent)]
    Away(#[from] Away),
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error("too few replicas have it")]
    Unconfirmed,
    #[error("the store went back less than a lease ago")]
    Held,
}

impl Lease {
    /// Takes up the lease of a node that has enrolled, once its mirror is loaded.
    pub fn start(
        servers: Arc<Servers>,
        layout: Layout,
        feed: Arc<Feed>,
        node: NodeRef,
        clock: BootClock,
    ) -> Arc<Lease> {
        let lease = Arc::new(Lease {
            servers,
            layout,
            feed,
            node,
            clock,
            stands_until: AtomicU64::new(0),
            terms: AtomicU64::new(0),
            seen: RwLock::default(),
            ended: watch::Sender::new(None),
        });
        tokio::spawn(lease.clone().keep());
        lease
    }

    /// Whether the lease stands and the mirror is complete.
    pub fn stands(&self) -> bool {
        self.feed.is_whole() && nanos((self.clock)()) < self.stands_until.load(Ordering::Acquire)
    }

    /// The time without a gap in which the lease has stood until now; `None` = it does not stand.
    pub fn term(&self) -> Option<Term> {
        let term = self.terms.load(Ordering::Acquire);
        (nanos((self.clock)()) < self.stands_until.load(Ordering::Acquire)).then_some(Term(term))
    }

    /// Who holds a lease, this node included, as of the last renewal.
    pub fn nodes(&self) -> Vec<NodeRef> {
        self.seen.read().nodes.clone()
    }

    /// Incarnations whose sessions are orphans, as of the last renewal; for the function `due`.
    pub fn dead(&self) -> Vec<Incarnation> {
        self.seen.read().dead.clone()
    }

    /// Whether an incarnation is over, as of the last renewal.
    pub fn is_gone(&self, incarnation: Incarnation) -> bool {
        let seen = self.seen.read();
        let is_buried = incarnation <= seen.highest && !seen.not_buried.contains(&incarnation);
        seen.dead.contains(&incarnation) || is_buried
    }

    /// The highest incarnation ever given, and those that are not buried, separated by spaces, as of the last renewal:
    /// whoever is neither above nor among them never comes back. Empty before the first one.
    pub fn not_buried(&self) -> String {
        let seen = self.seen.read();
        let mut text = if seen.highest > 0 { seen.highest.to_string() } else { String::new() };
        for incarnation in &seen.not_buried {
            text.push(' ');
            text.push_str(&incarnation.to_string());
        }
        text
    }

    /// Why the lease is over for good, if it is; changes at most once.
    pub fn ended(&self) -> watch::Receiver<Option<Ended>> {
        self.ended.subscribe()
    }

    /// Waits until the lease stands, or is over for good.
    pub async fn standing(&self) -> Result<(), Ended> {
        let mut ended = self.ended();
        while !self.stands() {
            if let Some(ended) = &*ended.borrow_and_update() {
                return Err(ended.clone());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Gives the lease back: others see to the sessions of this node at once. Tried once; without the store it ends by
    /// itself.
    pub async fn leave(&self) {
        self.end(Ended::Left);
        if let Err(error) = self.give_back().await {
            tracing::warn!(%error, "the lease cannot be given back: it ends by itself");
        }
    }

    /// Ends the renewals: the lease ends by itself, as that of a node that has died.
    pub fn close(&self) {
        self.end(Ended::Left);
    }

    async fn give_back(&self) -> Result<(), NotRenewed> {
        let mut connection = self.servers.commands(Shard::Nodes).await?;
        let call = script::leave(&self.layout, &self.node);
        let left: Result<(), RedisError> = call.query_async(&mut connection).await;
        left.map_err(|error| self.lost(&connection, error))
    }

    /// Renews until the lease is over for good.
    async fn keep(self: Arc<Lease>) {
        let lease = self.servers.config().lease();
        let mut ended = self.ended();
        let renewing = async {
            let mut renewals = 0_u64;
            loop {
                let pause = match self.renew().await {
                    Ok(()) => lease / 3,
                    Err(error) => {
                        tracing::debug!(%error, "the lease was not renewed");
                        lease / 20
                    }
                };
                if renewals.is_multiple_of(sweep::EVERY) {
                    sweep::sweep(&self).await;
                }
                renewals += 1;
                self.count_lapse();
                tokio::time::sleep(pause).await;
            }
        };
        tokio::select! {
            () = renewing => {}
            () = over(&mut ended) => {}
        }
    }

    async fn renew(&self) -> Result<(), NotRenewed> {
        let lag_max = Duration::from_millis(self.servers.config().mirror_lag_max_ms.max(1));
        let heard = tokio::time::timeout(lag_max, self.feed.caught_up()).await;
        if !matches!(heard, Ok(Ok(()))) {
            counter!("weir_store_redis_lease_deaf_total").increment(1);
            return Err(NotRenewed::Deaf);
        }
        let mut connection = self.servers.commands(Shard::Nodes).await?;
        let lease = self.servers.config().lease();
        let sent = (self.clock)();
        let mut batch = redis::pipe();
        batch.add_command(script::renew(&self.layout, &self.node, lease));
        let Ok(wait) = connection.wait() else { return Err(NotRenewed::Unconfirmed) };
        if let Some(wait) = wait {
            batch.add_command(wait.command());
        }
        let answers: Vec<Value> =
            batch.query_async(&mut connection).await.map_err(|error| self.lost(&connection, error))?;
        let mut answers = answers.into_iter();
        let renewed = script::Renewed::from_redis_value(answers.next().unwrap_or_default());
        match renewed.map_err(RedisError::from)? {
            script::Renewed::Stands { nodes, dead, highest, not_buried } => {
                if wait.is_some_and(|wait| !answers.next().is_some_and(|answer| wait.enough(&answer))) {
                    return Err(NotRenewed::Unconfirmed);
                }
                *self.seen.write() = Seen { nodes, dead, highest, not_buried };
                let until = sent + lease - lease / MARGIN_PARTS;
                if self.stands_until.load(Ordering::Acquire) <= nanos((self.clock)()) {
                    self.terms.fetch_add(1, Ordering::AcqRel);
                }
                self.stands_until.store(nanos(until), Ordering::Release);
                // Given back while the renewal was under way.
                if self.ended.borrow().is_some() {
                    self.stands_until.store(0, Ordering::Release);
                }
            }
            script::Renewed::Held => return Err(NotRenewed::Held),
            script::Renewed::Superseded { by } => self.end(Ended::Superseded { by }),
            script::Renewed::Gone => self.end(Ended::Buried),
        }
        Ok(())
    }

    fn lost(&self, connection: &Connection, error: RedisError) -> NotRenewed {
        Kind::of(&error).count();
        self.servers.lost(connection, &error);
        NotRenewed::Redis(error)
    }

    fn end(&self, why: Ended) {
        let is_first = self.ended.send_if_modified(|ended| {
            let is_first = ended.is_none();
            ended.get_or_insert(why.clone());
            is_first
        });
        self.stands_until.store(0, Ordering::Release);
        if is_first && why != Ended::Left {
            counter!("weir_store_redis_lease_ended_total").increment(1);
            tracing::error!(node = %self.node.node_id, incarnation = self.node.incarnation, %why, "lost its lease");
        }
    }

    /// Counts a lease that was not renewed in time.
    fn count_lapse(&self) {
        let until = self.stands_until.load(Ordering::Acquire);
        if until > 0 && until <= nanos((self.clock)()) {
            let cleared = self.stands_until.compare_exchange(until, 0, Ordering::AcqRel, Ordering::Relaxed);
            if cleared.is_ok() {
                counter!("weir_store_redis_lease_lapses_total").increment(1);
                tracing::warn!("the lease was not renewed in time: acknowledging nothing until it is");
            }
        }
    }
}

async fn over(ended: &mut watch::Receiver<Option<Ended>>) {
    // The sender is the lease itself, which outlives this.
    let _ = ended.wait_for(Option::is_some).await;
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
