//! The tasks that read from a peer. Each ends with its connection.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use metrics::counter;
use tokio::time::timeout;
use weir_net::peer::PeerRecv;

use super::connection::{Ended, next_message, read_some};
use super::inbound::Arrived;
use super::wire::{CALLS, NOTICES, RECORD_STREAMS, STREAMS_LISTED, Violation, proto, take_frame};
use super::{Inbox, InterestChanges, Link, calls, notice};
use crate::interest::{Digest, Followed};
use proto::control_frame::Frame as ControlFrame;

/// A mirror that is not caught up by then is asked again.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(1);

/// Reads one numbered stream and hands on what it brings.
pub(super) async fn numbered(
    link: Arc<Link>,
    mut recv: PeerRecv,
    stream: usize,
    inbox: Arc<dyn Inbox>,
) -> Result<(), Ended> {
    let mut read = BytesMut::new();
    loop {
        let bytes = read_some(&mut recv, &mut read).await?;
        link.meters.received_bytes.increment(bytes as u64);
        while let Some((header, bytes)) = take_frame(&mut read)? {
            let arrived = link.inbound[stream].lock().take(header, bytes)?;
            let Some(run) = link.arrived(stream, arrived) else { continue };
            match stream {
                NOTICES => notices(&link, run, &*inbox)?,
                CALLS => inbox.calls(&link, &calls::split(run)?),
                _ => {
                    if let Some(room) = inbox.records(&link, run) {
                        room.await;
                    }
                }
            }
        }
    }
}

fn notices(link: &Arc<Link>, mut run: Bytes, inbox: &dyn Inbox) -> Result<(), Violation> {
    while !run.is_empty() {
        inbox.control(link, notice::take(&mut run)?);
    }
    Ok(())
}

impl Link {
    /// Counts what came; returns what is to be handed on.
    pub(super) fn arrived(&self, stream: usize, arrived: Arrived) -> Option<Bytes> {
        let (run, messages) = match arrived {
            Arrived::Nothing => return None,
            Arrived::Repeat { messages } => {
                self.meters.repeats.increment(messages.into());
                self.tell.soon.notify_one();
                return None;
            }
            Arrived::Frames { run, messages } => {
                self.counters.heard_frames.fetch_add(messages.into(), Ordering::Relaxed);
                (run, messages)
            }
            Arrived::Sure { run, messages } => {
                self.tell.soon.notify_one();
                (run, messages)
            }
        };
        if stream < RECORD_STREAMS {
            self.counters.received.fetch_add(messages.into(), Ordering::Relaxed);
            self.meters.received_records.increment(messages.into());
        }
        Some(run)
    }
}

/// Reads the peer's interest and hands on what changes.
pub(super) async fn interest(
    link: Arc<Link>,
    mut recv: PeerRecv,
    inbox: Arc<dyn Inbox>,
) -> Result<(), Ended> {
    let mut read = BytesMut::new();
    loop {
        let frame: proto::InterestFrame = next_message(&mut recv, &mut read).await?;
        // A frame of a later version says nothing here.
        if let Some(frame) = frame.frame {
            let followed = link.follower.lock().take(frame)?;
            link.followed(followed, &*inbox);
        }
        tokio::task::consume_budget().await;
    }
}

impl Link {
    pub(super) fn followed(self: &Arc<Link>, followed: Followed, inbox: &dyn Inbox) {
        match followed {
            Followed::Full => inbox.interest(self, InterestChanges::Full),
            Followed::FullEnd => {
                inbox.interest(self, InterestChanges::FullEnd);
                self.tell.soon.notify_one();
            }
            Followed::Changed(changes) => {
                inbox.interest(self, InterestChanges::Changed(&changes));
                self.meters.interest_changes.increment(changes.len() as u64);
                self.tell.soon.notify_one();
            }
            Followed::Compare(theirs) => self.compare(theirs, inbox),
            Followed::Barrier { interest, mirror } => {
                if self.owed.lock().asked(interest, mirror) {
                    self.catch_up.notify_one();
                }
                self.tell.now.notify_one();
            }
            Followed::Resync => self.ask_for_all("gap"),
            Followed::Nothing => {}
        }
    }

    fn compare(self: &Arc<Link>, theirs: Digest, inbox: &dyn Inbox) {
        let changes = self.follower.lock().digest();
        let kept = inbox.interest_digest(self).unwrap_or(changes);
        if changes != theirs || kept != theirs {
            tracing::warn!(node = %self.node, filters = kept.filters, expected = theirs.filters, "a peer's interest differs");
            self.follower.lock().lose();
            self.ask_for_all("digest");
        }
    }

    fn ask_for_all(&self, reason: &'static str) {
        counter!("weir_cluster_link_resyncs_total", "reason" => reason).increment(1);
        self.tell.resync.store(true, Ordering::Relaxed);
        self.tell.now.notify_one();
    }
}

/// Reads the control stream.
pub(super) async fn control(link: Arc<Link>, mut recv: PeerRecv, mut read: BytesMut) -> Result<(), Ended> {
    loop {
        let frame: proto::ControlFrame = next_message(&mut recv, &mut read).await?;
        match frame.frame {
            Some(ControlFrame::Progress(progress)) if progress.heard.len() == STREAMS_LISTED => {
                link.progressed(&progress);
            }
            Some(ControlFrame::Resync(_)) => {
                link.offer.lock().say_all();
                link.asks.lock().restart();
                link.speak.notify_one();
            }
            Some(_) => {
                return Err(Violation::Message { what: "a second hello, or progress without streams" }.into());
            }
            None => {}
        }
    }
}

/// Answers the peer's barriers that wait for this node's mirror: one look answers all asked before it.
pub(super) async fn mirror(link: Arc<Link>, inbox: Arc<dyn Inbox>) -> Result<(), Ended> {
    loop {
        let owed = *link.owed.lock();
        if owed.mirror_asked == owed.mirror {
            link.catch_up.notified().await;
            continue;
        }
        if timeout(CAUGHT_UP_WITHIN, inbox.caught_up()).await.is_err() {
            continue;
        }
        link.owed.lock().mirror = owed.mirror_asked;
        link.tell.now.notify_one();
    }
}
