//! The two lanes of an outbox: encoded frames, whose oldest can be dropped, and numbered copies.

use std::collections::VecDeque;
use std::sync::Arc;
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
    /// Messages that can still be dropped, or counted as taken.
    messages: u64,
}

#[derive(Debug)]
enum Frames {
    Copied(Vec<u8>),
    Shared(Bytes),
}

impl Chunk {
    /// Bytes of a connection's own making.
    pub fn copied(frames: Vec<u8>) -> Chunk {
        Chunk { frames: Frames::Copied(frames), start: 0, messages: 0 }
    }

    pub fn bytes(&self) -> &[u8] {
        match &self.frames {
            Frames::Copied(frames) => &frames[self.start..],
            Frames::Shared(frames) => &frames[self.start..],
        }
    }

    /// Drops the frames that `keep` says no to; returns how many.
    fn retain(&mut self, form: &'static dyn Form, keep: &mut dyn FnMut(&[u8]) -> bool) -> u64 {
        let (mut rest, mut kept, mut dropped) = (self.bytes(), Vec::new(), 0);
        while !rest.is_empty() {
            let (frame, behind) = rest.split_at(form.frame_len(rest));
            match keep(frame) {
                true => kept.extend_from_slice(frame),
                false => dropped += 1,
            }
            rest = behind;
        }
        if dropped > 0 {
            *self = Chunk { frames: Frames::Copied(kept), start: 0, messages: self.messages - dropped };
        }
        dropped
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

/// What a connection may take now; at least one frame goes unless either is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Most {
    pub messages: usize,
    pub bytes: usize,
}

/// Frames of one form, pushed at once.
pub struct Run<'a> {
    pub form: &'static dyn Form,
    pub frames: RunFrames<'a>,
    pub messages: u64,
    /// Whose outbox it is for, and the topic: told when something is dropped.
    pub client: &'a Arc<str>,
    pub topic: &'a str,
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
    /// A connection has it; without one nothing is taken.
    pub(super) open: bool,
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

    pub(super) fn append(&mut self, run: RunFrames<'_>, messages: u64) {
        let frames = match (run, self.frames.back_mut()) {
            (RunFrames::Copy(new), Some(Chunk { frames: Frames::Copied(last), messages: known, .. }))
                if last.len() + new.len() <= STRETCH_BYTES =>
            {
                *known += messages;
                return last.extend_from_slice(new);
            }
            (RunFrames::Copy(new), _) => Frames::Copied(new.to_vec()),
            (RunFrames::Share(new), _) => Frames::Shared(new.clone()),
        };
        self.frames.push_back(Chunk { frames, start: 0, messages });
    }

    /// Takes whole chunks of about `bytes_max` together, at least one if there is one.
    pub(super) fn take_chunks(&mut self, bytes_max: usize) -> Taken {
        if self.frame_bytes <= bytes_max {
            return Taken {
                chunks: std::mem::take(&mut self.frames),
                messages: std::mem::take(&mut self.frame_messages),
                bytes: std::mem::take(&mut self.frame_bytes),
            };
        }
        let mut taken = Taken::default();
        while taken.bytes < bytes_max
            && let Some(chunk) = self.frames.pop_front()
        {
            taken.messages += chunk.messages;
            taken.bytes += chunk.bytes().len();
            taken.chunks.push_back(chunk);
        }
        self.frame_messages -= taken.messages;
        self.frame_bytes -= taken.bytes;
        taken
    }

    /// Takes the oldest frames one by one, copied, as long as `most` allows.
    pub(super) fn take_frames(&mut self, most: Most, form: &'static dyn Form) -> Taken {
        let (mut frames, mut messages) = (Vec::new(), 0);
        while messages < most.messages as u64
            && frames.len() < most.bytes
            && let Some(oldest) = self.frames.front()
        {
            let bytes = oldest.bytes();
            frames.extend_from_slice(&bytes[..form.frame_len(bytes)]);
            self.drop_oldest(form);
            messages += 1;
        }
        self.frame_messages -= messages;
        let bytes = frames.len();
        let chunks = if bytes == 0 { VecDeque::new() } else { VecDeque::from([Chunk::copied(frames)]) };
        Taken { chunks, messages, bytes }
    }

    /// The oldest frame goes; returns false when there is none.
    fn drop_oldest(&mut self, form: &'static dyn Form) -> bool {
        let Some(oldest) = self.frames.front_mut() else { return false };
        let freed = form.frame_len(oldest.bytes());
        oldest.advance(freed);
        oldest.messages -= 1;
        if oldest.bytes().is_empty() {
            self.frames.pop_front();
        }
        self.frame_bytes -= freed;
        true
    }

    /// Drops the frames that `keep` says no to; returns how many messages went.
    pub(super) fn retain_frames(
        &mut self,
        form: &'static dyn Form,
        keep: &mut dyn FnMut(&[u8]) -> bool,
    ) -> u64 {
        let dropped = self.frames.iter_mut().map(|chunk| chunk.retain(form, keep)).sum();
        self.frames.retain(|chunk| !chunk.bytes().is_empty());
        if self.frames.is_empty() {
            self.frames = VecDeque::new();
        }
        self.frame_bytes = self.frames.iter().map(|chunk| chunk.bytes().len()).sum();
        self.frame_messages -= dropped;
        dropped
    }

    /// Drops the oldest frames until `new_bytes` fit; returns how many messages went.
    pub(super) fn make_room(&mut self, new_bytes: usize, bytes_max: usize, form: &'static dyn Form) -> u64 {
        let mut dropped = 0;
        while self.frame_bytes + new_bytes > bytes_max && self.drop_oldest(form) {
            dropped += 1;
        }
        self.frame_messages -= dropped;
        dropped
    }
}
