//! Several messages in one transport frame (WAMP, "Batched mode").

use super::{Batching, DecodeError, Format, Serialization};

/// Behind every JSON message of a batch: the record separator, decimal 30.
pub const SEPARATOR: u8 = 0x1e;

/// What autobahn-python takes for it. No JSON text holds either of them.
pub const SEPARATOR_OCTAL: u8 = 0x18;

/// The messages of a frame, in their order; of a serialization without batches the frame itself.
pub fn messages(frame: &[u8], serialization: Serialization) -> Messages<'_> {
    Messages { rest: frame, at: 0, serialization, begun: false }
}

/// What the peer that sent this frame writes and reads: to be asked of its first frame.
pub fn heard(frame: &[u8], serialization: Serialization) -> Serialization {
    match (serialization, frame.last()) {
        (Serialization { format: Format::Json, batching: Batching::Many }, Some(&SEPARATOR_OCTAL)) => {
            Serialization { batching: Batching::ManyOctal, ..serialization }
        }
        _ => serialization,
    }
}

/// The iterator over the messages of a frame. An error is its last item.
///
/// Refused: an empty batch, an empty message, a length beyond the frame. Behind the last JSON message the
/// separator may be missing.
#[derive(Debug, Clone)]
pub struct Messages<'a> {
    rest: &'a [u8],
    at: usize,
    serialization: Serialization,
    begun: bool,
}

impl<'a> Messages<'a> {
    /// Bytes of the frame that were gone through.
    pub fn at(&self) -> usize {
        self.at
    }

    fn cut(&mut self) -> Result<&'a [u8], DecodeError> {
        match self.serialization {
            Serialization { batching: Batching::One, .. } => Ok(self.take(self.rest.len(), 0)),
            Serialization { format: Format::Json, .. } => {
                let end = self.rest.iter().position(|byte| matches!(*byte, SEPARATOR | SEPARATOR_OCTAL));
                let len = end.unwrap_or(self.rest.len());
                if len == 0 {
                    return Err(DecodeError::BadBatch { at: self.at, what: "no message" });
                }
                Ok(self.take(len, usize::from(end.is_some())))
            }
            _ => self.cut_by_length(),
        }
    }

    fn cut_by_length(&mut self) -> Result<&'a [u8], DecodeError> {
        let short = DecodeError::BadBatch { at: self.at, what: "length is cut short" };
        let len = u32::from_be_bytes(*self.rest.first_chunk().ok_or(short)?) as usize;
        if len == 0 {
            return Err(DecodeError::BadBatch { at: self.at, what: "no message" });
        }
        if len > self.rest.len() - 4 {
            return Err(DecodeError::BadBatch { at: self.at, what: "message is longer than the frame" });
        }
        self.take(4, 0);
        Ok(self.take(len, 0))
    }

    /// Goes past a message and what separates it from the next.
    fn take(&mut self, len: usize, behind: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(len);
        self.rest = &rest[behind..];
        self.at += len + behind;
        taken
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<&'a [u8], DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.begun && self.rest.is_empty() {
            return None;
        }
        self.begun = true;
        let cut = self.cut();
        if cut.is_err() {
            self.rest = &[];
        }
        Some(cut)
    }
}
