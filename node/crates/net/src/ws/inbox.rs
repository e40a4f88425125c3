//! Messages of a WebSocket on their way in, as a stream of frames: four bytes of length, then the message.

use tokio::io::ReadBuf;

use super::decode::Start;
use super::framed::HEADER_BYTES;
use super::violation::Violation;

/// Gathers messages that come in several frames, and holds what a reader had no room for.
#[derive(Debug)]
pub(super) struct Inbox {
    /// The longest message taken.
    bytes_max: u32,
    /// What is ready to be read, from `at` on. At most what one read brings and one message.
    ready: Vec<u8>,
    at: usize,
    /// A message whose last frame has not come; at most `bytes_max`.
    parts: Option<Vec<u8>>,
    /// Whether the current frame is of `parts`, and the last one of it.
    in_parts: bool,
    ends_parts: bool,
    /// Payload bytes of the current frame still to come.
    remaining: u64,
}

impl Inbox {
    pub fn new(bytes_max: u32) -> Self {
        Self {
            bytes_max,
            ready: Vec::new(),
            at: 0,
            parts: None,
            in_parts: false,
            ends_parts: false,
            remaining: 0,
        }
    }

    pub fn has_some(&self) -> bool {
        self.at < self.ready.len()
    }

    /// Gives what is ready, as much as there is room for.
    pub fn read(&mut self, buf: &mut ReadBuf<'_>) {
        let take = (self.ready.len() - self.at).min(buf.remaining());
        buf.put_slice(&self.ready[self.at..self.at + take]);
        self.at += take;
        if self.at == self.ready.len() {
            self.ready = Vec::new();
            self.at = 0;
        }
    }

    /// Takes the payload of one piece of the stream, and the frames that begin in it.
    pub fn take(&mut self, payload: &[u8], starts: &[Start]) -> Result<(), Violation> {
        let mut from = 0;
        self.ready.reserve(payload.len() + HEADER_BYTES * starts.len());
        for start in starts {
            self.put(&payload[from..start.at]);
            from = start.at;
            self.start(start)?;
        }
        self.put(&payload[from..]);
        Ok(())
    }

    fn start(&mut self, start: &Start) -> Result<(), Violation> {
        self.remaining = start.bytes;
        self.in_parts = !(start.is_first && start.is_last);
        self.ends_parts = self.in_parts && start.is_last;
        if !self.in_parts {
            self.announce(start.bytes as usize);
            return Ok(());
        }
        let known = self.parts.get_or_insert_default().len() as u64;
        if known + start.bytes > u64::from(self.bytes_max) {
            return Err(Violation::TooLong { bytes: known + start.bytes, bytes_max: self.bytes_max });
        }
        if start.bytes == 0 {
            self.finish_parts();
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) {
        self.remaining -= bytes.len() as u64;
        match &mut self.parts {
            Some(parts) if self.in_parts => {
                parts.extend_from_slice(bytes);
                if self.remaining == 0 && !bytes.is_empty() {
                    self.finish_parts();
                }
            }
            _ => self.ready.extend_from_slice(bytes),
        }
    }

    fn finish_parts(&mut self) {
        if self.ends_parts
            && let Some(message) = self.parts.take()
        {
            self.ends_parts = false;
            self.announce(message.len());
            self.ready.extend_from_slice(&message);
        }
    }

    /// Longer messages than 2^24 - 1 bytes are never taken.
    fn announce(&mut self, bytes: usize) {
        let [_, a, b, c] = (bytes as u32).to_be_bytes();
        self.ready.extend_from_slice(&[0, a, b, c]);
    }
}
