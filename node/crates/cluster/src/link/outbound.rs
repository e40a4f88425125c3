//! One numbered stream to a peer: small runs in shared frames, large ones in parts between them.
//!
//! Runs of one topic keep their order whatever their size: behind a large run that is not through,
//! those of the same topic wait in its lane; and a large run ends only after all that was pushed before.

use std::collections::HashSet;

use bytes::Bytes;

use super::wire::{FRAME_BYTES_MAX, HEADER_BYTES, Header, Kind};
use super::{
    Full,
    lane::{Lane, Sealed},
};

/// Runs above this go in parts.
const SMALL_BYTES_MAX: usize = 32 << 10;
/// Topics remembered while large runs are on their way; beyond, all runs wait behind those.
const TOPICS_BEHIND_MAX: usize = 1024;

/// Bounds of one stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub frames_bytes_max: usize,
    pub frames_bytes_high: usize,
    pub held_bytes_max: usize,
}

impl Limits {
    /// Waiting bytes of QoS 0 above which publishers wait.
    fn high(&self) -> usize {
        self.frames_bytes_high.min(self.frames_bytes_max / 2)
    }
}

/// Numbers of the two lanes of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub small: u64,
    pub large: u64,
}

/// What was taken to be sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    pub bytes: usize,
    /// QoS 0 messages.
    pub frames: u64,
    /// Messages that must arrive and had not been sent before.
    pub sure: u64,
    /// Messages that had.
    pub again: u64,
}

/// The sender's half.
#[derive(Debug)]
pub(crate) struct Outbound {
    limits: Limits,
    small: Lane,
    large: Lane,
    /// The large run that is being sent, and how much of its frame is.
    part: Option<(Sealed, usize)>,
    /// Topics of the runs in the lane of large ones.
    topics_behind: HashSet<u64>,
    pushes: u64,
}

impl Outbound {
    pub fn new(limits: Limits) -> Outbound {
        Outbound {
            limits,
            small: Lane::default(),
            large: Lane::default(),
            part: None,
            topics_behind: HashSet::new(),
            pushes: 0,
        }
    }

    /// Appends a QoS 0 run; returns how many messages were dropped for it.
    pub fn push_frames(&mut self, topic_hash: u64, run: &[u8], messages: u32) -> u64 {
        let (ticket, bytes_max) = (self.next_ticket(), self.limits.frames_bytes_max);
        self.lane(topic_hash, run.len()).push_frames(run, messages, ticket, bytes_max)
    }

    /// Appends a run that must arrive.
    ///
    /// # Errors
    /// Too much is not confirmed yet.
    pub fn push_sure(&mut self, topic_hash: u64, run: &[u8], messages: u32) -> Result<(), Full> {
        let (ticket, bytes_max) = (self.next_ticket(), self.limits.held_bytes_max);
        self.lane(topic_hash, run.len()).push_sure(run, messages, ticket, bytes_max)
    }

    /// The same, where a part of the room is kept free of such runs, or is theirs alone: of `bytes_max`.
    ///
    /// # Errors
    /// Too much is not confirmed yet.
    pub fn push_sure_within(&mut self, topic_hash: u64, run: &[u8], bytes_max: usize) -> Result<(), Full> {
        let ticket = self.next_ticket();
        self.lane(topic_hash, run.len()).push_sure(run, 1, ticket, bytes_max)
    }

    fn next_ticket(&mut self) -> u64 {
        self.pushes += 1;
        self.pushes
    }

    fn lane(&mut self, topic_hash: u64, run_bytes: usize) -> &mut Lane {
        if self.part.is_none() && self.large.is_empty() && !self.topics_behind.is_empty() {
            self.topics_behind = HashSet::new();
        }
        let many = self.topics_behind.len() >= TOPICS_BEHIND_MAX;
        if run_bytes <= SMALL_BYTES_MAX && !many && !self.topics_behind.contains(&topic_hash) {
            return &mut self.small;
        }
        if !many {
            self.topics_behind.insert(topic_hash);
        }
        &mut self.large
    }

    /// Takes about one frame's bytes of small runs and one part of a large one.
    pub fn take(&mut self, out: &mut Vec<Bytes>) -> Taken {
        let mut taken = Taken::default();
        while taken.bytes < FRAME_BYTES_MAX
            && let Some(sealed) = self.small.next_frame(Kind::Frames, Kind::Sure)
        {
            taken.count(&sealed);
            taken.bytes += sealed.frame.len();
            out.push(sealed.frame);
        }
        self.take_part(out, &mut taken);
        taken
    }

    fn take_part(&mut self, out: &mut Vec<Bytes>, taken: &mut Taken) {
        if self.part.is_none() {
            self.part = self.large.next_frame(Kind::LargeFrames, Kind::LargeSure).map(|sealed| {
                taken.count(&sealed);
                (sealed, HEADER_BYTES)
            });
        }
        let Some((sealed, at)) = &mut self.part else { return };
        let left = sealed.frame.len() - *at;
        let is_last = left <= FRAME_BYTES_MAX;
        if is_last && self.small.oldest_ticket().is_some_and(|oldest| oldest < sealed.ticket) {
            return;
        }
        let len = left.min(FRAME_BYTES_MAX);
        let part = Header { kind: Kind::Part, len: len as u32, messages: 0, number: 0 };
        let header = if is_last { Header { len: len as u32, ..sealed.header } } else { part };
        out.push(Bytes::copy_from_slice(&header.encode()));
        out.push(sealed.frame.slice(*at..*at + len));
        taken.bytes += HEADER_BYTES + len;
        *at += len;
        if is_last {
            self.part = None;
        }
    }

    /// Whether there is something to take.
    pub fn has_unsent(&self) -> bool {
        self.part.is_some() || self.small.has_unsent() || self.large.has_unsent()
    }

    /// The peer has taken everything up to these numbers; returns how many messages that were.
    pub fn confirm(&mut self, heard: Numbers) -> u64 {
        self.small.confirm(heard.small) + self.large.confirm(heard.large)
    }

    /// A new connection: what is not confirmed goes again, from its beginning.
    pub fn restart(&mut self) {
        self.part = None;
        self.small.restart();
        self.large.restart();
    }

    /// The lowest numbers that may still be sent.
    pub fn next_numbers(&self) -> Numbers {
        Numbers { small: self.small.next_number(), large: self.large.next_number() }
    }

    /// Whether half of what may be held is free, for runs of that size and smaller ones.
    pub fn has_room(&self) -> bool {
        self.small.sure_bytes().max(self.large.sure_bytes()) <= self.limits.held_bytes_max / 2
    }

    /// Whether publishers of QoS 0 should wait.
    pub fn presses(&self) -> bool {
        self.frame_bytes() > self.limits.high()
    }

    /// Whether publishers that waited, of any QoS, should go on.
    pub fn is_low(&self) -> bool {
        self.frame_bytes() <= self.limits.high() / 2 && self.has_room()
    }

    fn frame_bytes(&self) -> usize {
        self.small.frame_bytes().max(self.large.frame_bytes())
    }

    /// Whether half of what the peer may leave unconfirmed is.
    pub fn presses_sure(&self) -> bool {
        self.small.sure_bytes().max(self.large.sure_bytes()) > self.limits.held_bytes_max / 2
    }

    /// Whether nothing that must arrive is left.
    pub fn is_confirmed(&self) -> bool {
        self.small.sure_bytes() + self.large.sure_bytes() == 0
    }

    /// Messages that must arrive and are not confirmed.
    pub fn unconfirmed(&self) -> u64 {
        self.small.unconfirmed() + self.large.unconfirmed()
    }
}

impl Taken {
    fn count(&mut self, sealed: &Sealed) {
        let messages = u64::from(sealed.header.messages);
        match sealed.header.kind {
            Kind::Sure | Kind::LargeSure if sealed.again => self.again += messages,
            Kind::Sure | Kind::LargeSure => self.sure += messages,
            _ => self.frames += messages,
        }
    }
}

#[cfg(test)]
mod tests;
