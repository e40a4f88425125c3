//! The connection loop, written once: bytes from a socket to a channel, frames from an outbox to the
//! socket, one read and one write for many messages.
//!
//! A steady connection holds no buffer: it reads into the thread's, and keeps only a frame that is
//! not whole yet. Nothing here awaits the store; what must wait is polled beside reading and writing.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use weir_broker::Session;
use weir_broker::outbox::{Chunk, Limits};
use weir_net::Stream;

use crate::pace::Pace;

/// What one read takes at most.
const READ_BYTES: usize = 64 << 10;

/// A kept partial frame up to this size is moved in front of the next read.
const PARTIAL_BYTES: usize = 8 << 10;

/// Chunks written by one system call.
const SLICES: usize = 16;

/// Reads and writes in a row before others on the thread have their turn.
const ROUNDS: usize = 8;

/// A turn that has taken this long ends, whatever is left to do: what a few bytes may ask for, copies to
/// thousands or matches among very many filters, is not told by their number.
const TURN: Duration = Duration::from_millis(1);

/// A publisher waits this long at most before it looks again whether its receiver lives.
const PRESSED: Duration = Duration::from_millis(20);

/// The same for the link to another node, which empties fast.
const PRESSED_BY_PEER: Duration = Duration::from_millis(2);

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES + PARTIAL_BYTES].into());
}

/// What a channel wants after it took bytes or woke.
pub enum Flow {
    Continue,
    /// Its run is full, or one receiver must be waited for: push before more is taken.
    Push,
    /// Something outside must happen first; its result goes back to [`Channel::resume`].
    Work(BoxFuture<'static, Work>),
    /// The connection ends; last words are in the answer buffer.
    End,
}

/// The result of a channel's work, applied to it.
pub type Work = Box<dyn std::any::Any + Send>;

/// A protocol's side of a connection.
pub trait Channel: Send {
    fn session(&self) -> &Arc<Session>;

    /// The number under which the session knows this connection.
    fn connection(&self) -> u64;

    fn limits(&self) -> &Limits;

    /// So many bytes were read.
    fn read(&mut self, bytes: usize);

    /// Called at each turn while a large part of a packet is here and the rest is not: when memory is
    /// short its time is limited, or it is held.
    fn half_received(&mut self);

    /// Takes whole frames from the front of `bytes`; answers go to `out`. Returns how many bytes were taken.
    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> (usize, Flow);

    /// Bytes the first frame of `bytes` wants in all, if that can be told.
    fn wants(&self, bytes: &[u8]) -> usize;

    /// Hears bells, finishes commits, sends deliveries: all that is not reading.
    fn wake(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Flow;

    /// Goes on after [`Flow::Work`].
    fn resume(&mut self, work: Work, out: &mut Vec<u8>) -> Flow;

    /// Bytes of answers that may wait before no more is taken.
    fn answer_bytes_max(&self) -> usize;

    /// Counts the limit for which it is read no further, `answers_wait` or one of its own; false when
    /// there is none.
    fn note_limit(&self, answers_wait: bool) -> bool;

    /// A receiver that publishing should wait for.
    fn pressed_by(&self) -> Option<Arc<Session>>;

    /// Pushes what was taken to its receivers.
    fn push(&mut self);

    /// Whether no more may be taken for now.
    fn is_full(&self) -> bool;

    /// Takes the frames that wait in the outbox, as this client wants them.
    fn frames(&mut self) -> VecDeque<Chunk>;

    /// The rates it is held to, if there are any.
    fn pace(&mut self) -> Option<&mut Pace>;

    /// Counts are settled after each turn.
    fn settle(&mut self);
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The channel said its last words: write them, then close gracefully.
    Said,
    /// The socket is gone, or the peer closed it.
    Lost,
}

pub struct Connection<C> {
    pub stream: Stream,
    pub channel: C,
    /// Answers and numbered deliveries, not yet on their way.
    pub out: Vec<u8>,
    /// What is being written, in order.
    writing: VecDeque<Chunk>,
    unflushed: bool,
    /// The beginning of a frame, or bytes that wait for their turn.
    partial: Vec<u8>,
    /// `partial` may hold whole frames.
    again: bool,
    /// A limit keeps it from being read, which has been counted.
    limited: bool,
    pressed: Option<Box<Pressed>>,
    work: Option<BoxFuture<'static, Work>>,
}

struct Pressed {
    by: Arc<Session>,
    until: Pin<Box<Sleep>>,
}

impl<C: Channel> Connection<C> {
    /// `partial`: bytes that came with the handshake.
    pub fn new(stream: Stream, channel: C, partial: Vec<u8>) -> Connection<C> {
        let again = !partial.is_empty();
        Connection {
            stream,
            channel,
            out: Vec::new(),
            writing: VecDeque::new(),
            unflushed: false,
            partial,
            again,
            limited: false,
            pressed: None,
            work: None,
        }
    }

    /// Runs until the connection ends.
    pub async fn run(&mut self) -> End {
        std::future::poll_fn(|cx| self.turn(cx)).await
    }

    /// Writes last words; bounded by the caller's patience.
    pub async fn finish_writing(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| {
            while !(self.out.is_empty() && self.writing.is_empty()) {
                ready!(self.write_once(cx, usize::MAX))?;
            }
            Pin::new(&mut self.stream).poll_flush(cx)
        })
        .await
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let ends = Instant::now() + TURN;
        for _ in 0..ROUNDS {
            self.channel.session().outbox.register(self.channel.connection(), cx);
            let mut progress = match self.wake(cx) {
                Ok(progress) => progress,
                Err(end) => return Poll::Ready(end),
            };
            match self.write(cx) {
                Ok(wrote) => progress |= wrote,
                Err(_) => return Poll::Ready(End::Lost),
            }
            match self.read(cx, ends) {
                Ok(took) => progress |= took,
                Err(end) => return Poll::Ready(end),
            }
            if !progress {
                self.channel.session().outbox.has_read_out(self.channel.connection());
                self.channel.settle();
                return Poll::Pending;
            }
            if Instant::now() >= ends {
                break;
            }
        }
        self.channel.settle();
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Everything but the socket. Returns whether something moved that may free reading.
    fn wake(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let mut progress = false;
        if let Some(work) = &mut self.work
            && let Poll::Ready(done) = work.as_mut().poll(cx)
        {
            self.work = None;
            let flow = self.channel.resume(done, &mut self.out);
            self.follow(flow)?;
            progress = true;
        }
        if self.partial.len() > PARTIAL_BYTES && !self.again {
            self.channel.half_received();
        }
        let flow = self.channel.wake(cx, &mut self.out);
        self.follow(flow)?;
        if self.pressed.is_some() {
            progress |= self.relieved(cx);
        }
        Ok(progress)
    }

    fn follow(&mut self, flow: Flow) -> Result<(), End> {
        match flow {
            Flow::Continue => {}
            Flow::Push => self.push(),
            Flow::Work(work) => self.work = Some(work),
            Flow::End => return Err(End::Said),
        }
        Ok(())
    }

    /// Pushes the channel's run, unless a receiver should be waited for first.
    fn push(&mut self) {
        match self.channel.pressed_by() {
            Some(by) => {
                let patience = if by.peer.is_some() { PRESSED_BY_PEER } else { PRESSED };
                let until = Box::pin(tokio::time::sleep(patience));
                self.pressed = Some(Box::new(Pressed { by, until }));
            }
            None => self.channel.push(),
        }
    }

    /// Whether the receiver waited for has room again, or does not live any more.
    fn relieved(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(pressed) = &mut self.pressed else { return true };
        let timed_out = pressed.until.as_mut().poll(cx).is_ready();
        let waits = pressed.by.wait_until_low(cx.waker(), self.channel.limits());
        if waits && !timed_out {
            return false;
        }
        self.pressed = None;
        self.push();
        // A new wait wants its timer polled once; the loop comes back here.
        true
    }

    fn write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut wrote = false;
        loop {
            if self.writing.is_empty() && !self.gather() {
                break;
            }
            let room = self.channel.pace().map_or(usize::MAX, |pace| pace.write_room());
            if room == 0 {
                break;
            }
            match self.write_once(cx, room) {
                Poll::Ready(written) => written?,
                Poll::Pending => return Ok(wrote),
            }
            wrote = true;
        }
        if self.unflushed {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Ready(flushed) => {
                    flushed?;
                    self.unflushed = false;
                }
                Poll::Pending => {}
            }
        }
        Ok(wrote)
    }

    /// Takes answers, then waiting frames; false when there is nothing to write.
    fn gather(&mut self) -> bool {
        if !self.out.is_empty() {
            self.writing.push_back(Chunk::copied(std::mem::take(&mut self.out)));
        }
        let mut frames = self.channel.frames();
        if self.writing.is_empty() {
            self.writing = frames;
        } else {
            self.writing.append(&mut frames);
        }
        !self.writing.is_empty()
    }

    /// Writes `bytes_max` at most.
    fn write_once(&mut self, cx: &mut Context<'_>, mut bytes_max: usize) -> Poll<io::Result<()>> {
        if self.writing.is_empty() {
            self.writing.push_back(Chunk::copied(std::mem::take(&mut self.out)));
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = self.writing.len().min(SLICES);
        for (slice, chunk) in slices.iter_mut().zip(&self.writing) {
            let part = bytes_max.min(chunk.bytes().len());
            *slice = IoSlice::new(&chunk.bytes()[..part]);
            bytes_max -= part;
        }
        let mut written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..count]))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.unflushed = true;
        self.channel.session().outbox.progressed();
        if let Some(pace) = self.channel.pace() {
            pace.wrote(written);
        }
        while written > 0 {
            let Some(first) = self.writing.front_mut() else { break };
            let part = written.min(first.bytes().len());
            first.advance(part);
            written -= part;
            if first.bytes().is_empty() {
                self.writing.pop_front();
            }
        }
        if self.writing.is_empty() {
            self.writing = VecDeque::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Whether bytes may be taken in now.
    fn may_read(&self) -> bool {
        self.work.is_none() && self.pressed.is_none() && !self.answers_wait() && !self.channel.is_full()
    }

    /// Whether more answers wait than may.
    fn answers_wait(&self) -> bool {
        self.out.len() >= self.channel.answer_bytes_max()
    }

    fn read(&mut self, cx: &mut Context<'_>, ends: Instant) -> Result<bool, End> {
        if !self.may_read() {
            self.limited = self.limited || self.channel.note_limit(self.answers_wait());
            return Ok(false);
        }
        self.limited = false;
        if self.again {
            self.again = false;
            let bytes = std::mem::take(&mut self.partial);
            self.process(&bytes, ends)?;
            return Ok(true);
        }
        READ.with_borrow_mut(|buffer| {
            let kept = if self.partial.len() <= PARTIAL_BYTES { self.partial.len() } else { 0 };
            buffer[..kept].copy_from_slice(&self.partial[..kept]);
            let room = self.channel.pace().map_or(READ_BYTES, |pace| pace.read_room().min(READ_BYTES));
            let mut space = ReadBuf::new(&mut buffer[kept..kept + room]);
            match Pin::new(&mut self.stream).poll_read(cx, &mut space) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Err(_)) => return Err(End::Lost),
                Poll::Ready(Ok(())) => {}
            }
            let read = space.filled().len();
            if read == 0 {
                return Err(End::Lost);
            }
            self.channel.session().seen();
            self.channel.read(read);
            if kept == self.partial.len() {
                self.partial = Vec::new();
                self.process(&buffer[..kept + read], ends)?;
            } else {
                let wanted = self.channel.wants(&self.partial);
                self.partial_grows(read, wanted);
                self.partial.extend_from_slice(&buffer[..read]);
                // A large frame is looked at again when it is whole, not with each part of it.
                if self.partial.len() >= wanted {
                    let bytes = std::mem::take(&mut self.partial);
                    self.process(&bytes, ends)?;
                }
            }
            Ok(true)
        })
    }

    /// Gives bytes to the channel and keeps what it did not take, or has no time for in this turn.
    fn process(&mut self, mut bytes: &[u8], ends: Instant) -> Result<(), End> {
        loop {
            let (taken, flow) = self.channel.take(bytes, &mut self.out);
            bytes = &bytes[taken..];
            let whole = matches!(flow, Flow::Continue);
            self.follow(flow)?;
            if whole || !self.may_read() || Instant::now() >= ends {
                self.keep(bytes, !whole);
                break;
            }
        }
        if self.pressed.is_none() {
            self.push();
        }
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8], again: bool) {
        self.again = again && !bytes.is_empty();
        self.channel.session().set_half_received(!self.again && bytes.len() > PARTIAL_BYTES);
        if bytes.is_empty() {
            return;
        }
        let wanted = if self.may_read() { self.channel.wants(bytes) } else { 0 };
        self.partial_grows(bytes.len(), wanted);
        self.partial.extend_from_slice(bytes);
    }

    /// Makes room for `more` bytes, and for more of the `wanted` ones: as much again as has come, so that
    /// a few bytes that announce a large packet take no memory for it.
    fn partial_grows(&mut self, more: usize, wanted: usize) {
        let len = self.partial.len() + more;
        if self.partial.capacity() < len {
            let capacity = wanted.min(2 * len.max(PARTIAL_BYTES)).max(len);
            self.partial.reserve_exact(capacity - self.partial.len());
        }
    }
}
