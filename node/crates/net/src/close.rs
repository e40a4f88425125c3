//! Closing a connection so that the last bytes sent arrive.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncWriteExt, ReadBuf};

use crate::Stream;

/// Bytes thrown away in one read.
const SINK_BYTES: usize = 16 << 10;

thread_local! {
    /// Where unread bytes end; one per thread, because a node going down closes all connections at once.
    static SINK: RefCell<Box<[u8]>> = RefCell::new(vec![0; SINK_BYTES].into());
}

/// How long and how much a closing connection is still read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linger {
    /// The time for the whole of closing.
    pub timeout: Duration,
    /// Bytes of the peer's that are read and thrown away.
    pub bytes_max: u64,
}

/// How a close went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lingered {
    /// The peer has closed its side too.
    Clean,
    /// The peer sent more than `bytes_max` and is cut.
    TooMuch,
    /// The peer did not close in time and is cut.
    TimedOut,
    /// The connection broke.
    Broken(io::ErrorKind),
}

/// Says goodbye and waits, within `linger`, for the peer to do so.
///
/// What was written is flushed; then comes the transport's own end: FIN, TLS close_notify, WebSocket
/// close 1000 (or the code of a rule broken before), QUIC FIN. What the peer still sends is read and
/// thrown away, because closing a socket with unread bytes sends an RST, and an RST destroys what the
/// peer has not read yet. Drop the stream afterwards.
pub async fn close_gracefully(stream: &mut Stream, linger: Linger) -> Lingered {
    let closing = Box::pin(tokio::time::timeout(linger.timeout, close(stream, linger.bytes_max)));
    let lingered = match closing.await {
        Ok(Ok(lingered)) => lingered,
        Ok(Err(error)) => Lingered::Broken(error.kind()),
        Err(_) => Lingered::TimedOut,
    };
    if let Stream::Quic(quic) = stream {
        quic.close();
    }
    lingered
}

async fn close(stream: &mut Stream, bytes_max: u64) -> io::Result<Lingered> {
    stream.flush().await?;
    stream.shutdown().await?;
    if let Stream::Quic(quic) = stream {
        quic.delivered().await;
    }
    let mut left = bytes_max;
    poll_fn(|cx| poll_drain(stream, cx, &mut left)).await
}

fn poll_drain(stream: &mut Stream, cx: &mut Context<'_>, left: &mut u64) -> Poll<io::Result<Lingered>> {
    SINK.with_borrow_mut(|sink| {
        loop {
            let mut buf = ReadBuf::new(sink);
            ready!(stream.poll_discard(cx, &mut buf))?;
            let read = buf.filled().len() as u64;
            if read == 0 {
                return Poll::Ready(Ok(Lingered::Clean));
            }
            if read > *left {
                return Poll::Ready(Ok(Lingered::TooMuch));
            }
            *left -= read;
        }
    })
}
