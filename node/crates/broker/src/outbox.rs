//! The outbox: what waits for one connection, bounded, with one wake-up for many messages.
//!
//! Two lanes. Frames are encoded QoS 0 copies, shared or appended; when they grow beyond
//! `outbox_bytes_max` the oldest go and are counted. Copies are QoS 1 and 2 deliveries that the
//! connection numbers and encodes itself when its window has room; when they grow beyond
//! `outbox_messages_max` a clean session is told to end and a persistent one to read its queue.
//! An idle outbox holds no heap memory; one without a connection takes nothing.

mod lanes;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Waker};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use weir_store::Delivery;

use crate::clock;
use crate::form::Form;
use crate::ledger::{Ledger, Loss};
use crate::share::Group;
use lanes::Lanes;
pub use lanes::{Chunk, Most, Run, RunFrames, Taken};

/// Bytes of frames a connection takes at once: what it has taken can no longer be dropped.
const TAKE_BYTES: usize = 256 << 10;

/// What rings at a connection beside messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Bell {
    /// A newer connection has the session.
    TakenOver = 1,
    /// Nothing was heard for one and a half keep-alives.
    KeepAlive = 2,
    /// The node stops.
    Shutdown = 4,
    /// An administrator ends it.
    Kick = 8,
    /// Too many unanswered messages for a clean session.
    Overrun = 16,
    /// A commit of this connection has been answered, or rows can be read from its queue.
    Progress = 32,
    /// A fault test wants this task to panic.
    Panic = 64,
    /// Compare with the stored queue's end: something may have been missed.
    Recheck = 128,
}

/// A delivery that still wants a packet id. `number` is its place in the session's stored queue.
#[derive(Debug, Clone)]
pub struct Live {
    pub delivery: Delivery,
    pub number: Option<u64>,
    /// Set when it came by a shared subscription and is not in the session's own queue: whoever
    /// loses it hands it on.
    pub claim: Option<Claim>,
}

impl Live {
    /// Whether it lies in a queue of the store as well: this copy then only saves a read.
    pub fn is_stored(&self) -> bool {
        self.number.is_some() || self.claim.as_ref().is_some_and(|claim| claim.number.is_some())
    }
}

/// A shared message held by one member until it is acknowledged.
#[derive(Debug, Clone)]
pub struct Claim {
    pub group: Arc<Group>,
    /// Its row in the group's stored queue, if the group keeps one.
    pub number: Option<u64>,
    pub handovers: u32,
}

#[derive(Default)]
struct Sleeper {
    connection: u64,
    waker: Option<Waker>,
    /// Told when its socket has been read to the end, or it is gone.
    read_out: Option<oneshot::Sender<()>>,
}

/// Bounds of an outbox, from the broker's config.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub bytes_max: usize,
    pub bytes_high: usize,
    pub messages_max: usize,
    pub stalled_ms: u64,
}

impl Limits {
    /// What a copy counts against the high mark: its size, and as much more as lets half of
    /// `messages_max` small copies reach it, so that a publisher waits before a lane is full.
    fn copy_bytes(&self, live: &Live) -> usize {
        live.delivery.message.size_bytes() + 2 * self.bytes_high / self.messages_max.max(1)
    }
}

pub struct Outbox {
    lanes: Mutex<Lanes>,
    /// The connection that has the session, and its task while it sleeps.
    sleeper: Mutex<Sleeper>,
    /// Bytes in both lanes; read without the lock to see pressure.
    bytes: AtomicUsize,
    /// When the socket last took bytes, or the outbox began to fill ([`clock::now_ms`]).
    progress_ms: AtomicU64,
    bells: AtomicU8,
    /// Copies it has dropped since somebody last asked.
    dropped: AtomicU32,
    /// Whether somebody waits for the socket to be read to the end.
    asked: AtomicBool,
}

impl Default for Outbox {
    fn default() -> Outbox {
        Outbox {
            lanes: Mutex::new(Lanes::default()),
            sleeper: Mutex::new(Sleeper::default()),
            bytes: AtomicUsize::new(0),
            progress_ms: AtomicU64::new(0),
            bells: AtomicU8::new(0),
            dropped: AtomicU32::new(0),
            asked: AtomicBool::new(false),
        }
    }
}

impl Outbox {
    /// Appends encoded QoS 0 frames. Full: the oldest frames go first.
    pub fn push_frames(&self, run: &Run<'_>, limits: &Limits, ledger: &Ledger) {
        let mut lanes = self.lanes.lock();
        if !lanes.open {
            drop(lanes);
            return ledger.lost_by(run.client, run.topic, Loss::Offline, run.messages);
        }
        // Copies may wait for the client's answers; frames go past them.
        let was_idle = lanes.frame_bytes == 0;
        let new_bytes = run.frames.len();
        let dropped = lanes.make_room(new_bytes, limits.bytes_max, run.form);
        if new_bytes > limits.bytes_max {
            drop(lanes);
            self.note_dropped(dropped + run.messages);
            return ledger.lost_by(run.client, run.topic, Loss::OutboxFull, dropped + run.messages);
        }
        lanes.append(run.frames, run.messages);
        lanes.frame_bytes += new_bytes;
        lanes.frame_messages += run.messages;
        self.pushed(lanes, was_idle);
        self.note_dropped(dropped);
        ledger.lost_by(run.client, run.topic, Loss::OutboxFull, dropped);
    }

    /// Appends a copy for `client` that wants a packet id.
    pub fn push_copy(&self, client: &Arc<str>, live: Live, limits: &Limits, ledger: &Ledger) {
        let mut lanes = self.lanes.lock();
        let was_idle = lanes.is_empty();
        let full = lanes.copies.len() >= limits.messages_max || lanes.copy_bytes >= limits.bytes_max;
        if full || !lanes.open {
            lanes.behind |= live.number.is_some();
            let loss = if lanes.open { Loss::Overrun } else { Loss::Offline };
            drop(lanes);
            return self.refuse_copy(client, &live, loss, ledger);
        }
        lanes.copy_bytes += limits.copy_bytes(&live);
        lanes.copies.push_back(live);
        self.pushed(lanes, was_idle);
    }

    /// The lane is full, or nobody is there. What lies in a stored queue stays there; else it is lost,
    /// and a clean session that does not answer has to end.
    fn refuse_copy(&self, client: &Arc<str>, live: &Live, loss: Loss, ledger: &Ledger) {
        if live.number.is_some() {
            return;
        }
        if let Some(claim) = &live.claim
            && let Some(number) = claim.number
        {
            return claim.group.leave_in_queue(number);
        }
        ledger.lost_by(client, &live.delivery.message.topic, loss, 1);
        if loss == Loss::Overrun {
            self.note_dropped(1);
            self.ring(Bell::Overrun);
        }
    }

    /// Copies in here that lie in no store: what the ledger counts as waiting.
    pub fn waiting(&self) -> u64 {
        if self.bytes.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        let lanes = self.lanes.lock();
        let unstored = lanes.copies.iter().filter(|live| !live.is_stored()).count();
        lanes.frame_messages + unstored as u64
    }

    fn note_dropped(&self, copies: u64) {
        if copies > 0 {
            self.dropped.fetch_add(u32::try_from(copies).unwrap_or(u32::MAX), Ordering::Relaxed);
        }
    }

    /// Copies it has dropped since the last call.
    pub(crate) fn take_dropped(&self) -> u32 {
        match self.dropped.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.dropped.swap(0, Ordering::Relaxed),
        }
    }

    /// Whether many more copies may be pushed.
    pub fn has_room(&self, limits: &Limits) -> bool {
        self.lanes.lock().copies.len() < limits.messages_max / 2
    }

    fn pushed(&self, lanes: parking_lot::MutexGuard<'_, Lanes>, was_idle: bool) {
        self.bytes.store(lanes.frame_bytes + lanes.copy_bytes, Ordering::Relaxed);
        drop(lanes);
        if was_idle {
            self.progress_ms.store(clock::now_ms(), Ordering::Relaxed);
            self.wake();
        }
    }

    /// Whether a publisher should wait for this receiver: much is waiting, and its socket lives.
    pub fn presses(&self, limits: &Limits) -> bool {
        self.bytes.load(Ordering::Relaxed) > limits.bytes_high
            && clock::now_ms().saturating_sub(self.progress_ms.load(Ordering::Relaxed)) < limits.stalled_ms
    }

    /// Registers a publisher to be woken when this outbox is low; false when it already is.
    pub fn wait_until_low(&self, waker: &Waker, limits: &Limits) -> bool {
        let mut lanes = self.lanes.lock();
        if lanes.frame_bytes + lanes.copy_bytes <= limits.bytes_high / 2 {
            return false;
        }
        if !lanes.waiting.iter().any(|known| known.will_wake(waker)) {
            lanes.waiting.push(waker.clone());
        }
        true
    }

    /// Takes waiting frames, about [`TAKE_BYTES`]; publishers that waited are woken when both lanes are low.
    pub fn take_frames(&self, limits: &Limits) -> Taken {
        if self.bytes.load(Ordering::Relaxed) == 0 {
            return Taken::default();
        }
        let mut lanes = self.lanes.lock();
        let taken = lanes.take_chunks(TAKE_BYTES);
        self.taken(lanes, limits);
        taken
    }

    /// The same for a connection whose pace allows so much now.
    pub fn take_frames_within(&self, most: Most, form: &'static dyn Form, limits: &Limits) -> Taken {
        let mut lanes = self.lanes.lock();
        let taken = lanes.take_frames(most, form);
        self.taken(lanes, limits);
        taken
    }

    /// Drops all waiting frames, for lack of memory.
    pub(crate) fn shed(&self) -> Taken {
        let mut lanes = self.lanes.lock();
        let taken = lanes.take_chunks(usize::MAX);
        self.bytes.store(lanes.copy_bytes, Ordering::Relaxed);
        self.note_dropped(taken.messages);
        taken
    }

    /// Drops waiting frames of topics that `may` says no to; returns how many. What the connection has
    /// taken before is on its way to the socket and goes out.
    pub(crate) fn judge_frames(
        &self,
        form: &'static dyn Form,
        limits: &Limits,
        may: impl Fn(&str) -> bool,
    ) -> u64 {
        if self.bytes.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        let mut lanes = self.lanes.lock();
        // Most frames are of the same topic as the one before.
        let mut last: Option<(String, bool)> = None;
        let dropped = lanes.retain_frames(form, &mut |frame| {
            let Some(topic) = form.topic(frame) else { return false };
            match &last {
                Some((known, verdict)) if *known == topic => *verdict,
                _ => {
                    let verdict = may(&topic);
                    last.insert((topic.into_owned(), verdict)).1
                }
            }
        });
        self.taken(lanes, limits);
        dropped
    }

    /// Bytes in both lanes.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether something waits and the socket has taken nothing for long.
    pub(crate) fn is_stalled(&self, limits: &Limits) -> bool {
        let idle_ms = clock::now_ms().saturating_sub(self.progress_ms.load(Ordering::Relaxed));
        self.waiting_bytes() > 0 && idle_ms >= limits.stalled_ms
    }

    /// Takes up to `max` copies in order.
    pub fn take_copies(&self, max: usize, limits: &Limits, into: &mut Vec<Live>) {
        if max == 0 || self.bytes.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut lanes = self.lanes.lock();
        let n = max.min(lanes.copies.len());
        let start = into.len();
        into.extend(lanes.copies.drain(..n));
        let bytes: usize = into[start..].iter().map(|live| limits.copy_bytes(live)).sum();
        lanes.copy_bytes -= bytes.min(lanes.copy_bytes);
        if lanes.copies.is_empty() {
            lanes.copies = VecDeque::new();
            lanes.copy_bytes = 0;
        }
        self.taken(lanes, limits);
    }

    /// Whether copies wait for the connection to number them.
    pub fn has_copies(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > 0 && !self.lanes.lock().copies.is_empty()
    }

    fn taken(&self, mut lanes: parking_lot::MutexGuard<'_, Lanes>, limits: &Limits) {
        let left = lanes.frame_bytes + lanes.copy_bytes;
        self.bytes.store(left, Ordering::Relaxed);
        if left > limits.bytes_high / 2 || lanes.waiting.is_empty() {
            return;
        }
        let waiting = std::mem::take(&mut lanes.waiting);
        drop(lanes);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Whether copies were left out since the last call: the stored queue wants reading.
    pub fn take_behind(&self) -> bool {
        std::mem::take(&mut self.lanes.lock().behind)
    }

    /// The socket took bytes.
    pub fn progressed(&self) {
        self.progress_ms.store(clock::now_ms(), Ordering::Relaxed);
    }

    /// The connection's task sleeps until something comes. A connection that has lost the session
    /// must not take the wake-ups of the one that has it.
    pub fn register(&self, connection: u64, cx: &Context<'_>) {
        let mut sleeper = self.sleeper.lock();
        if sleeper.connection != connection {
            return;
        }
        match &sleeper.waker {
            Some(known) if known.will_wake(cx.waker()) => {}
            _ => sleeper.waker = Some(cx.waker().clone()),
        }
    }

    /// Has a connection read what has come for it. The answer comes when its socket holds nothing more,
    /// or it may read no further for now, or has ended. One asker at a time; an earlier one goes on.
    pub fn ask_to_read_out(&self, connection: u64) -> Option<oneshot::Receiver<()>> {
        let (tell, told) = oneshot::channel();
        let mut sleeper = self.sleeper.lock();
        if sleeper.connection != connection {
            return None;
        }
        sleeper.read_out = Some(tell);
        drop(sleeper);
        self.asked.store(true, Ordering::Release);
        self.wake();
        Some(told)
    }

    /// A connection has read what there was.
    #[inline]
    pub fn has_read_out(&self, connection: u64) {
        if self.asked.load(Ordering::Acquire) {
            let mut sleeper = self.sleeper.lock();
            if sleeper.connection == connection {
                sleeper.read_out = None;
                self.asked.store(false, Ordering::Release);
            }
        }
    }

    fn wake(&self) {
        let waker = self.sleeper.lock().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub fn ring(&self, bell: Bell) {
        self.bells.fetch_or(bell as u8, Ordering::AcqRel);
        self.wake();
    }

    /// Whether `bell` rang since it was last heard.
    pub fn heard(&self, bell: Bell) -> bool {
        self.bells.load(Ordering::Acquire) & bell as u8 != 0
            && self.bells.fetch_and(!(bell as u8), Ordering::AcqRel) & bell as u8 != 0
    }

    /// Whether any bell waits: one load.
    pub fn rang(&self) -> bool {
        self.bells.load(Ordering::Relaxed) != 0
    }

    /// Empties it for another connection, or for the end (0): returns the frames lost and the copies.
    pub fn clear(&self, connection: u64) -> (u64, Vec<Live>) {
        let mut lanes = self.lanes.lock();
        let old = std::mem::take(&mut *lanes);
        lanes.open = connection != 0;
        self.bytes.store(0, Ordering::Relaxed);
        self.bells.store(0, Ordering::Release);
        drop(lanes);
        old.waiting.into_iter().for_each(Waker::wake);
        self.wake();
        let mut sleeper = self.sleeper.lock();
        sleeper.connection = connection;
        sleeper.read_out = None;
        (old.frame_messages, old.copies.into())
    }
}

#[cfg(test)]
mod tests;
