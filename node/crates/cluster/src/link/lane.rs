//! A lane: runs that wait for a peer in order, QoS 0 ones and such that must arrive.

use std::collections::VecDeque;

use bytes::Bytes;

use super::Full;
use super::wire::{FRAME_BYTES_MAX, HEADER_BYTES, Header, Kind};

/// What a few small runs together are given room for.
const GROWN_BYTES: usize = 8 << 10;

/// Runs put one behind the other until they are sent, with room for the frame's header in front.
#[derive(Debug)]
struct Stretch {
    bytes: Vec<u8>,
    messages: u32,
    /// When its first run was pushed, in pushes of the stream.
    ticket: u64,
}

impl Stretch {
    fn new(run: &[u8], messages: u32, ticket: u64) -> Stretch {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + run.len());
        bytes.resize(HEADER_BYTES, 0);
        bytes.extend_from_slice(run);
        Stretch { bytes, messages, ticket }
    }

    /// Puts a run behind the others. Where some have come more will: it grows to a whole frame in two steps.
    fn append(&mut self, run: &[u8], messages: u32) {
        let bytes = self.bytes.len() + run.len();
        if bytes > self.bytes.capacity() {
            let room = if bytes <= GROWN_BYTES { GROWN_BYTES } else { HEADER_BYTES + FRAME_BYTES_MAX };
            self.bytes.reserve_exact(room - self.bytes.len());
        }
        self.bytes.extend_from_slice(run);
        self.messages += messages;
    }

    fn seal(mut self, kind: Kind, number: u64) -> Bytes {
        let len = (self.bytes.len() - HEADER_BYTES) as u32;
        let header = Header { kind, len, messages: self.messages, number };
        self.bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
        // One that is held must not take much more than is counted.
        if self.bytes.len() < self.bytes.capacity() / 2 {
            self.bytes.shrink_to_fit();
        }
        Bytes::from(self.bytes)
    }
}

/// A frame that was sent, or is to be sent again, until the peer confirms its number.
#[derive(Debug)]
struct Held {
    frame: Bytes,
    number: u64,
    messages: u32,
    ticket: u64,
}

/// A frame to be sent now.
#[derive(Debug)]
pub(super) struct Sealed {
    pub frame: Bytes,
    pub header: Header,
    pub ticket: u64,
    /// It was sent before, on an earlier connection.
    pub again: bool,
}

/// Small runs share frames; in the lane of large ones a frame may be as long as its run.
#[derive(Debug, Default)]
pub(super) struct Lane {
    frames: VecDeque<Stretch>,
    frame_bytes: usize,
    sure: VecDeque<Stretch>,
    /// Front: the oldest the peer has not confirmed.
    held: VecDeque<Held>,
    /// How many of `held` have been sent on this connection.
    held_sent: usize,
    /// Of `sure` and `held`.
    sure_bytes: usize,
    /// The highest number given; the first is 1.
    last_number: u64,
    /// The highest number sent on any connection.
    sent_number: u64,
    frames_next: bool,
}

impl Lane {
    /// Appends a QoS 0 run; returns how many messages went for lack of room. A run larger than all the
    /// room is taken alone.
    pub fn push_frames(&mut self, run: &[u8], messages: u32, ticket: u64, bytes_max: usize) -> u64 {
        let mut dropped = 0;
        while self.frame_bytes + run.len() > bytes_max
            && let Some(oldest) = self.frames.pop_front()
        {
            dropped += u64::from(oldest.messages);
            self.frame_bytes -= oldest.bytes.len() - HEADER_BYTES;
        }
        append(&mut self.frames, run, messages, ticket);
        self.frame_bytes += run.len();
        dropped
    }

    /// Appends a run that must arrive. One larger than all the room is taken alone.
    pub fn push_sure(
        &mut self,
        run: &[u8],
        messages: u32,
        ticket: u64,
        bytes_max: usize,
    ) -> Result<(), Full> {
        if self.sure_bytes > 0 && self.sure_bytes + run.len() > bytes_max {
            return Err(Full);
        }
        append(&mut self.sure, run, messages, ticket);
        self.sure_bytes += run.len();
        Ok(())
    }

    /// The next frame to send; the two kinds take turns.
    pub fn next_frame(&mut self, frames: Kind, sure: Kind) -> Option<Sealed> {
        self.frames_next = !self.frames_next;
        if self.frames_next {
            self.next_of_frames(frames).or_else(|| self.next_sure(sure))
        } else {
            self.next_sure(sure).or_else(|| self.next_of_frames(frames))
        }
    }

    fn next_of_frames(&mut self, kind: Kind) -> Option<Sealed> {
        let stretch = self.frames.pop_front()?;
        let (messages, ticket) = (stretch.messages, stretch.ticket);
        let frame = stretch.seal(kind, 0);
        let len = frame.len() - HEADER_BYTES;
        self.frame_bytes -= len;
        let header = Header { kind, len: len as u32, messages, number: 0 };
        Some(Sealed { frame, header, ticket, again: false })
    }

    fn next_sure(&mut self, kind: Kind) -> Option<Sealed> {
        if self.held_sent == self.held.len() {
            let stretch = self.sure.pop_front()?;
            self.last_number += 1;
            let (number, messages, ticket) = (self.last_number, stretch.messages, stretch.ticket);
            let frame = stretch.seal(kind, number);
            self.held.push_back(Held { frame, number, messages, ticket });
        }
        let held = &self.held[self.held_sent];
        self.held_sent += 1;
        let again = held.number <= self.sent_number;
        self.sent_number = self.sent_number.max(held.number);
        let len = (held.frame.len() - HEADER_BYTES) as u32;
        let header = Header { kind, len, messages: held.messages, number: held.number };
        Some(Sealed { frame: held.frame.clone(), header, ticket: held.ticket, again })
    }

    /// The peer has everything up to `number`; returns how many messages that were.
    pub fn confirm(&mut self, number: u64) -> u64 {
        let mut confirmed = 0;
        while self.held.front().is_some_and(|oldest| oldest.number <= number)
            && let Some(oldest) = self.held.pop_front()
        {
            self.sure_bytes -= oldest.frame.len() - HEADER_BYTES;
            self.held_sent = self.held_sent.saturating_sub(1);
            confirmed += u64::from(oldest.messages);
        }
        confirmed
    }

    /// On a new connection all that is held is sent again.
    pub fn restart(&mut self) {
        self.held_sent = 0;
    }

    /// The lowest number that may still be sent.
    pub fn next_number(&self) -> u64 {
        self.held.front().map_or(self.last_number + 1, |oldest| oldest.number)
    }

    /// When the oldest run that is not sent was pushed.
    pub fn oldest_ticket(&self) -> Option<u64> {
        let frames = self.frames.front().map(|stretch| stretch.ticket);
        let held = self.held.get(self.held_sent).map(|held| held.ticket);
        let sure = held.or(self.sure.front().map(|stretch| stretch.ticket));
        frames.into_iter().chain(sure).min()
    }

    pub fn has_unsent(&self) -> bool {
        !self.frames.is_empty() || !self.sure.is_empty() || self.held_sent < self.held.len()
    }

    pub fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.sure.is_empty() && self.held.is_empty()
    }

    pub fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }

    pub fn sure_bytes(&self) -> usize {
        self.sure_bytes
    }

    /// Messages that must arrive and are not confirmed.
    pub fn unconfirmed(&self) -> u64 {
        let held = self.held.iter().map(|held| u64::from(held.messages));
        held.chain(self.sure.iter().map(|stretch| u64::from(stretch.messages))).sum()
    }
}

/// Puts a run behind the others of the last stretch, or begins another one.
fn append(stretches: &mut VecDeque<Stretch>, run: &[u8], messages: u32, ticket: u64) {
    match stretches.back_mut() {
        Some(last) if last.bytes.len() - HEADER_BYTES + run.len() <= FRAME_BYTES_MAX => {
            last.append(run, messages);
        }
        _ => stretches.push_back(Stretch::new(run, messages, ticket)),
    }
}
