//! A publisher of the generator: writes encoded batches, as fast as the socket, the window or the pace allows.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::AsyncWrite;
use weir_model::Qos;
use weir_net::Stream;

use super::batch::Batch;
use super::intake::Intake;
use super::pace::Pace;
use super::shared::Shared;
use crate::client::Client;

/// How long a publisher waits that is too far ahead.
const LEAD_PAUSE: Duration = Duration::from_millis(2);

const PUBACK: u8 = 4;
const PUBREC: u8 = 5;
const PUBCOMP: u8 = 7;

/// One publisher.
pub(super) struct Publisher {
    stream: Stream,
    intake: Intake,
    batch: Batch,
    /// The bytes of `batch` being written now.
    at: usize,
    end: usize,
    /// PUBRELs to be written before the next messages.
    releases: Vec<u8>,
    releases_written: usize,
    write_messages: usize,
    /// `None` with QoS 0.
    window: Option<u16>,
    in_flight: usize,
    pace: Option<Pace>,
    written_bytes: usize,
    shared: Arc<Shared>,
}

/// What became of a publisher's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Wrote,
    /// The deliveries have to catch up first.
    TooFarAhead,
    /// Nothing is left to do, or the connection has ended.
    Done,
}

/// How a publisher behaves.
#[derive(Debug, Clone)]
pub(super) struct Manner {
    pub(super) qos: Qos,
    pub(super) window: u16,
    /// Messages in one write at most.
    pub(super) write_messages: usize,
}

impl Publisher {
    pub(super) fn new(client: Client, batch: Batch, manner: Manner, shared: Arc<Shared>) -> Publisher {
        let (stream, early) = client.into_parts();
        shared.counters.busy_publishers.fetch_add(1, Relaxed);
        Publisher {
            stream,
            intake: Intake::new(early),
            batch,
            at: 0,
            end: 0,
            releases: Vec::new(),
            releases_written: 0,
            write_messages: manner.write_messages,
            window: (manner.qos != Qos::AtMostOnce).then_some(manner.window),
            in_flight: 0,
            pace: None,
            written_bytes: 0,
            shared,
        }
    }

    /// Publishes flat out until told to stop and all is acknowledged, or the connection ends.
    pub(super) async fn run(mut self) {
        while poll_fn(|cx| self.poll(cx)).await == Turn::TooFarAhead {
            tokio::time::sleep(LEAD_PAUSE).await;
        }
        poll_fn(|cx| self.poll_linger(cx)).await;
    }

    /// From now on this publisher keeps a schedule, and whoever holds it calls [`Publisher::poll`] in time.
    pub(super) fn set_pace(&mut self, pace: Pace) {
        self.pace = Some(pace);
    }

    /// When this publisher has something to send next.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.pace.as_ref().map(Pace::next_due)
    }

    /// Publishes as long as it can. Every write is followed by the other tasks' turn, unless paced.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        let ended = loop {
            match self.poll_step(cx) {
                Poll::Ready(Ok(Turn::Wrote)) if self.pace.is_some() => {}
                Poll::Ready(Ok(Turn::Wrote)) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Ready(Ok(Turn::TooFarAhead)) => return Poll::Ready(Turn::TooFarAhead),
                Poll::Ready(Ok(Turn::Done)) => break Ok(()),
                Poll::Ready(Err(error)) => break Err(error),
                Poll::Pending => return Poll::Pending,
            }
        };
        self.shared.counters.busy_publishers.fetch_sub(1, Relaxed);
        if ended.is_err() {
            self.shared.counters.disconnected.fetch_add(1, Relaxed);
        }
        Poll::Ready(Turn::Done)
    }

    /// Keeps a connection open that has nothing to do, so that its end is no part of the measurement.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match ready!(self.intake.poll(&mut self.stream, cx, |_| {})) {
                Ok(_) => {}
                Err(_) => return Poll::Ready(()),
            }
        }
    }

    /// One write.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Turn>> {
        self.read_acks(cx)?;
        if self.at == self.end {
            ready!(self.poll_releases(cx))?;
            if self.shared.is_stopping() {
                return if self.in_flight == 0 { Poll::Ready(Ok(Turn::Done)) } else { Poll::Pending };
            }
            if self.pace.is_none() && !self.shared.may_publish() {
                return Poll::Ready(Ok(Turn::TooFarAhead));
            }
            if !self.begin_write() {
                return Poll::Pending;
            }
        }
        let bytes = &self.batch.bytes()[self.at..self.end];
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.at += count;
        self.count_written(count);
        if let Poll::Ready(Err(error)) = Pin::new(&mut self.stream).poll_flush(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(Turn::Wrote))
    }

    /// Chooses the next frames to write; `false` when there are none to be written now.
    fn begin_write(&mut self) -> bool {
        let frame_bytes = self.batch.frame_bytes();
        if self.at == self.batch.bytes().len() {
            self.at = 0;
        }
        self.end = self.at;
        let until_end = (self.batch.bytes().len() - self.at) / frame_bytes;
        let room = self.window.map_or(usize::MAX, |window| usize::from(window) - self.in_flight);
        let mut count = until_end.min(room).min(self.write_messages);
        if let Some(pace) = &mut self.pace {
            let group = pace.group() as usize;
            // A group that does not fit in front of the end begins anew at the start.
            if until_end < group {
                self.at = 0;
                self.end = 0;
            }
            let due = if room < group { None } else { pace.take(self.shared.elapsed()) };
            let Some(due) = due else { return false };
            count = group;
            self.batch.stamp(self.at, self.at + count * frame_bytes, due);
        }
        self.end = self.at + count * frame_bytes;
        if self.window.is_some() {
            self.in_flight += count;
        }
        count > 0
    }

    fn count_written(&mut self, bytes: usize) {
        let frame_bytes = self.batch.frame_bytes();
        let before = self.written_bytes / frame_bytes;
        self.written_bytes += bytes;
        let messages = self.written_bytes / frame_bytes - before;
        self.shared.counters.published.fetch_add(messages as u64, Relaxed);
    }

    fn read_acks(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        loop {
            let (mut done, mut refused) = (0, 0);
            let Publisher { stream, intake, releases, .. } = self;
            let read = intake.poll(stream, cx, |frame| match frame.kind() {
                PUBREC if !frame.is_refusal() => {
                    let [high, low] = frame.ack_id();
                    releases.extend_from_slice(&[0x62, 2, high, low]);
                }
                PUBACK | PUBREC | PUBCOMP => {
                    done += 1;
                    refused += u64::from(frame.is_refusal());
                }
                _ => {}
            });
            if done > 0 {
                self.in_flight = self.in_flight.saturating_sub(done);
                self.shared.counters.refused.fetch_add(refused, Relaxed);
                self.shared.counters.acknowledged.fetch_add(done as u64 - refused, Relaxed);
            }
            match read {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(()),
            }
        }
    }

    fn poll_releases(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.releases_written < self.releases.len() {
            let rest = &self.releases[self.releases_written..];
            self.releases_written += ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
        }
        if self.releases.is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.releases.clear();
        self.releases_written = 0;
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}
