//! The streams of a peer connection: bytes in order, one way.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use quinn::{ReadError, ReadToEndError, RecvStream, SendStream, WriteError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{PeerClosed, var};

/// The sending half of a stream. Dropped without [`PeerSend::finish`] it is finished as it is.
#[derive(Debug)]
pub struct PeerSend(pub(super) SendStream);

/// The receiving half of a stream. Dropped early, the sender is told that nobody reads on.
#[derive(Debug)]
pub struct PeerRecv(pub(super) RecvStream);

/// Why a stream ended before its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The reader wants no more.
    #[error("the peer reads no more of this stream, code {code}")]
    Stopped { code: u64 },
    /// The writer gave up.
    #[error("the peer gave this stream up, code {code}")]
    Reset { code: u64 },
    /// The stream holds more than the reader takes.
    #[error("the stream is longer than {bytes_max} bytes")]
    TooLong { bytes_max: usize },
    /// The stream was finished or stopped on this side.
    #[error("the stream is closed here")]
    Closed,
    /// The connection ended.
    #[error("the connection ended: {0}")]
    Connection(PeerClosed),
}

impl PeerSend {
    /// Writes all of `chunk` without copying it; waits while the peer or the network is behind.
    ///
    /// # Errors
    /// The reader stopped, or the connection ended.
    pub async fn write_chunk(&mut self, chunk: Bytes) -> Result<(), StreamError> {
        Ok(self.0.write_chunk(chunk).await?)
    }

    /// Says that no more comes; what is written still arrives.
    ///
    /// # Errors
    /// It was finished or reset before.
    pub fn finish(&mut self) -> Result<(), StreamError> {
        self.0.finish().map_err(|_| StreamError::Closed)
    }

    /// Gives the stream up: what is not delivered yet never will be.
    pub fn reset(&mut self, code: u32) {
        // An error says that it is over already.
        let _ = self.0.reset(var(code));
    }

    /// Streams of a higher priority are sent first; all begin with 0.
    pub fn set_priority(&self, priority: i32) {
        let _ = self.0.set_priority(priority);
    }

    /// The QUIC id of the stream (RFC 9000 section 2.1).
    #[must_use]
    pub fn id(&self) -> u64 {
        self.0.id().into()
    }
}

impl PeerRecv {
    /// The next bytes in order as they arrived, at most `bytes_max`; `None` at the end.
    ///
    /// # Errors
    /// The writer gave up, or the connection ended.
    pub async fn read_chunk(&mut self, bytes_max: usize) -> Result<Option<Bytes>, StreamError> {
        Ok(self.0.read_chunk(bytes_max, true).await?.map(|chunk| chunk.bytes))
    }

    /// Everything up to the end.
    ///
    /// # Errors
    /// It is more than `bytes_max`; the writer gave up; or the connection ended.
    pub async fn read_to_end(&mut self, bytes_max: usize) -> Result<Vec<u8>, StreamError> {
        self.0.read_to_end(bytes_max).await.map_err(|error| match error {
            ReadToEndError::Read(error) => error.into(),
            ReadToEndError::TooLong => StreamError::TooLong { bytes_max },
        })
    }

    /// Tells the writer that nobody reads on.
    pub fn stop(&mut self, code: u32) {
        let _ = self.0.stop(var(code));
    }

    /// The QUIC id of the stream (RFC 9000 section 2.1).
    #[must_use]
    pub fn id(&self) -> u64 {
        self.0.id().into()
    }
}

impl From<WriteError> for StreamError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Stopped(code) => Self::Stopped { code: code.into_inner() },
            WriteError::ConnectionLost(error) => Self::Connection(error.into()),
            WriteError::ClosedStream | WriteError::ZeroRttRejected => Self::Closed,
        }
    }
}

impl From<ReadError> for StreamError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Reset(code) => Self::Reset { code: code.into_inner() },
            ReadError::ConnectionLost(error) => Self::Connection(error.into()),
            ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected => {
                Self::Closed
            }
        }
    }
}

impl From<PeerClosed> for StreamError {
    fn from(closed: PeerClosed) -> Self {
        Self::Connection(closed)
    }
}

impl AsyncWrite for PeerSend {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf).map_err(Into::into)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.finish().map_err(Into::into))
    }
}

impl AsyncRead for PeerRecv {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.poll_read_buf(cx, buf).map_err(Into::into)
    }
}
