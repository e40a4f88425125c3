//! Takes WebSocket frames apart, in the buffer they were read into (RFC 6455 section 5).

use std::io::Cursor;

use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::mask;
use super::violation::{Violation, close_code};

/// The longest frame header: two bytes, eight of length, four of mask.
const HEADER_BYTES_MAX: usize = 14;
/// The longest payload of a control frame (RFC 6455 section 5.5).
const CONTROL_BYTES_MAX: u64 = 125;

/// Reads frames from arbitrary pieces of the byte stream.
///
/// It keeps no payload but that of a control frame in progress.
#[derive(Debug)]
pub(super) struct Decoder {
    /// Payload bytes of the current frame still to come; 0 between frames.
    remaining: u64,
    /// The mask for the next payload byte on; 0 where there is none.
    mask: u32,
    frame_bytes_max: u32,
    /// What has arrived of a header that was cut.
    header: [u8; HEADER_BYTES_MAX],
    header_len: u8,
    kind: Kind,
    /// Whether a fragmented message waits for its continuation.
    in_message: bool,
    /// Whether the peer is a client, whose frames must be masked.
    from_client: bool,
    /// The kind of messages where their borders count; `None` = bytes, in binary ones.
    messages: Option<MessageKind>,
    /// The data frame whose header was just read, where borders count.
    started: Option<Start>,
    control: Vec<u8>,
}

/// What messages are, where they are more than bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    Text,
    Binary,
}

/// A data frame begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// How many of the piece's payload bytes are before it.
    pub at: usize,
    pub bytes: u64,
    /// Whether a message begins with it.
    pub is_first: bool,
    /// Whether a message ends with it.
    pub is_last: bool,
}

/// What the current frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Data,
    Ping,
    Pong,
    Close,
}

/// What one piece of the byte stream held.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Decoded {
    /// Payload bytes, now at the front of the piece.
    pub kept: usize,
    /// The payload of the last ping in it.
    pub ping: Option<Vec<u8>>,
    /// How many pings were in it.
    pub pings: u32,
    /// The data frames that begin in it, where borders count.
    pub starts: Vec<Start>,
    /// Set when nothing after this piece is to be read.
    pub end: Option<End>,
}

/// Why reading is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The peer closed, with this code.
    Closed(u16),
    /// The peer broke a rule.
    Violated(Violation),
}

impl Decoder {
    pub fn new(from_client: bool, frame_bytes_max: u32) -> Self {
        Self {
            remaining: 0,
            mask: 0,
            frame_bytes_max,
            header: [0; HEADER_BYTES_MAX],
            header_len: 0,
            kind: Kind::Data,
            in_message: false,
            from_client,
            messages: None,
            started: None,
            control: Vec::new(),
        }
    }

    /// From now on messages of this kind are taken, of this length at most, and told apart.
    pub fn tell_messages(&mut self, kind: MessageKind, bytes_max: u32) {
        self.messages = Some(kind);
        self.frame_bytes_max = bytes_max;
    }

    /// Takes all of `raw`, moving the payload bytes in it, unmasked, to its front.
    pub fn decode(&mut self, raw: &mut [u8]) -> Decoded {
        let mut decoded = Decoded::default();
        let mut at = 0;
        while at < raw.len() && decoded.end.is_none() {
            if self.remaining > 0 {
                at += self.take_payload(raw, at, &mut decoded);
            } else {
                match self.take_header(&raw[at..]) {
                    Ok(taken) => {
                        at += taken;
                        let start = self.started.take();
                        decoded.starts.extend(start.map(|start| Start { at: decoded.kept, ..start }));
                    }
                    Err(violation) => decoded.end = Some(End::Violated(violation)),
                }
            }
            let frame_ended = self.remaining == 0 && self.header_len == 0;
            if frame_ended && self.kind != Kind::Data && decoded.end.is_none() {
                self.end_control(&mut decoded);
            }
        }
        decoded
    }

    /// Takes header bytes from the front of `raw`; says how many.
    fn take_header(&mut self, raw: &[u8]) -> Result<usize, Violation> {
        if self.header_len == 0
            && let Some(taken) = self.parse_header(raw)?
        {
            return Ok(taken);
        }
        let before = usize::from(self.header_len);
        let take = raw.len().min(HEADER_BYTES_MAX - before);
        self.header[before..before + take].copy_from_slice(&raw[..take]);
        let header = self.header;
        match self.parse_header(&header[..before + take])? {
            Some(taken) => {
                self.header_len = 0;
                Ok(taken - before)
            }
            None => {
                self.header_len += take as u8;
                Ok(take)
            }
        }
    }

    /// Starts the frame whose header stands at the front of `bytes`; `None` while the header is incomplete.
    fn parse_header(&mut self, bytes: &[u8]) -> Result<Option<usize>, Violation> {
        let mut cursor = Cursor::new(bytes);
        let parsed = FrameHeader::parse(&mut cursor).map_err(|_| Violation::Header)?;
        let Some((header, length)) = parsed else { return Ok(None) };
        let taken = cursor.position() as usize;
        if header.len(length) != taken || length > i64::MAX as u64 {
            return Err(Violation::Length);
        }
        self.start_frame(&header, length)?;
        Ok(Some(taken))
    }

    fn start_frame(&mut self, header: &FrameHeader, length: u64) -> Result<(), Violation> {
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(Violation::ReservedBit);
        }
        if header.mask.is_some() != self.from_client {
            return Err(Violation::Mask { masked: header.mask.is_some() });
        }
        let kind = match header.opcode {
            OpCode::Data(data) => self.start_data(data, header.is_final)?,
            OpCode::Control(_) if !header.is_final || length > CONTROL_BYTES_MAX => {
                return Err(Violation::Control);
            }
            OpCode::Control(Control::Ping) => Kind::Ping,
            OpCode::Control(Control::Pong) => Kind::Pong,
            OpCode::Control(Control::Close) => Kind::Close,
            OpCode::Control(Control::Reserved(_)) => return Err(Violation::Header),
        };
        if length > u64::from(self.frame_bytes_max) && kind == Kind::Data {
            return Err(Violation::TooLong { bytes: length, bytes_max: self.frame_bytes_max });
        }
        if let (Kind::Data, OpCode::Data(data), Some(_)) = (kind, header.opcode, self.messages) {
            let is_first = data != Data::Continue;
            self.started = Some(Start { at: 0, bytes: length, is_first, is_last: header.is_final });
        }
        self.kind = kind;
        self.remaining = length;
        self.mask = header.mask.map_or(0, u32::from_le_bytes);
        Ok(())
    }

    /// Checks that a data frame fits where it stands (RFC 6455 section 5.4).
    fn start_data(&mut self, data: Data, is_final: bool) -> Result<Kind, Violation> {
        match data {
            Data::Continue if !self.in_message => return Err(Violation::Continuation),
            Data::Text | Data::Binary if self.in_message => return Err(Violation::Interleaved),
            Data::Text if self.messages != Some(MessageKind::Text) => return Err(Violation::Text),
            Data::Binary if self.messages == Some(MessageKind::Text) => return Err(Violation::Binary),
            Data::Reserved(_) => return Err(Violation::Header),
            Data::Continue | Data::Binary | Data::Text => self.in_message = !is_final,
        }
        Ok(Kind::Data)
    }

    /// Takes payload bytes of the current frame, standing at `raw[at..]`; says how many.
    fn take_payload(&mut self, raw: &mut [u8], at: usize, decoded: &mut Decoded) -> usize {
        let here = raw.len() - at;
        let take = usize::try_from(self.remaining).map_or(here, |remaining| remaining.min(here));
        if self.kind == Kind::Data {
            let to = decoded.kept;
            raw.copy_within(at..at + take, to);
            self.mask = mask::apply(self.mask, &mut raw[to..to + take]);
            decoded.kept += take;
        } else {
            let part = &mut raw[at..at + take];
            self.mask = mask::apply(self.mask, part);
            self.control.extend_from_slice(part);
        }
        self.remaining -= take as u64;
        take
    }

    /// Acts on a control frame that is complete.
    fn end_control(&mut self, decoded: &mut Decoded) {
        let payload = std::mem::take(&mut self.control);
        match self.kind {
            Kind::Ping => {
                decoded.ping = Some(payload);
                decoded.pings += 1;
            }
            Kind::Close => {
                decoded.end = Some(match close_code(&payload) {
                    Ok(code) => End::Closed(code),
                    Err(violation) => End::Violated(violation),
                });
            }
            Kind::Pong | Kind::Data => {}
        }
        self.kind = Kind::Data;
    }
}

#[cfg(test)]
mod tests;
