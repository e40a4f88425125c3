//! A subscriber of the generator: counts what it gets and acknowledges it in batches.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use weir_net::Stream;
use weir_wire::mqtt::Version;

use super::intake::Intake;
use super::shared::Shared;
use super::walk::Frame;
use crate::client::Client;

/// Reading pauses while this many bytes of acknowledgements wait for the socket.
const ACK_BYTES_MAX: usize = 1024 * 1024;

const PUBLISH: u8 = 3;
const PUBREL: u8 = 6;

/// One subscriber.
pub(super) struct Receiver {
    stream: Stream,
    intake: Intake,
    has_properties: bool,
    /// Payloads begin with the time they were due.
    has_stamps: bool,
    acks: Vec<u8>,
    acks_written: usize,
    /// Times found in one read.
    stamps: Vec<u64>,
    shared: Arc<Shared>,
}

impl Receiver {
    /// Takes over a connection that has subscribed.
    pub(super) fn new(client: Client, has_stamps: bool, shared: Arc<Shared>) -> Receiver {
        let has_properties = client.version() == Version::V5;
        let (stream, early) = client.into_parts();
        Receiver {
            stream,
            intake: Intake::new(early),
            has_properties,
            has_stamps,
            acks: Vec::new(),
            acks_written: 0,
            stamps: Vec::new(),
            shared,
        }
    }

    /// Receives until the connection ends.
    pub(super) async fn run(mut self) {
        let ended = poll_fn(|cx| self.poll(cx)).await;
        if ended.is_err() {
            self.shared.counters.disconnected.fetch_add(1, Relaxed);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if let Poll::Ready(Err(error)) = self.poll_acks(cx) {
                return Poll::Ready(Err(error));
            }
            if self.acks.len() - self.acks_written > ACK_BYTES_MAX {
                return Poll::Pending;
            }
            match self.poll_read(cx) {
                // A full buffer: the others come first.
                Poll::Ready(Ok(true)) => {
                    cx.waker().wake_by_ref();
                    let _ = self.poll_acks(cx)?;
                    return Poll::Pending;
                }
                Poll::Ready(Ok(false)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut delivered = 0;
        let Receiver { stream, intake, acks, stamps, .. } = self;
        let (has_properties, has_stamps) = (self.has_properties, self.has_stamps);
        let read = intake.poll(stream, cx, |frame| {
            if frame.kind() == PUBLISH {
                delivered += 1;
                if has_stamps || frame.qos() > 0 {
                    answer(&frame, has_properties, acks, has_stamps.then_some(&mut *stamps));
                }
            } else if frame.kind() == PUBREL {
                let [high, low] = frame.ack_id();
                acks.extend_from_slice(&[0x70, 2, high, low]);
            }
        });
        if delivered > 0 {
            self.shared.counters.delivered.fetch_add(delivered, Relaxed);
            self.shared.add_latencies(&self.stamps);
            self.stamps.clear();
        }
        read
    }

    fn poll_acks(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.acks.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while self.acks_written < self.acks.len() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.acks[self.acks_written..]) {
                Poll::Ready(written) => self.acks_written += written?,
                Poll::Pending => return Poll::Pending,
            }
        }
        self.acks.clear();
        self.acks_written = 0;
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}

/// PUBACK or PUBREC for a PUBLISH, and its time.
fn answer(frame: &Frame<'_>, has_properties: bool, acks: &mut Vec<u8>, stamps: Option<&mut Vec<u64>>) {
    let Some(publish) = frame.publish(has_properties) else { return };
    let [high, low] = publish.packet_id.to_be_bytes();
    match publish.qos {
        0 => {}
        1 => acks.extend_from_slice(&[0x40, 2, high, low]),
        _ => acks.extend_from_slice(&[0x50, 2, high, low]),
    }
    if let (Some(stamps), Some((stamp, _))) = (stamps, publish.payload.split_first_chunk::<8>()) {
        stamps.push(u64::from_be_bytes(*stamp));
    }
}
