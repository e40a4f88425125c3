//! Puts bytes into WebSocket frames and writes them (RFC 6455 section 5).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::decode::MessageKind;
use super::framed::Framed;
use super::masked::Masked;

/// The longest header of a frame without a mask.
const HEADER_BYTES_MAX: usize = 10;
/// Slices of one vectored write, the header's included; what is beyond goes into the next frame.
const SLICES_MAX: usize = 64;
/// The longest frame we send: clients see nothing of a frame before they have all of it, and some refuse 1 MiB.
const FRAME_BYTES_MAX: u64 = 256 << 10;

/// The sending half of a WebSocket.
///
/// Of payload it keeps a count only (a client also what it has masked). Of control frames it holds at
/// most one being written and one after it: a newer pong replaces a waiting one (RFC 6455 section
/// 5.5.3), a close replaces it too, and nothing comes after a close.
#[derive(Debug)]
pub(super) struct Outbound {
    /// Payload bytes announced by the last header and not taken yet.
    remaining: u64,
    header: [u8; HEADER_BYTES_MAX],
    header_len: u8,
    header_at: u8,
    /// Whether a close frame was queued: data is refused from then on.
    closing: bool,
    /// Whether control bytes were written that may still sit in a TLS buffer.
    flush_due: bool,
    control: Option<Box<ControlQueue>>,
    /// Set on the client side.
    masked: Option<Box<Masked>>,
    /// Set where messages are told apart.
    framed: Option<Box<Framed>>,
}

#[derive(Debug)]
struct ControlQueue {
    frame: Vec<u8>,
    at: usize,
    next: Option<Vec<u8>>,
}

impl Outbound {
    pub fn server() -> Self {
        Self {
            remaining: 0,
            header: [0; HEADER_BYTES_MAX],
            header_len: 0,
            header_at: 0,
            closing: false,
            flush_due: false,
            control: None,
            masked: None,
            framed: None,
        }
    }

    /// From now on each frame of four bytes and a payload becomes a message of this kind.
    pub fn tell_messages(&mut self, kind: MessageKind) {
        self.framed = Some(Box::new(Framed::new(kind)));
    }

    pub fn client() -> Self {
        Self { masked: Some(Box::default()), ..Self::server() }
    }

    /// Queues the answer to a ping; says whether an older answer was given up for it.
    pub fn pong(&mut self, payload: &[u8]) -> bool {
        !self.closing && self.queue(Control::Pong, payload)
    }

    /// Queues a close frame, once.
    pub fn close(&mut self, code: u16) {
        if !self.closing {
            self.closing = true;
            self.queue(Control::Close, &code.to_be_bytes());
        }
    }

    fn queue(&mut self, opcode: Control, payload: &[u8]) -> bool {
        let mask = self.masked.as_mut().map(|masked| masked.next_mask());
        let frame = control_frame(opcode, payload, mask);
        match &mut self.control {
            None => {
                self.control = Some(Box::new(ControlQueue { frame, at: 0, next: None }));
                false
            }
            Some(queue) if queue.at == 0 => {
                queue.frame = frame;
                true
            }
            Some(queue) => queue.next.replace(frame).is_some(),
        }
    }

    /// Whether the bytes on the wire end with a whole frame, so that a control frame may follow.
    fn at_boundary(&self) -> bool {
        self.remaining == 0
            && self.header_at == self.header_len
            && self.masked.as_ref().is_none_or(|masked| masked.is_empty())
            && self.framed.as_ref().is_none_or(|framed| framed.is_at_boundary())
    }

    /// Writes waiting control frames, unless a data frame is in the middle.
    pub fn poll_control<S>(&mut self, io: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        S: AsyncWrite + Unpin,
    {
        if !self.at_boundary() {
            return Poll::Ready(Ok(()));
        }
        while let Some(queue) = &mut self.control {
            let written = ready!(Pin::new(&mut *io).poll_write(cx, &queue.frame[queue.at..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.flush_due = true;
            queue.at += written;
            if queue.at < queue.frame.len() {
                continue;
            }
            match queue.next.take() {
                Some(next) => (queue.frame, queue.at) = (next, 0),
                None => self.control = None,
            }
        }
        if self.flush_due {
            ready!(Pin::new(io).poll_flush(cx))?;
            self.flush_due = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes from `bufs`: one frame for all of them, in one call of the stream below.
    ///
    /// Bytes announced by a frame that went out in part continue it, whichever call brings them.
    pub fn poll_write<S>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>>
    where
        S: AsyncWrite + Unpin,
    {
        if self.masked.is_some() {
            return self.poll_write_masked(io, cx, bufs);
        }
        if self.framed.is_some() {
            return self.poll_write_framed(io, cx, bufs);
        }
        loop {
            if self.at_boundary() {
                ready!(self.poll_control(io, cx))?;
                self.refuse_after_close()?;
                if !self.start_frame(bufs)? {
                    return Poll::Ready(Ok(0));
                }
            }
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = self.gather(bufs, &mut slices);
            let written = ready!(Pin::new(&mut *io).poll_write_vectored(cx, &slices[..count]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_header = written.min(usize::from(self.header_len - self.header_at));
            self.header_at += of_header as u8;
            let taken = written - of_header;
            self.remaining -= taken as u64;
            if taken > 0 {
                return Poll::Ready(Ok(taken));
            }
        }
    }

    /// Writes out what `poll_write` took and kept, and waiting control frames.
    pub fn poll_flush<S>(&mut self, io: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        S: AsyncWrite + Unpin,
    {
        if let Some(masked) = &mut self.masked {
            ready!(masked.poll_drain(io, cx))?;
        }
        if let Some(framed) = &mut self.framed {
            ready!(framed.poll_drain(io, cx))?;
        }
        ready!(self.poll_control(io, cx))?;
        Pin::new(io).poll_flush(cx)
    }

    fn poll_write_framed<S>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>>
    where
        S: AsyncWrite + Unpin,
    {
        if let Some(framed) = &mut self.framed {
            ready!(framed.poll_drain(io, cx))?;
        }
        ready!(self.poll_control(io, cx))?;
        self.refuse_after_close()?;
        let Some(framed) = &mut self.framed else { return Poll::Ready(Ok(0)) };
        let taken = framed.add(bufs)?;
        match framed.poll_drain(io, cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(taken)),
        }
    }

    fn poll_write_masked<S>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>>
    where
        S: AsyncWrite + Unpin,
    {
        if let Some(masked) = &mut self.masked {
            ready!(masked.poll_drain(io, cx))?;
        }
        ready!(self.poll_control(io, cx))?;
        self.refuse_after_close()?;
        let Some(masked) = &mut self.masked else { return Poll::Ready(Ok(0)) };
        let taken = masked.add_frame(bufs)?;
        match masked.poll_drain(io, cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(taken)),
        }
    }

    fn refuse_after_close(&self) -> io::Result<()> {
        if self.closing { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }

    /// Makes the header of the next frame; false if there is nothing to put into it.
    fn start_frame(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<bool> {
        let offered: u64 = bufs.iter().take(SLICES_MAX - 1).map(|buf| buf.len() as u64).sum();
        let length = offered.min(FRAME_BYTES_MAX);
        if length == 0 {
            return Ok(false);
        }
        let header = FrameHeader { opcode: OpCode::Data(Data::Binary), ..FrameHeader::default() };
        let mut rest = &mut self.header[..];
        header.format(length, &mut rest).map_err(io::Error::other)?;
        let left = rest.len();
        self.header_len = (HEADER_BYTES_MAX - left) as u8;
        self.header_at = 0;
        self.remaining = length;
        Ok(true)
    }

    /// Fills `slices` with what is left of the header and as much payload as was announced; says how many.
    fn gather<'a>(&'a self, bufs: &'a [IoSlice<'a>], slices: &mut [IoSlice<'a>; SLICES_MAX]) -> usize {
        let header = &self.header[usize::from(self.header_at)..usize::from(self.header_len)];
        let mut count = 0;
        if !header.is_empty() {
            slices[0] = IoSlice::new(header);
            count = 1;
        }
        let mut left = usize::try_from(self.remaining).unwrap_or(usize::MAX);
        for buf in bufs {
            if left == 0 || count == SLICES_MAX {
                break;
            }
            let take = left.min(buf.len());
            slices[count] = IoSlice::new(&buf[..take]);
            count += 1;
            left -= take;
        }
        count
    }
}

/// A whole control frame; `payload` is at most 125 bytes.
fn control_frame(opcode: Control, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let opcode: u8 = OpCode::Control(opcode).into();
    let masked_bit = if mask.is_some() { 0x80 } else { 0 };
    let mut frame = vec![0x80 | opcode, masked_bit | payload.len() as u8];
    let key = mask.unwrap_or_default();
    frame.extend_from_slice(if mask.is_some() { &key } else { &[] });
    let start = frame.len();
    frame.extend_from_slice(payload);
    super::mask::apply(u32::from_le_bytes(key), &mut frame[start..]);
    frame
}
