//! The two lanes of an outbox: encoded frames, whose oldest can be dropped, and numbered copies.

use std::collections::VecDeque;
use std::task::Waker;

use bytes::Bytes;
use smallvec::SmallVec;

use super::Live;
use crate::form::Form;

/// One stretch of copied frames; a new one begins beyond, so that dropping the oldest frees memory.
const STRETCH_BYTES: usize = 128 << 10;

/// Whole encoded frames, in the order they go to the socket, from `start` on.
#[derive(Debug)]
pub struct Chunk {
    frames: Frames,
    start: usize,
}

#[derive(Debug)]
enum Frames {
    Copied(Vec<u8>),
    Shared(Bytes),
}

impl Chunk {
    /// Bytes of a connection's own making.
    pub fn copied(frames: Vec<u8>) -> Chunk {
        Chunk { frames: Frames::Copied(frames), start: 0 }
    }

    pub fn bytes(&self) -> &[u8] {
        match &self.frames {
            Frames::Copied(frames) => &frames[self.start..],
            Frames::Shared(frames) => &frames[self.start..],
        }
    }

    /// The first `n` bytes are written.
    pub fn advance(&mut self, n: usize) {
        self.start += n;
    }
}

/// What a connection takes at once to write.
#[derive(Debug, Default)]
pub struct Taken {
    pub chunks: VecDeque<Chunk>,
    pub messages: u64,
    pub bytes: usize,
}

/// Frames of one form, pushed at once.
pub struct Run<'a> {
    pub form: &'static dyn Form,
    pub frames: RunFrames<'a>,
    pub messages: u64,
}

/// Small runs are copied into each outbox, large ones shared by all of them.
#[derive(Clone, Copy)]
pub enum RunFrames<'a> {
    Copy(&'a [u8]),
    Share(&'a Bytes),
}

impl RunFrames<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            RunFrames::Copy(frames) => frames.len(),
            RunFrames::Share(frames) => frames.len(),
        }
    }
}

#[derive(Default)]
pub(super) struct Lanes {
    pub(super) frames: VecDeque<Chunk>,
    pub(super) frame_bytes: usize,
    pub(super) frame_messages: u64,
    pub(super) copies: VecDeque<Live>,
    pub(super) copy_bytes: usize,
    /// Copies were left out: the stored queue has more than this lane.
    pub(super) behind: bool,
    /// Publishers that wait until this outbox is low again. At most one entry per connection.
    pub(super) waiting: SmallVec<[Waker; 1]>,
}

impl Lanes {
    pub(super) fn is_empty(&self) -> bool {
        self.frame_bytes == 0 && self.copies.is_empty()
    }

    pub(super) fn append(&mut self, run: RunFrames<'_>) {
        let frames = match (run, self.frames.back_mut()) {
            (RunFrames::Copy(new), Some(Chunk { frames: Frames::Copied(last), .. }))
                if last.len() + new.len() <= STRETCH_BYTES =>
            {
                return last.extend_from_slice(new);
            }
            (RunFrames::Copy(new), _) => Frames::Copied(new.to_vec()),
            (RunFrames::Share(new), _) => Frames::Shared(new.clone()),
        };
        self.frames.push_back(Chunk { frames, start: 0 });
    }

    /// Drops the oldest frames until `new_bytes` fit; returns how many messages went.
    pub(super) fn make_room(&mut self, new_bytes: usize, bytes_max: usize, form: &'static dyn Form) -> u64 {
        let mut dropped = 0;
        while self.frame_bytes + new_bytes > bytes_max {
            let Some(oldest) = self.frames.front_mut() else { break };
            let freed = form.frame_len(oldest.bytes());
            oldest.advance(freed);
            if oldest.bytes().is_empty() {
                self.frames.pop_front();
            }
            self.frame_bytes -= freed;
            dropped += 1;
        }
        self.frame_messages -= dropped;
        dropped
    }
}
