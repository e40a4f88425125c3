//! The lease of one node on a shared memory store, and whether its mirror hears: all that is asked without
//! the store's lock.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use weir_model::UnixMillis;

use crate::ReadError;

/// For how long a node whose mirror hears nothing may still trust it.
const MIRROR_LAG_MAX_MS: u64 = 1000;

#[derive(Debug)]
pub(super) struct Lease {
    holds: AtomicBool,
    closed: AtomicBool,
    /// Since when the mirror hears nothing; `None` = it hears.
    held: watch::Sender<Option<UnixMillis>>,
}

impl Lease {
    pub fn new() -> Lease {
        Lease { holds: AtomicBool::new(true), closed: AtomicBool::new(false), held: watch::Sender::new(None) }
    }

    /// Whether it was neither cut nor given back.
    pub fn holds(&self) -> bool {
        self.holds.load(Ordering::Acquire)
    }

    /// Whether the node may trust what it knows.
    pub fn stands(&self, now: UnixMillis) -> bool {
        let hears = |since: UnixMillis| now.0 < since.0.saturating_add(MIRROR_LAG_MAX_MS);
        self.holds() && self.held.borrow().is_none_or(hears)
    }

    pub fn end(&self) {
        self.holds.store(false, Ordering::Release);
    }

    /// The node's handle was closed or dropped.
    pub fn close(&self) {
        self.end();
        self.closed.store(true, Ordering::Release);
        self.held.send_replace(None);
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// The mirror hears nothing from now on.
    pub fn hold(&self, now: UnixMillis) {
        self.held.send_if_modified(|held| held.replace(now).is_none());
    }

    /// The mirror has heard everything and hears again.
    pub fn let_go(&self) {
        self.held.send_replace(None);
    }

    /// Waits until the mirror hears.
    pub fn hears(&self) -> BoxFuture<'static, Result<(), ReadError>> {
        let mut held = self.held.subscribe();
        async move {
            match held.wait_for(Option::is_none).await {
                Ok(_) => Ok(()),
                Err(_) => Err(ReadError::Unavailable),
            }
        }
        .boxed()
    }
}
