//! How many connections there may be and how fast they may come, decided before a client says a word.
//!
//! A connection is *half-open* from being accepted until its client is let in. When too many are, the
//! oldest of them goes: an honest client is through within a few round trips, so one that still
//! stands there is the likeliest to be stalling, and refusing the newest instead would let whoever
//! fills the room once keep everybody out for a whole timeout. Per address it is the newest that is
//! refused: who fills that room stands in it. How much work newcomers may cause at all is what the
//! connects per second are for.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use metrics::Gauge;
use parking_lot::Mutex;
use rustix::process::{Resource, getrlimit};
use tokio::sync::{oneshot, watch};

mod addresses;
mod rate;
mod refused;

use crate::config;
use crate::proxy::Trusted;
use addresses::{Addresses, Key};
use rate::Bucket;
pub use refused::Refused;

/// Open files that are not for connections: the store's, the listeners', the logs'.
const OPEN_FILES_RESERVED: u64 = 512;

/// The limits of a node's connections and what they are held against; one for all listeners.
#[derive(Debug)]
pub struct Limits {
    connections_max: usize,
    half_open_max: usize,
    trusted: Trusted,
    by_address: bool,
    state: Mutex<State>,
    paused: watch::Sender<bool>,
    open: Gauge,
    waiting: Gauge,
}

#[derive(Debug)]
struct State {
    connections: usize,
    /// By age. Holds at most `half_open_max`; the first one goes when another would be too many.
    half_open: BTreeMap<u64, Waiting>,
    next: u64,
    rate: Option<Bucket>,
    addresses: Addresses,
}

/// A half-open connection, seen from the table.
#[derive(Debug)]
struct Waiting {
    evict: oneshot::Sender<()>,
    address: Option<Key>,
}

/// The right to be half-open; given back when it is dropped.
#[derive(Debug)]
pub struct HalfOpen {
    place: Place,
    permit: Permit,
    evicted: Option<oneshot::Receiver<()>>,
}

/// A half-open connection's entry in the table, removed when this is dropped.
#[derive(Debug)]
struct Place {
    limits: Arc<Limits>,
    number: u64,
}

/// The right to be a connection; given back when it is dropped.
#[derive(Debug)]
pub struct Permit {
    limits: Arc<Limits>,
    address: Option<Key>,
}

/// Ready when a half-open connection has to go to make room for a newer one; otherwise never.
#[derive(Debug)]
pub struct Eviction(Option<oneshot::Receiver<()>>);

impl Limits {
    /// Addresses of `trusted` proxies are not limited as such: what comes through them counts for its own.
    #[must_use]
    pub fn new(config: &config::Limits, trusted: Trusted) -> Self {
        let state = State {
            connections: 0,
            half_open: BTreeMap::new(),
            next: 0,
            rate: Bucket::per_second(config.connects_per_second),
            addresses: Addresses::new(config),
        };
        Self {
            connections_max: connections_max(config),
            half_open_max: none_is_zero(config.half_open_max),
            trusted,
            by_address: state.addresses.has_limits(),
            state: Mutex::new(state),
            paused: watch::Sender::new(false),
            open: metrics::gauge!("weir_net_connections_open"),
            waiting: metrics::gauge!("weir_net_connections_half_open"),
        }
    }

    /// Lets a connection stand at the door, or says why not. `peer` is who has connected: the limits
    /// by address apply to it unless it is a trusted proxy.
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn admit(self: &Arc<Self>, peer: IpAddr) -> Result<HalfOpen, Refused> {
        self.admit_at(peer, Instant::now())
    }

    fn admit_at(self: &Arc<Self>, peer: IpAddr, now: Instant) -> Result<HalfOpen, Refused> {
        let mut half_open = self.enter(now)?;
        half_open.belongs_to_at(peer, now)?;
        Ok(half_open)
    }

    fn enter(self: &Arc<Self>, now: Instant) -> Result<HalfOpen, Refused> {
        let mut state = self.state.lock();
        if state.connections >= self.connections_max {
            return Err(Refused::Connections);
        }
        if state.rate.as_mut().is_some_and(|bucket| !bucket.take(now)) {
            return Err(Refused::Rate);
        }
        while state.half_open.len() >= self.half_open_max {
            let Some((_, oldest)) = state.half_open.pop_first() else { break };
            state.addresses.half_open_ended(oldest.address);
            // It may have ended by itself just now.
            let _ = oldest.evict.send(());
        }
        let (evict, evicted) = oneshot::channel();
        let number = state.next;
        state.next += 1;
        state.connections += 1;
        state.half_open.insert(number, Waiting { evict, address: None });
        self.show(&state);
        let permit = Permit { limits: self.clone(), address: None };
        let place = Place { limits: self.clone(), number };
        Ok(HalfOpen { place, permit, evicted: Some(evicted) })
    }

    /// Stops or goes on letting new clients come; for a node short of memory. While it is stopped, TCP
    /// connections wait in the kernel, and what cannot wait there is refused with [`Refused::Pressure`].
    pub fn pause(&self, paused: bool) {
        self.paused.send_if_modified(|now| std::mem::replace(now, paused) != paused);
    }

    /// Whether it is stopped.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        *self.paused.borrow()
    }

    /// Ready when it is stopped.
    pub async fn paused(&self) {
        // The sender lives in `self`.
        let _ = self.paused.subscribe().wait_for(|paused| *paused).await;
    }

    /// Ready when it goes on.
    pub async fn resumed(&self) {
        let _ = self.paused.subscribe().wait_for(|paused| !*paused).await;
    }

    /// Whether a client should first prove that it hears what is sent to its address, where the
    /// transport can ask for that: half of the room for half-open connections is taken, or addresses
    /// are counted, and a forged one must not be counted against its owner.
    #[must_use]
    pub fn is_wary(&self) -> bool {
        self.by_address || self.half_open() >= self.half_open_max.div_ceil(2)
    }

    /// Connections there are, half-open ones included.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.state.lock().connections
    }

    /// Connections whose clients are not let in yet.
    #[must_use]
    pub fn half_open(&self) -> usize {
        self.state.lock().half_open.len()
    }

    /// The most connections there may be, as configured or as the open files of the process allow.
    #[must_use]
    pub fn connections_max(&self) -> usize {
        self.connections_max
    }

    /// Whose word about a client's address is taken.
    #[must_use]
    pub fn trusted(&self) -> &Trusted {
        &self.trusted
    }

    fn show(&self, state: &State) {
        self.open.set(state.connections as f64);
        self.waiting.set(state.half_open.len() as f64);
    }
}

impl HalfOpen {
    /// Counts the connection for the address of its client, now that it is known: by a PROXY protocol
    /// header or `X-Forwarded-For`. Does nothing for a trusted proxy or when an address is known already.
    ///
    /// # Errors
    /// The limit by address that is reached.
    pub fn belongs_to(&mut self, client: IpAddr) -> Result<(), Refused> {
        self.belongs_to_at(client, Instant::now())
    }

    fn belongs_to_at(&mut self, client: IpAddr, now: Instant) -> Result<(), Refused> {
        let limits = &self.permit.limits;
        if !limits.by_address || self.permit.address.is_some() || limits.trusted.contains(client) {
            return Ok(());
        }
        let key = Key::of(client);
        let mut guard = limits.state.lock();
        let State { half_open, addresses, .. } = &mut *guard;
        // One that was evicted meanwhile is on its way out.
        let Some(waiting) = half_open.get_mut(&self.place.number) else { return Err(Refused::HalfOpen) };
        addresses.connect(key, now)?;
        waiting.address = Some(key);
        drop(guard);
        self.permit.address = Some(key);
        Ok(())
    }

    /// The limits it is held to.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.permit.limits
    }

    /// What to watch while the client is not let in. A second call gets one that is never ready.
    pub fn eviction(&mut self) -> Eviction {
        Eviction(self.evicted.take())
    }

    /// The client is let in: from here on it counts as a connection only.
    #[must_use]
    pub fn let_in(self) -> Permit {
        self.permit
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.limits.state.lock();
        // Not there when it was evicted.
        if let Some(waiting) = state.half_open.remove(&self.number) {
            state.addresses.half_open_ended(waiting.address);
            self.limits.show(&state);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.limits.state.lock();
        state.connections -= 1;
        state.addresses.connection_ended(self.address);
        self.limits.show(&state);
    }
}

impl Future for Eviction {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.0.as_mut().map(|evicted| Pin::new(evicted).poll(cx)) {
            Some(Poll::Ready(Ok(()))) => Poll::Ready(()),
            Some(Poll::Ready(Err(_))) => {
                // It ended another way: nobody will evict it any more.
                self.0 = None;
                Poll::Pending
            }
            Some(Poll::Pending) | None => Poll::Pending,
        }
    }
}

/// The most connections there may be: as configured, or as the open files of the process allow.
fn connections_max(config: &config::Limits) -> usize {
    if config.connections_max > 0 {
        return config.connections_max;
    }
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(most - OPEN_FILES_RESERVED.min(most / 4)).unwrap_or(usize::MAX)
}

fn none_is_zero(max: usize) -> usize {
    if max == 0 { usize::MAX } else { max }
}

#[cfg(test)]
mod tests;
