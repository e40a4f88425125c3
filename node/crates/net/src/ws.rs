//! A WebSocket as a byte stream: binary frames' payload in, binary frames out (RFC 6455).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

mod decode;
mod framed;
mod inbox;
mod mask;
mod masked;
mod outbound;
mod violation;

use crate::limited::Limit;
pub use decode::MessageKind;
use decode::{Decoder, End};
use inbox::Inbox;
use outbound::Outbound;

pub use violation::{NORMAL, Violation};

/// A WebSocket over `S`, after its handshake.
///
/// It has no read buffer: frames are read into the caller's buffer and taken apart there. A close
/// frame of the peer is answered and read as the end of the stream; a broken rule is answered with
/// its close code and read as an error of kind `InvalidData` holding the [`Violation`], after the
/// bytes that came before it. Pings are answered whenever the stream is read, written or flushed.
///
/// What one call of `poll_write` or `poll_write_vectored` is given becomes one frame (of at most 256
/// KiB, a client's 64 KiB). A frame that goes out in part was announced whole: the bytes not taken
/// must follow, or the peer waits for them.
#[derive(Debug)]
pub struct Ws<S> {
    io: S,
    decoder: Decoder,
    outbound: Outbound,
    /// Bytes that came with the handshake; no capacity once they are read.
    early: Vec<u8>,
    input: Input,
    /// Whether a writer waits for the socket: its waker must not be replaced by the reader's.
    writer_waits: bool,
    counters: Counters,
    /// Set where messages are told apart.
    inbox: Option<Box<Inbox>>,
}

/// The longest message where messages are told apart: what the length in front of one can say.
pub const MESSAGE_BYTES_MAX: u32 = (1 << 24) - 1;

/// Messages that are told apart: what reads and writes is a stream of frames, each a zero, three bytes of length and
/// one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Messages {
    /// The only kind that is taken, and sent.
    pub kind: MessageKind,
    /// The longest message taken, at most [`MESSAGE_BYTES_MAX`]; a longer one closes the connection with 1009.
    pub bytes_max: u32,
}

/// What a WebSocket saw besides payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Pings received.
    pub pings: u32,
    /// Pings left without an answer of their own, because a newer one came before the answer could be written.
    pub pongs_dropped: u32,
}

#[derive(Clone, Copy, Debug)]
enum Input {
    Open,
    /// To be told to the reader, once.
    Violated(Violation),
    Ended,
}

impl<S> Ws<S> {
    /// The server's side; `early` is what was read beyond the handshake.
    pub fn server(io: S, early: Vec<u8>, frame_bytes_max: u32) -> Self {
        Self::new(io, early, Decoder::new(true, frame_bytes_max), Outbound::server())
    }

    /// The client's side; `early` is what was read beyond the handshake.
    pub fn client(io: S, early: Vec<u8>, frame_bytes_max: u32) -> Self {
        Self::new(io, early, Decoder::new(false, frame_bytes_max), Outbound::client())
    }

    fn new(io: S, early: Vec<u8>, decoder: Decoder, outbound: Outbound) -> Self {
        Self {
            io,
            decoder,
            outbound,
            early,
            input: Input::Open,
            writer_waits: false,
            counters: Counters::default(),
            inbox: None,
        }
    }

    /// From now on messages are told apart. To be called before anything is read or written.
    #[must_use]
    pub fn telling(mut self, messages: Messages) -> Self {
        let bytes_max = messages.bytes_max.min(MESSAGE_BYTES_MAX);
        self.decoder.tell_messages(messages.kind, bytes_max);
        self.outbound.tell_messages(messages.kind);
        self.inbox = Some(Box::new(Inbox::new(bytes_max)));
        self
    }

    /// The stream below.
    pub fn get_ref(&self) -> &S {
        &self.io
    }

    /// What was seen besides payload.
    pub fn counters(&self) -> Counters {
        self.counters
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Ws<S> {
    /// Reads the stream below without looking for frames: for a connection that is only drained.
    pub(crate) fn poll_read_raw(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let take = self.early.len().min(buf.remaining());
        buf.put_slice(&self.early[..take]);
        self.early.drain(..take);
        if self.early.is_empty() {
            self.early = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Takes apart what was just read; says how many payload bytes stand at its front.
    fn take(&mut self, raw: &mut [u8]) -> usize {
        let decoded = self.decoder.decode(raw);
        self.counters.pings += decoded.pings;
        if let Some(payload) = decoded.ping {
            self.counters.pongs_dropped += decoded.pings - 1;
            self.counters.pongs_dropped += u32::from(self.outbound.pong(&payload));
        }
        match decoded.end {
            None => {}
            Some(End::Closed(code)) => {
                self.outbound.close(code);
                self.input = Input::Ended;
            }
            Some(End::Violated(violation)) => self.violated(violation),
        }
        let Some(inbox) = &mut self.inbox else { return decoded.kept };
        if let Err(violation) = inbox.take(&raw[..decoded.kept], &decoded.starts) {
            self.violated(violation);
        }
        0
    }

    fn violated(&mut self, violation: Violation) {
        if matches!(violation, Violation::TooLong { .. }) {
            Limit::WsFrameBytes.count();
        }
        self.outbound.close(violation.close_code());
        self.input = Input::Violated(violation);
    }

    /// Writes waiting control frames if that can be done now; an error will meet the writer or the reader.
    fn answer(&mut self, cx: &mut Context<'_>) {
        if !self.writer_waits {
            let _ = self.outbound.poll_control(&mut self.io, cx);
        }
    }

    fn poll_shutdown_frames(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outbound.close(NORMAL);
        ready!(self.outbound.poll_flush(&mut self.io, cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Ws<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let ws = &mut *self;
        loop {
            ws.answer(cx);
            if let Some(inbox) = ws.inbox.as_mut().filter(|inbox| inbox.has_some()) {
                inbox.read(buf);
                return Poll::Ready(Ok(()));
            }
            match ws.input {
                Input::Open if buf.remaining() > 0 => {}
                Input::Open | Input::Ended => return Poll::Ready(Ok(())),
                Input::Violated(violation) => {
                    ws.input = Input::Ended;
                    return Poll::Ready(Err(violation.into()));
                }
            }
            let start = buf.filled().len();
            ready!(ws.poll_read_raw(cx, buf))?;
            let raw = &mut buf.filled_mut()[start..];
            if raw.is_empty() {
                ws.input = Input::Ended;
                return Poll::Ready(Ok(()));
            }
            let kept = ws.take(raw);
            buf.set_filled(start + kept);
            if kept > 0 {
                ws.answer(cx);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Ws<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let ws = &mut *self;
        let written = ws.outbound.poll_write(&mut ws.io, cx, bufs);
        ws.writer_waits = written.is_pending();
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ws = &mut *self;
        let flushed = ws.outbound.poll_flush(&mut ws.io, cx);
        ws.writer_waits = flushed.is_pending();
        flushed
    }

    /// Sends a close frame (unless a frame is unfinished) and closes our side of the stream below.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = self.poll_shutdown_frames(cx);
        self.writer_waits = closed.is_pending();
        closed
    }
}

#[cfg(test)]
mod tests;
