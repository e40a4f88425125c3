//! Frames of four bytes and a payload on their way into WebSocket messages, each into one of its own.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::decode::MessageKind;

/// Bytes of a frame's header: a zero, and how long its payload is.
pub(super) const HEADER_BYTES: usize = 4;

/// Bytes taken at once: many small messages leave in one write.
const TAKE_BYTES: usize = 64 << 10;

/// Messages on their way out. A write that was begun is ended before anything more is taken.
#[derive(Debug)]
pub(super) struct Framed {
    kind: MessageKind,
    buffer: Vec<u8>,
    at: usize,
    /// What has come of a header that was cut.
    header: [u8; HEADER_BYTES],
    header_len: u8,
    /// Payload bytes of the current frame still to come.
    remaining: usize,
}

impl Framed {
    pub fn new(kind: MessageKind) -> Self {
        Self { kind, buffer: Vec::new(), at: 0, header: [0; HEADER_BYTES], header_len: 0, remaining: 0 }
    }

    /// Whether a control frame may follow what was written.
    pub fn is_at_boundary(&self) -> bool {
        self.buffer.is_empty() && self.remaining == 0
    }

    /// Takes from the front of `bufs` into the empty buffer; says how many bytes.
    pub fn add(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        debug_assert!(self.buffer.is_empty(), "the last bytes are still on their way");
        let offered: usize = bufs.iter().map(|buf| buf.len()).sum();
        self.buffer.reserve(offered.min(TAKE_BYTES) + 64);
        let mut taken = 0;
        for buf in bufs {
            let mut rest = &buf[..];
            while !rest.is_empty() {
                if self.buffer.len() >= TAKE_BYTES {
                    return Ok(taken);
                }
                let part = self.take(rest)?;
                taken += part;
                rest = &rest[part..];
            }
        }
        Ok(taken)
    }

    /// Takes a piece of a header or of a payload.
    fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.remaining > 0 {
            let part = self.remaining.min(bytes.len()).min(TAKE_BYTES);
            self.buffer.extend_from_slice(&bytes[..part]);
            self.remaining -= part;
            return Ok(part);
        }
        let known = usize::from(self.header_len);
        let part = (HEADER_BYTES - known).min(bytes.len());
        self.header[known..known + part].copy_from_slice(&bytes[..part]);
        self.header_len += part as u8;
        if usize::from(self.header_len) == HEADER_BYTES {
            self.header_len = 0;
            let [_, a, b, c] = self.header;
            self.remaining = u32::from_be_bytes([0, a, b, c]) as usize;
            let data = if self.kind == MessageKind::Text { Data::Text } else { Data::Binary };
            let header = FrameHeader { opcode: OpCode::Data(data), ..FrameHeader::default() };
            header.format(self.remaining as u64, &mut self.buffer).map_err(io::Error::other)?;
        }
        Ok(part)
    }

    /// Writes out what was taken; an idle one holds no memory.
    pub fn poll_drain<S>(&mut self, io: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        S: AsyncWrite + Unpin,
    {
        while self.at < self.buffer.len() {
            let written = ready!(Pin::new(&mut *io).poll_write(cx, &self.buffer[self.at..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.at += written;
        }
        self.buffer = Vec::new();
        self.at = 0;
        Poll::Ready(Ok(()))
    }
}
