//! One numbered stream from a peer: puts parts together, and drops what was taken before.

use bytes::{Bytes, BytesMut};

use super::outbound::Numbers;
use super::wire::{Header, Kind, Violation};

/// The receiver's half.
#[derive(Debug)]
pub(crate) struct Inbound {
    /// The last numbers taken.
    heard: Numbers,
    /// What has come of a large run.
    parts: BytesMut,
    run_bytes_max: usize,
}

/// What a frame brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrived {
    /// A run of QoS 0.
    Frames { run: Bytes, messages: u32 },
    /// A run that had to arrive.
    Sure { run: Bytes, messages: u32 },
    /// It was taken before.
    Repeat { messages: u32 },
    /// A part: nothing to hand over yet.
    Nothing,
}

impl Inbound {
    pub fn new(run_bytes_max: usize) -> Inbound {
        Inbound { heard: Numbers::default(), parts: BytesMut::new(), run_bytes_max }
    }

    /// The last numbers taken.
    pub fn heard(&self) -> Numbers {
        self.heard
    }

    /// Goes on from numbers heard by an earlier link, or from the first of a new numbering.
    pub fn go_on_from(&mut self, heard: Numbers) {
        self.heard = heard;
    }

    /// A new connection: parts of the old one are worth nothing.
    pub fn restart(&mut self) {
        self.parts = BytesMut::new();
    }

    /// Takes one frame.
    ///
    /// # Errors
    /// A number was left out, or a run is too long.
    pub fn take(&mut self, header: Header, bytes: Bytes) -> Result<Arrived, Violation> {
        let messages = header.messages;
        match header.kind {
            Kind::Frames => Ok(Arrived::Frames { run: bytes, messages }),
            Kind::Sure if is_next(&mut self.heard.small, header.number)? => {
                Ok(Arrived::Sure { run: bytes, messages })
            }
            Kind::Sure => Ok(Arrived::Repeat { messages }),
            Kind::Part => {
                self.part(&bytes)?;
                Ok(Arrived::Nothing)
            }
            Kind::LargeFrames => Ok(Arrived::Frames { run: self.whole(bytes)?, messages }),
            Kind::LargeSure => {
                let run = self.whole(bytes)?;
                let next = is_next(&mut self.heard.large, header.number)?;
                Ok(if next { Arrived::Sure { run, messages } } else { Arrived::Repeat { messages } })
            }
        }
    }

    fn part(&mut self, bytes: &Bytes) -> Result<(), Violation> {
        let whole = self.parts.len() + bytes.len();
        if whole > self.run_bytes_max {
            return Err(Violation::TooLong { bytes: whole as u64, bytes_max: self.run_bytes_max });
        }
        self.parts.extend_from_slice(bytes);
        Ok(())
    }

    fn whole(&mut self, last: Bytes) -> Result<Bytes, Violation> {
        if self.parts.is_empty() {
            return Ok(last);
        }
        self.part(&last)?;
        Ok(std::mem::take(&mut self.parts).freeze())
    }
}

/// Whether `number` follows what was heard; false when it was heard.
fn is_next(heard: &mut u64, number: u64) -> Result<bool, Violation> {
    if number <= *heard {
        return Ok(false);
    }
    let expected = *heard + 1;
    if number != expected {
        return Err(Violation::Gap { number, expected });
    }
    *heard = number;
    Ok(true)
}
