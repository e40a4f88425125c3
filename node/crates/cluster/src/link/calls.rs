//! Messages about remote procedure calls: in order, once, and never dropped; a full link refuses new calls first.

use std::sync::atomic::Ordering;

use bytes::{Buf, Bytes};

use super::wire::{CALLS, Violation};
use super::{Full, Link};

/// How much of the room for calls a message may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// A new call, progress: half of it.
    Begins,
    /// A result: all of it.
    Ends,
    /// A short message without which the other end does not know what is so: twice as much.
    Settles,
}

impl Link {
    /// Whether the peer knows of calls; one of an earlier version does not.
    pub fn takes_calls(&self) -> bool {
        self.takes_calls.load(Ordering::Relaxed)
    }

    /// Sends a message about calls. Those of one `order` keep theirs whatever their size.
    ///
    /// # Errors
    /// [`Full`]: nothing was taken, for lack of room, or because the peer does not know of calls.
    pub fn push_call(&self, order: u64, message: &[u8], urgency: Urgency) -> Result<(), Full> {
        if !self.takes_calls() {
            return Err(Full);
        }
        let most = self.config.calls_bytes_max;
        let bytes_max = match urgency {
            Urgency::Begins => most / 2,
            Urgency::Ends => most,
            Urgency::Settles => most.saturating_mul(2),
        };
        let len = u32::try_from(message.len()).map_err(|_| Full)?;
        let mut run = Vec::with_capacity(4 + message.len());
        run.extend_from_slice(&len.to_le_bytes());
        run.extend_from_slice(message);
        let out = &self.outbound[CALLS];
        if let Some(outbound) = out.waiting.lock().as_mut() {
            let pushed = outbound.push_sure_within(order, &run, bytes_max);
            pushed.inspect_err(|_| self.meters.full.increment(1))?;
        }
        out.unsent.notify_one();
        Ok(())
    }
}

/// The messages of a run, each behind its length (4 bytes, little-endian).
///
/// # Errors
/// One ends early.
pub(super) fn split(mut run: Bytes) -> Result<Vec<Bytes>, Violation> {
    let mut messages = Vec::new();
    while !run.is_empty() {
        let wrong = Violation::Message { what: "a message about calls ends early" };
        let len = run.try_get_u32_le().map_err(|_| wrong.clone())? as usize;
        if len > run.len() {
            return Err(wrong);
        }
        messages.push(run.split_to(len));
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_of_a_run_as_they_went_in() {
        let run = Bytes::from_static(b"\x02\0\0\0ab\0\0\0\0\x01\0\0\0c");
        assert_eq!(split(run).unwrap(), [&b"ab"[..], b"", b"c"]);
    }

    #[test]
    fn a_run_that_ends_early_is_refused() {
        assert!(split(Bytes::from_static(b"\x05\0\0\0ab")).is_err());
        assert!(split(Bytes::from_static(b"\x05\0")).is_err());
    }
}
