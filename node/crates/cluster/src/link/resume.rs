//! Where a link left off: what both ends say of it in their hellos, and what outlives the link.

use std::sync::atomic::Ordering;

use super::outbound::{Numbers, Outbound};
use super::wire::{CALLS, PROTOCOL, STREAMS, STREAMS_LISTED, WITH_CALLS, proto};
use super::{Link, NOTICES, Passed};
use crate::interest::Interest;
use crate::links::LinkLocal;

/// What is left of a link that ended although its peer may live on: declared dead by mistake, it comes back
/// with the same incarnation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Past {
    pub incarnation: u64,
    numbering: u64,
    heard: [Numbers; STREAMS],
    heard_frames: u64,
    /// Records and notices that were to arrive and may not have.
    missed: u64,
}

impl From<proto::StreamNumbers> for Numbers {
    fn from(numbers: proto::StreamNumbers) -> Numbers {
        Numbers { small: numbers.small, large: numbers.large }
    }
}

impl From<Numbers> for proto::StreamNumbers {
    fn from(numbers: Numbers) -> proto::StreamNumbers {
        proto::StreamNumbers { small: numbers.small, large: numbers.large }
    }
}

impl Link {
    /// Goes on where an earlier link with the same incarnation of the peer ended; before the first connection.
    pub(crate) fn remember(&self, past: &Past) {
        self.peer_numbering.store(past.numbering, Ordering::Relaxed);
        self.counters.heard_frames.store(past.heard_frames, Ordering::Relaxed);
        for (inbound, heard) in self.inbound.iter().zip(past.heard) {
            inbound.lock().go_on_from(heard);
        }
        self.missed.fetch_add(past.missed, Ordering::Relaxed);
        self.tell_missed();
    }

    /// What this end has taken so far.
    pub(super) fn progress(&self) -> proto::Progress {
        let owed = *self.owed.lock();
        proto::Progress {
            heard: self.inbound[..STREAMS_LISTED].iter().map(|stream| stream.lock().heard().into()).collect(),
            heard_calls: Some(self.inbound[CALLS].lock().heard().into()),
            frames: self.counters.heard_frames.load(Ordering::Relaxed),
            interest: self.follower.lock().applied(),
            interest_barrier: owed.interest,
            mirror_barrier: owed.mirror,
        }
    }

    /// The first frame of this end on a new connection; nothing may come in by an earlier one any more.
    pub(crate) fn hello(&self, local: &LinkLocal) -> proto::Hello {
        let next =
            |out: &super::Out| out.waiting.lock().as_ref().map(Outbound::next_numbers).unwrap_or_default();
        self.follower.lock().restart();
        proto::Hello {
            protocol_min: PROTOCOL.0,
            protocol_max: PROTOCOL.1,
            cluster_id: local.cluster_id.to_string(),
            node_id: local.node_id.to_string(),
            incarnation: local.incarnation,
            store_id: local.store_id.to_string(),
            version: local.version.to_string(),
            numbering: self.numbering,
            heard_numbering: self.peer_numbering.load(Ordering::Relaxed),
            progress: Some(self.progress()),
            next: self.outbound[..STREAMS_LISTED].iter().map(|out| next(out).into()).collect(),
            next_calls: Some(next(&self.outbound[CALLS]).into()),
        }
    }

    /// Both hellos are said: makes ready to send what the peer lacks and to take what it sends.
    pub(super) fn resume(&self, hello: &proto::Hello, interest: &Interest) {
        let told = hello.progress.clone().unwrap_or_default();
        self.takes_calls.store(hello.protocol_max >= WITH_CALLS, Ordering::Relaxed);
        let follows = hello.heard_numbering == self.numbering;
        let counters = &self.counters;
        if follows {
            self.progressed(&told);
        } else {
            let arrived = counters.arrived_frames.load(Ordering::Relaxed);
            counters.arrived_before.store(arrived, Ordering::Relaxed);
        }
        // Nothing is on the way now: what was sent and has not arrived never will.
        let sent = counters.sent_frames.load(Ordering::Relaxed);
        let lost = sent.saturating_sub(counters.arrived_frames.load(Ordering::Relaxed));
        let known = counters.lost.swap(lost, Ordering::Relaxed);
        self.meters.lost.increment(lost.saturating_sub(known));
        for out in &self.outbound {
            if let Some(outbound) = out.waiting.lock().as_mut() {
                outbound.restart();
            }
        }
        self.asks.lock().restart();
        interest.with_set(|set| self.offer.lock().begin(if follows { told.interest } else { 0 }, set));
        self.follow(hello);
    }

    /// Goes on where the peer's numbering was left, or begins a new one.
    fn follow(&self, hello: &proto::Hello) {
        let known = self.peer_numbering.swap(hello.numbering, Ordering::Relaxed) == hello.numbering;
        for (inbound, next) in self.inbound.iter().zip(hello.next.iter().chain(&hello.next_calls)) {
            let mut inbound = inbound.lock();
            inbound.restart();
            if !known {
                let (small, large) = (next.small.saturating_sub(1), next.large.saturating_sub(1));
                inbound.go_on_from(Numbers { small, large });
            }
        }
        if !known {
            self.counters.heard_frames.store(0, Ordering::Relaxed);
            *self.owed.lock() = super::Owed::default();
        }
    }

    /// The peer has said how far it is.
    pub(super) fn progressed(&self, progress: &proto::Progress) {
        let counters = &self.counters;
        let heard = progress.heard.iter().chain(&progress.heard_calls);
        for (stream, (out, heard)) in self.outbound.iter().zip(heard).enumerate() {
            let mut waiting = out.waiting.lock();
            let Some(outbound) = waiting.as_mut() else { continue };
            let confirmed = outbound.confirm((*heard).into());
            let (has_room, has_all) = (outbound.has_room(), outbound.is_confirmed());
            drop(waiting);
            if stream == NOTICES && has_all {
                self.missed_told.store(0, Ordering::Relaxed);
            }
            if stream < super::RECORD_STREAMS {
                counters.confirmed.fetch_add(confirmed, Ordering::Relaxed);
            }
            if confirmed > 0 && has_room {
                out.room.notify_waiters();
            }
        }
        self.relieve();
        let arrived = counters.arrived_before.load(Ordering::Relaxed) + progress.frames;
        counters.arrived_frames.fetch_max(arrived, Ordering::Relaxed);
        self.tell_missed();
        let mut asks = self.asks.lock();
        let asks_more = asks.passed(progress.interest_barrier, progress.mirror_barrier);
        let (interest, mirror) = asks.all_passed();
        drop(asks);
        self.passed.send_if_modified(|passed| {
            let now = Passed { interest, mirror, ..*passed };
            std::mem::replace(passed, now) != now
        });
        if asks_more {
            self.speak.notify_one();
        }
    }

    /// The link is over for good: all that is left of it is lost, and accounted for.
    pub(crate) fn end(&self) -> Past {
        let counted = [&self.missed, &self.missed_told];
        let mut missed: u64 = counted.iter().map(|missed| missed.load(Ordering::Relaxed)).sum();
        let mut streams = self.outbound.each_ref().map(|out| out.waiting.lock());
        let ended = streams.iter_mut().enumerate().filter_map(|(stream, out)| Some((stream, out.take()?)));
        // Both ends settle the calls of a link that is over.
        missed += ended.filter(|(stream, _)| *stream != CALLS).map(|(_, out)| out.unconfirmed()).sum::<u64>();
        self.count_lost(self.counts().waiting());
        drop(streams);
        self.outbound.iter().for_each(|out| out.room.notify_waiters());
        self.relieve();
        self.passed.send_modify(|passed| passed.over = true);
        Past {
            incarnation: self.incarnation,
            numbering: self.peer_numbering.load(Ordering::Relaxed),
            heard: std::array::from_fn(|stream| self.inbound[stream].lock().heard()),
            heard_frames: self.counters.heard_frames.load(Ordering::Relaxed),
            missed,
        }
    }
}
