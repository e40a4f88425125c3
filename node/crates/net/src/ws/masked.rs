//! What a WebSocket client sends: masked copies of its frames (RFC 6455 section 5.3).

use std::hash::{BuildHasher, RandomState};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::mask;

/// The longest frame a client sends, and so the bound of its buffer.
const FRAME_BYTES_MAX: usize = 64 << 10;

/// One masked frame on its way out; the next is made when it is gone.
#[derive(Debug, Default)]
pub(super) struct Masked {
    buffer: Vec<u8>,
    at: usize,
    /// A keyed hash of a counter makes the masks: not to be guessed without the key of this process.
    random: RandomState,
    frames: u64,
}

impl Masked {
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    pub fn next_mask(&mut self) -> [u8; 4] {
        self.frames += 1;
        (self.random.hash_one(self.frames) as u32).to_le_bytes()
    }

    /// Puts one frame of the front of `bufs` into the empty buffer; says how many bytes it took.
    pub fn add_frame(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        debug_assert!(self.is_empty(), "the last frame is still on its way");
        let offered: usize = bufs.iter().map(|buf| buf.len()).sum();
        let length = offered.min(FRAME_BYTES_MAX);
        if length == 0 {
            return Ok(0);
        }
        let key = self.next_mask();
        let header =
            FrameHeader { opcode: OpCode::Data(Data::Binary), mask: Some(key), ..FrameHeader::default() };
        header.format(length as u64, &mut self.buffer).map_err(io::Error::other)?;
        let start = self.buffer.len();
        let mut left = length;
        for buf in bufs {
            let take = left.min(buf.len());
            self.buffer.extend_from_slice(&buf[..take]);
            left -= take;
        }
        mask::apply(u32::from_le_bytes(key), &mut self.buffer[start..]);
        Ok(length)
    }

    /// Writes the frame out.
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
        self.buffer.clear();
        self.at = 0;
        Poll::Ready(Ok(()))
    }
}
