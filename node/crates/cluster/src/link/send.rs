//! The tasks that write to a peer. Each ends with its connection.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{MissedTickBehavior, interval};
use weir_net::peer::{PeerConnection, PeerSend, StreamError};

use super::Link;
use super::connection::{Ended, control_bytes, message_bytes};
use super::outbound::{Outbound, Taken};
use super::wire::{INTEREST, RECORD_STREAMS, proto};
use crate::interest::Interest;
use proto::control_frame::Frame as ControlFrame;
use proto::interest_frame::Frame as InterestFrame;

/// Confirmations wait this long for more of them.
const CONFIRM_DELAY: Duration = Duration::from_millis(2);

async fn open(connection: &PeerConnection, first: u8) -> Result<PeerSend, Ended> {
    let mut send = connection.open_uni().await.map_err(StreamError::from)?;
    send.write_chunk(Bytes::copy_from_slice(&[first])).await?;
    Ok(send)
}

/// Writes one numbered stream: whatever waits, about a frame's bytes at a time.
pub(super) async fn numbered(
    link: Arc<Link>,
    connection: PeerConnection,
    stream: usize,
) -> Result<(), Ended> {
    let mut send = open(&connection, stream as u8).await?;
    let out = &link.outbound[stream];
    let mut chunks = Vec::new();
    loop {
        let taken = link.take(stream, &mut chunks)?;
        if chunks.is_empty() {
            out.unsent.notified().await;
            continue;
        }
        for chunk in chunks.drain(..) {
            send.write_chunk(chunk).await?;
        }
        link.meters.sent_bytes.increment(taken.bytes as u64);
        tokio::task::consume_budget().await;
    }
}

impl Link {
    pub(super) fn take(&self, stream: usize, chunks: &mut Vec<Bytes>) -> Result<Taken, Ended> {
        let mut waiting = self.outbound[stream].waiting.lock();
        let taken =
            waiting.as_mut().map(|outbound: &mut Outbound| outbound.take(chunks)).ok_or(Ended::Over)?;
        if stream < RECORD_STREAMS {
            self.counters.sent_frames.fetch_add(taken.frames, Ordering::Relaxed);
        }
        drop(waiting);
        if taken.bytes > 0 {
            self.relieve();
        }
        if stream < RECORD_STREAMS && !chunks.is_empty() {
            self.meters.sent_records.increment(taken.frames + taken.sure);
            self.meters.resent.increment(taken.again);
        }
        Ok(taken)
    }
}

/// Writes this node's interest: changes as they come, barriers behind them, a digest now and then.
pub(super) async fn interest(
    link: Arc<Link>,
    connection: PeerConnection,
    interest: Arc<Interest>,
) -> Result<(), Ended> {
    let mut send = open(&connection, INTEREST).await?;
    let mut changed = interest.changed();
    let mut compare = interval(Duration::from_millis(link.config.digest_interval_ms.max(1)));
    compare.set_missed_tick_behavior(MissedTickBehavior::Delay);
    compare.reset();
    loop {
        // A barrier is for all that was said when it was asked for, so this is read first.
        changed.borrow_and_update();
        let asked = link.asks.lock().next();
        while let Some(frame) = link.next_interest(&interest) {
            send.write_chunk(interest_bytes(frame)).await?;
        }
        if let Some(asked) = asked {
            let barrier = link.offer.lock().barrier(asked);
            send.write_chunk(interest_bytes(barrier)).await?;
        }
        tokio::select! {
            told = changed.changed() => told.map_err(|_| Ended::Over)?,
            () = link.speak.notified() => {}
            _ = compare.tick() => {
                if let Some(frame) = interest.with_set(|set| link.offer.lock().digest(set)) {
                    send.write_chunk(interest_bytes(frame)).await?;
                }
            }
        }
    }
}

fn interest_bytes(frame: InterestFrame) -> Bytes {
    message_bytes(&proto::InterestFrame { frame: Some(frame) })
}

impl Link {
    pub(super) fn next_interest(&self, interest: &Interest) -> Option<InterestFrame> {
        let frame = interest.with_set(|set| self.offer.lock().next_frame(set))?;
        if matches!(frame, InterestFrame::Full(_)) {
            self.meters.full_sets.increment(1);
        }
        Some(frame)
    }
}

/// Writes what this end has taken: soon after it took something that is held, at once when somebody waits.
pub(super) async fn control(
    link: Arc<Link>,
    connection: PeerConnection,
    mut send: PeerSend,
) -> Result<(), Ended> {
    let mut ping = interval(Duration::from_millis(link.config.ping_interval_ms.max(1)));
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = link.tell.now.notified() => {}
            () = link.tell.soon.notified() => {
                tokio::select! {
                    () = link.tell.now.notified() => {}
                    () = tokio::time::sleep(CONFIRM_DELAY) => {}
                }
            }
            _ = ping.tick() => link.meters.rtt.record(connection.rtt()),
        }
        if link.tell.resync.swap(false, Ordering::Relaxed) {
            send.write_chunk(control_bytes(ControlFrame::Resync(proto::Resync {}))).await?;
        }
        send.write_chunk(control_bytes(ControlFrame::Progress(link.progress()))).await?;
    }
}
