//! A link: what goes to one peer and comes from it, over one QUIC connection at a time.
//!
//! A link lives as long as its peer counts as alive; its connection may be cut and made anew meanwhile.
//! QoS 0 copies are bounded, the oldest go first. Copies that must arrive are numbered and held until
//! the peer confirms them; a new connection repeats what is not confirmed, and repeats are dropped by
//! their number (`guarantees.md` 8).

mod asks;
mod calls;
pub mod config;
mod connection;
mod counts;
mod hello;
mod inbound;
mod inbox;
mod lane;
pub(crate) mod metrics;
mod notice;
mod outbound;
mod pressure;
mod receive;
mod resume;
mod send;
pub(crate) mod wire;

#[cfg(test)]
mod simulation;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use weir_net::peer::{NodeId, PeerConnection, code};

use crate::interest::{Follower, Offer};
use crate::links::Barrier;
use asks::{Asks, Owed};
pub use calls::Urgency;
pub use config::Config;
pub(crate) use connection::{Connected, Control as ControlStream, DialError, Ended, Ends, dial, run};
use counts::Counters;
pub use counts::Counts;
pub(crate) use hello::{Refusal, check};
use inbound::Inbound;
pub use inbox::{Control, Inbox, InterestChange, InterestChanges};
use metrics::Meters;
use outbound::{Limits, Outbound};
use pressure::Waiters;
pub(crate) use resume::Past;
use wire::{CALLS, NOTICES, RECORD_STREAMS, STREAMS};

/// Links at the same time; each has a slot, for sets of peers in 64 bits.
pub const LINKS_MAX: usize = 64;

/// The link holds as much for the peer as it may: wait for [`Link::room`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the link holds as many bytes as it may")]
pub struct Full;

/// The sending half of one numbered stream; `None` once the link is over.
struct Out {
    waiting: Mutex<Option<Outbound>>,
    unsent: Notify,
    room: Notify,
}

/// What the control stream has to say.
#[derive(Default)]
struct Tell {
    /// Soon is enough: confirmations.
    soon: Notify,
    /// Somebody waits for it.
    now: Notify,
    resync: AtomicBool,
}

/// How far the barriers of this side are, and whether the link still lives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    pub interest: u64,
    pub mirror: u64,
    pub over: bool,
}

/// One peer, as long as it is alive.
pub struct Link {
    node: NodeId,
    incarnation: u64,
    slot: u8,
    config: Config,
    meters: Arc<Meters>,
    /// Tells this link from earlier ones with the same incarnation of the peer.
    numbering: u64,
    /// The peer's numbering that `inbound` follows; 0 = none yet.
    peer_numbering: AtomicU64,
    address: Mutex<SocketAddr>,
    connection: Mutex<Option<PeerConnection>>,
    outbound: [Out; STREAMS],
    waiters: Waiters,
    inbound: [Mutex<Inbound>; STREAMS],
    offer: Mutex<Offer>,
    follower: Mutex<Follower>,
    asks: Mutex<Asks>,
    owed: Mutex<Owed>,
    tell: Tell,
    /// The interest stream has something to say beside changes.
    speak: Notify,
    /// The peer waits for this node's mirror.
    catch_up: Notify,
    passed: watch::Sender<Passed>,
    /// Whether the peer knows of calls, as it said last.
    takes_calls: AtomicBool,
    /// Notices left out for lack of room.
    missed: AtomicU64,
    /// What notices that are not confirmed say of it.
    missed_told: AtomicU64,
    counters: Counters,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (node, incarnation) = (&self.node, self.incarnation);
        f.debug_struct("Link").field("node", node).field("incarnation", &incarnation).finish_non_exhaustive()
    }
}

/// What a link is made of.
pub(crate) struct Made {
    pub node: NodeId,
    pub incarnation: u64,
    pub address: SocketAddr,
    pub slot: u8,
    pub numbering: u64,
    pub config: Config,
    pub meters: Arc<Meters>,
}

impl Link {
    pub(crate) fn new(made: Made) -> Arc<Link> {
        let Made { node, incarnation, address, slot, numbering, config, meters } = made;
        let limits = |stream: usize| Limits {
            frames_bytes_max: config.frames_bytes_max,
            frames_bytes_high: config.frames_bytes_high,
            held_bytes_max: match stream {
                NOTICES => config.notices_bytes_max,
                CALLS => config.calls_bytes_max,
                _ => config.held_bytes_max,
            },
        };
        let outbound = std::array::from_fn(|stream| Out {
            waiting: Mutex::new(Some(Outbound::new(limits(stream)))),
            unsent: Notify::new(),
            room: Notify::new(),
        });
        let inbound = std::array::from_fn(|_| Mutex::new(Inbound::new(config.run_bytes_max)));
        Arc::new(Link {
            node,
            incarnation,
            slot,
            config,
            meters,
            numbering,
            peer_numbering: AtomicU64::new(0),
            address: Mutex::new(address),
            connection: Mutex::new(None),
            outbound,
            waiters: Waiters::default(),
            inbound,
            offer: Mutex::default(),
            follower: Mutex::default(),
            asks: Mutex::default(),
            owed: Mutex::default(),
            tell: Tell::default(),
            speak: Notify::new(),
            catch_up: Notify::new(),
            passed: watch::Sender::new(Passed::default()),
            takes_calls: AtomicBool::new(true),
            missed: AtomicU64::new(0),
            missed_told: AtomicU64::new(0),
            counters: Counters::default(),
        })
    }

    /// A number below [`LINKS_MAX`] that no other link has as long as this one lives.
    pub fn slot(&self) -> u8 {
        self.slot
    }

    pub fn node_id(&self) -> &NodeId {
        &self.node
    }

    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Whether there is a connection now.
    pub fn is_up(&self) -> bool {
        self.connection.lock().is_some()
    }

    /// Whether all the peer wants is known here, as of its last change heard of.
    pub fn is_in_sync(&self) -> bool {
        self.follower.lock().is_whole()
    }

    /// The round-trip time of the present connection.
    pub fn rtt(&self) -> Option<Duration> {
        self.connection.lock().as_ref().map(PeerConnection::rtt)
    }

    /// Where the peer is dialled.
    pub(crate) fn address(&self) -> SocketAddr {
        *self.address.lock()
    }

    pub(crate) fn set_address(&self, address: SocketAddr) {
        *self.address.lock() = address;
    }

    /// Sends a run of QoS 0 records ([`crate::Run`]); never waits. Full: the oldest go and are counted.
    pub fn push_frames(&self, topic_hash: u64, run: &[u8], messages: u32) {
        let out = self.stream_of(topic_hash);
        let mut waiting = out.waiting.lock();
        let counters = &self.counters;
        counters.pushed.fetch_add(messages.into(), Ordering::Relaxed);
        let Some(outbound) = waiting.as_mut() else { return self.count_lost(messages.into()) };
        let was_idle = !outbound.has_unsent();
        let dropped = outbound.push_frames(topic_hash, run, messages);
        if dropped > 0 {
            counters.dropped.fetch_add(dropped, Ordering::Relaxed);
            self.meters.dropped.increment(dropped);
        }
        // Counted under the lock: whoever ends the link finds each message in one place.
        drop(waiting);
        if was_idle {
            out.unsent.notify_one();
        }
    }

    /// Sends a run of records that must arrive, and holds them until the peer has them.
    ///
    /// # Errors
    /// [`Full`]: nothing was taken.
    pub fn push_sure(&self, topic_hash: u64, run: &[u8], messages: u32) -> Result<(), Full> {
        let out = self.stream_of(topic_hash);
        let mut waiting = out.waiting.lock();
        let Some(outbound) = waiting.as_mut() else {
            self.counters.pushed.fetch_add(messages.into(), Ordering::Relaxed);
            self.count_lost(messages.into());
            return Ok(());
        };
        let was_idle = !outbound.has_unsent();
        outbound.push_sure(topic_hash, run, messages).inspect_err(|_| self.meters.full.increment(1))?;
        self.counters.pushed.fetch_add(messages.into(), Ordering::Relaxed);
        drop(waiting);
        if was_idle {
            out.unsent.notify_one();
        }
        Ok(())
    }

    fn stream_of(&self, topic_hash: u64) -> &Out {
        // Fibonacci hashing: any bits of a hash of any width choose.
        let spread = topic_hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        &self.outbound[(spread >> 32) as usize % RECORD_STREAMS]
    }

    fn count_lost(&self, messages: u64) {
        self.counters.lost.fetch_add(messages, Ordering::Relaxed);
        self.meters.lost.increment(messages);
    }

    /// Waits until records of that topic find room again (half of it), or the link is over.
    pub async fn room(&self, topic_hash: u64) {
        let out = self.stream_of(topic_hash);
        loop {
            let woken = out.room.notified();
            if out.waiting.lock().as_ref().is_none_or(Outbound::has_room) {
                return;
            }
            woken.await;
        }
    }

    /// Tells a persistent session of the peer to look in its queue: a copy was left out.
    pub fn push_marker(&self, realm: &Arc<str>, client_id: &Arc<str>) {
        self.notify(&Control::LookInQueue { realm: realm.clone(), client_id: client_id.clone() });
    }

    /// Ends the peer's clean sessions that miss a QoS 1 or 2 message of that topic.
    pub fn end_clean(&self, realm: &Arc<str>, topic: &Arc<str>) {
        self.notify(&Control::EndClean { realm: realm.clone(), topic: topic.clone() });
    }

    /// Tells the peer that a session is here now.
    pub fn taken_over(&self, realm: &Arc<str>, client_id: &Arc<str>, generation: u64, fence: u64) {
        let (realm, client_id) = (realm.clone(), client_id.clone());
        self.notify(&Control::TakenOver { realm, client_id, generation, fence });
    }

    /// Sends the broker's own notice.
    ///
    /// # Errors
    /// [`Full`]: nothing was taken.
    pub fn note(&self, kind: u32, body: Bytes) -> Result<(), Full> {
        self.push_notice(&Control::Note { kind, body })
    }

    /// Sends a notice; without room for it, [`Control::Missed`] stands for it once there is.
    fn notify(&self, control: &Control) {
        if self.push_notice(control).is_err() {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells what was left out, if there is room for that now.
    fn tell_missed(&self) {
        let missed = self.missed.swap(0, Ordering::Relaxed);
        if missed == 0 {
            return;
        }
        match self.push_notice(&Control::Missed { messages: missed }) {
            Ok(()) => self.missed_told.fetch_add(missed, Ordering::Relaxed),
            Err(Full) => self.missed.fetch_add(missed, Ordering::Relaxed),
        };
    }

    fn push_notice(&self, control: &Control) -> Result<(), Full> {
        let mut run = Vec::new();
        notice::encode(&mut run, control);
        let out = &self.outbound[NOTICES];
        if let Some(outbound) = out.waiting.lock().as_mut() {
            outbound.push_sure(0, &run, 1).inspect_err(|_| self.meters.full.increment(1))?;
        }
        out.unsent.notify_one();
        Ok(())
    }

    /// What went over the link since it was made.
    pub fn counts(&self) -> Counts {
        self.counters.read()
    }

    /// Closes the present connection as if the network had; it is made anew. For tests of faults.
    pub fn cut(&self) {
        if let Some(connection) = &*self.connection.lock() {
            connection.close(code::DONE, "cut");
        }
    }

    pub(crate) fn set_connection(&self, connection: Option<PeerConnection>) {
        *self.connection.lock() = connection;
        self.relieve();
    }

    /// Somebody waits for barrier `id`.
    pub(crate) fn ask(&self, kind: Barrier, id: u64) {
        self.asks.lock().want(kind, id);
        self.speak.notify_one();
    }

    pub(crate) fn watch_passed(&self) -> watch::Receiver<Passed> {
        self.passed.subscribe()
    }
}
