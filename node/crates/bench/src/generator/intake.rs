//! Reading one of many connections through the thread's one large buffer.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use weir_net::Stream;

use super::walk::{Frame, PREFIX_BYTES_MAX, Walker};

/// What one read takes at most, beside what was left over of the last one.
const READ_BYTES: usize = 256 * 1024;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; PREFIX_BYTES_MAX + READ_BYTES]);
}

/// The receiving side of one connection.
#[derive(Debug, Default)]
pub(super) struct Intake {
    walker: Walker,
    /// Bytes the handshake has read too many.
    early: Vec<u8>,
}

impl Intake {
    pub(super) fn new(early: Vec<u8>) -> Intake {
        Intake { walker: Walker::default(), early }
    }

    /// Reads once and calls `each` for every frame. Ready with whether more may be waiting.
    ///
    /// # Errors
    ///
    /// A closed or broken connection, and bytes that are not MQTT.
    pub(super) fn poll(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
        mut each: impl FnMut(Frame<'_>),
    ) -> Poll<io::Result<bool>> {
        if !self.early.is_empty() {
            let early = std::mem::take(&mut self.early);
            self.walker.walk(&early, each).map_err(io::Error::other)?;
            return Poll::Ready(Ok(true));
        }
        BUFFER.with_borrow_mut(|buffer| {
            let kept = self.walker.restore(buffer);
            let mut free = ReadBuf::new(&mut buffer[kept..]);
            ready!(Pin::new(stream).poll_read(cx, &mut free))?;
            let (count, is_full) = (free.filled().len(), free.remaining() == 0);
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            self.walker.walk(&buffer[..kept + count], &mut each).map_err(io::Error::other)?;
            Poll::Ready(Ok(is_full))
        })
    }
}
