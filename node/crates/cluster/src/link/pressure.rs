//! Publishers that wait for a link: when they should, and what wakes them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use parking_lot::Mutex;

use super::Link;
use super::outbound::Outbound;
use super::wire::CALLS;

/// Who waits until the link is low. At most one entry per connection.
#[derive(Default)]
pub(super) struct Waiters {
    wakers: Mutex<Vec<Waker>>,
    /// Whether there may be any: what a writer asks first.
    any: AtomicBool,
}

impl Link {
    /// Whether publishers of that topic should wait: QoS 0 copies are above
    /// [`frames_bytes_high`](super::Config::frames_bytes_high), and the peer is connected and taking them.
    pub fn presses(&self, topic_hash: u64) -> bool {
        self.stream_of(topic_hash).waiting.lock().as_ref().is_some_and(Outbound::presses) && self.is_up()
    }

    /// Whether records of that topic that must arrive press: half of what the peer may leave unconfirmed
    /// waits. Publishers slow down then, up to [`Config::wait_max_ms`](super::Config::wait_max_ms).
    pub fn presses_sure(&self, topic_hash: u64) -> bool {
        self.stream_of(topic_hash).waiting.lock().as_ref().is_some_and(Outbound::presses_sure)
    }

    /// Registers a publisher to be woken when no stream of the link presses any more; false when none does.
    pub fn wait_until_low(&self, waker: &Waker) -> bool {
        let mut wakers = self.waiters.wakers.lock();
        // Before the streams are asked: whoever makes the last one low comes for the waker after that.
        self.waiters.any.store(true, Ordering::SeqCst);
        if self.is_low() {
            return false;
        }
        if !wakers.iter().any(|known| known.will_wake(waker)) {
            wakers.push(waker.clone());
        }
        true
    }

    fn is_low(&self) -> bool {
        let is_up = self.is_up();
        self.outbound[..CALLS].iter().all(|out| match &*out.waiting.lock() {
            Some(outbound) if is_up => outbound.is_low(),
            Some(outbound) => outbound.has_room(),
            None => true,
        })
    }

    /// Some stream may have become low, or the connection may have ended.
    pub(super) fn relieve(&self) {
        if !self.waiters.any.load(Ordering::SeqCst) || !self.is_low() {
            return;
        }
        let mut wakers = self.waiters.wakers.lock();
        self.waiters.any.store(false, Ordering::SeqCst);
        let woken = std::mem::take(&mut *wakers);
        drop(wakers);
        woken.into_iter().for_each(Waker::wake);
    }
}
