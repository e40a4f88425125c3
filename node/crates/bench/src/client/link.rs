//! A byte stream as whole frames, with what is still to be written.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;
use url::Url;
use weir_net::Stream;
use weir_wire::mqtt::{Version, frame_len};

use super::{Error, Options};

/// Room made for each read.
const READ_BYTES: usize = 16 * 1024;

/// The stream, what was read and not yet decoded, what is to be written. The output is bounded by its
/// users: each writes a few frames and flushes.
pub(super) struct Link {
    stream: Stream,
    version: Version,
    packet_bytes_max: usize,
    input: BytesMut,
    output: Vec<u8>,
    /// How much of `output` has gone out.
    written: usize,
    last_write: Instant,
}

impl Link {
    pub(super) async fn open(url: &Url, options: &Options) -> Result<Stream, Error> {
        weir_net::client::connect(url, &options.transport)
            .await
            .map_err(|source| Error::Connect { url: url.to_string(), source })
    }

    pub(super) fn new(stream: Stream, version: Version, packet_bytes_max: usize) -> Link {
        Link {
            stream,
            version,
            packet_bytes_max,
            input: BytesMut::new(),
            output: Vec::new(),
            written: 0,
            last_write: Instant::now(),
        }
    }

    pub(super) fn version(&self) -> Version {
        self.version
    }

    /// When bytes last went out, for the keep alive.
    pub(super) fn last_write(&self) -> Instant {
        self.last_write
    }

    /// Where frames to be sent are appended.
    pub(super) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// The next whole frame, if it has arrived.
    pub(super) fn take_frame(&mut self) -> Result<Option<Bytes>, Error> {
        let len =
            frame_len(&self.input, self.packet_bytes_max).map_err(|source| Error::Malformed { source })?;
        match len {
            Some(len) if len <= self.input.len() => Ok(Some(self.input.split_to(len).freeze())),
            _ => Ok(None),
        }
    }

    /// The next whole frame, for as long as it takes.
    pub(super) async fn frame(&mut self, doing: &'static str) -> Result<Bytes, Error> {
        loop {
            if let Some(frame) = self.take_frame()? {
                return Ok(frame);
            }
            self.fill(doing).await?;
        }
    }

    /// Reads once, and writes meanwhile, so that two full sockets never wait for each other. Cancel safe.
    pub(super) async fn fill(&mut self, doing: &'static str) -> Result<(), Error> {
        let read = poll_fn(|cx| {
            if let Poll::Ready(Err(error)) = self.poll_flush(cx) {
                return Poll::Ready(Err(error));
            }
            self.input.reserve(READ_BYTES);
            pin!(self.stream.read_buf(&mut self.input)).poll(cx)
        });
        match read.await {
            Ok(0) => Err(Error::Closed { doing }),
            Ok(_) => Ok(()),
            Err(source) => Err(Error::Io { doing, source }),
        }
    }

    /// Writes all that is queued. Cancel safe.
    pub(super) async fn flush(&mut self, doing: &'static str) -> Result<(), Error> {
        poll_fn(|cx| self.poll_flush(cx)).await.map_err(|source| Error::Io { doing, source })
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        while self.written < self.output.len() {
            let rest = &self.output[self.written..];
            match Pin::new(&mut self.stream).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => {
                    self.written += count;
                    self.last_write = Instant::now();
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        self.output.clear();
        self.written = 0;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Ends our direction and reads until the server has ended its own, at most `timeout`. The goodbye has
    /// gone out before, so how a server hangs up is no error any more.
    pub(super) async fn close(mut self, timeout: Duration) {
        let drained = async {
            let _ = self.stream.shutdown().await;
            self.input.clear();
            while !matches!(self.stream.read_buf(&mut self.input).await, Ok(0) | Err(_)) {
                self.input.clear();
            }
        };
        let _ = tokio::time::timeout(timeout, drained).await;
    }

    pub(super) fn into_parts(self) -> (Stream, Vec<u8>) {
        (self.stream, self.input.to_vec())
    }
}
