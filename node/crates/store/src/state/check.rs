//! Whether a step may happen at all: decided before any of its ops leaves a trace.

use std::sync::Arc;

use weir_model::UnixMillis;

use super::queue::Slot;
use super::session::Session;
use super::{Batch, State};
use crate::config::QueueFull;
use crate::{Enqueue, Fence, Owner, Refusal, SessionKey, SessionKind, SessionOp, Will};

/// What the ops of a step before the one in hand will have changed.
struct Ahead {
    /// The session is opened or ended by this very step, so no fence the caller knows is valid.
    changed_hands: bool,
    messages: i64,
    bytes: i64,
}

impl State {
    pub(super) fn check(&self, key: &SessionKey, ops: &[SessionOp], batch: &Batch) -> Result<(), Refusal> {
        let mut ahead = Ahead { changed_hands: false, messages: 0, bytes: 0 };
        for op in ops {
            if let (Some(refusal), SessionOp::Enqueue(_)) = (batch.refused, op) {
                return Err(refusal);
            }
            if !batch.may_grow && grows(op) && !self.resumes(key, op, batch.wall) {
                return Err(Refusal::DiskFull);
            }
            self.check_op(key, op, batch.wall, &mut ahead)?;
        }
        Ok(())
    }

    fn check_op(
        &self,
        key: &SessionKey,
        op: &SessionOp,
        now: UnixMillis,
        ahead: &mut Ahead,
    ) -> Result<(), Refusal> {
        match op {
            SessionOp::Open(open) => {
                ahead.changed_hands = true;
                self.check_owner(key, open.owner.as_ref(), now)
            }
            SessionOp::Enqueue(enqueue) => self.check_room(key, enqueue, ahead),
            SessionOp::GroupAck { number } => {
                self.note_ack(key, *number, ahead);
                Ok(())
            }
            SessionOp::Ack { fence, number } => {
                self.note_ack(key, *number, ahead);
                self.check_fence(key, *fence, ahead)
            }
            SessionOp::Subscribe { fence, .. }
            | SessionOp::Unsubscribe { fence, .. }
            | SessionOp::Pubrec { fence, .. }
            | SessionOp::Receive { fence, .. }
            | SessionOp::Release { fence, .. }
            | SessionOp::ClearWill { fence }
            | SessionOp::Detach { fence, .. } => self.check_fence(key, *fence, ahead),
            SessionOp::Renew { fence, owner } => {
                self.check_fence(key, *fence, ahead)?;
                self.check_owner(key, Some(owner), now)
            }
            SessionOp::End { generation, fence } => {
                let session = self.session(key).filter(|session| session.generation == *generation);
                if session.is_some_and(|session| fence.is_some_and(|fence| fence != session.fence)) {
                    return Err(Refusal::Fenced);
                }
                ahead.changed_hands |= session.is_some();
                Ok(())
            }
            SessionOp::FireWill { .. } | SessionOp::OutboxDone { .. } => Ok(()),
        }
    }

    fn check_fence(&self, key: &SessionKey, fence: Fence, ahead: &Ahead) -> Result<(), Refusal> {
        match self.session(key) {
            Some(session) if session.fence() == fence && !ahead.changed_hands => Ok(()),
            _ => Err(Refusal::Fenced),
        }
    }

    fn check_owner(
        &self,
        key: &SessionKey,
        owner: Option<&Arc<Owner>>,
        now: UnixMillis,
    ) -> Result<(), Refusal> {
        let is_other = |session: &Session| Owner::user_id(session.owner.as_ref()) != Owner::user_id(owner);
        match self.session(key) {
            Some(session) if is_other(session) && !session.has_expired(now) => Err(Refusal::NotOwner),
            _ => Ok(()),
        }
    }

    /// Whether a session is taken up again with no larger a will than it has: who comes to drain a queue
    /// must be let in on a full disk.
    fn resumes(&self, key: &SessionKey, op: &SessionOp, now: UnixMillis) -> bool {
        let (SessionOp::Open(open), Some(session)) = (op, self.session(key)) else { return false };
        let bytes = |will: Option<&Will>| will.map_or(0, |will| will.message.size_bytes());
        let is_kept = session.persistent && !session.has_expired(now) && !open.clean_start;
        is_kept && bytes(open.will.as_ref()) <= bytes(session.will.as_deref())
    }

    /// Only where a full queue refuses its publisher; the other policies always let a step through.
    fn check_room(&self, key: &SessionKey, enqueue: &Enqueue, ahead: &mut Ahead) -> Result<(), Refusal> {
        if self.rules.queue_full != QueueFull::Refuse {
            return Ok(());
        }
        let session = self.session(key);
        if key.kind == SessionKind::Client && session.is_none_or(|s| s.generation != enqueue.generation) {
            return Ok(());
        }
        let kept = session.and_then(|session| session.kept());
        if enqueue.id.is_some_and(|id| kept.is_some_and(|kept| kept.seen.contains(&id))) {
            return Ok(());
        }
        ahead.messages += 1;
        ahead.bytes += enqueue.delivery.message.size_bytes() as i64;
        let (messages, bytes) = kept.map_or((0, 0), |kept| (kept.queue.messages(), kept.queue.bytes()));
        let fits = |now: u64, more: i64, max: u64| now.saturating_add_signed(more) <= max;
        let fits_here = fits(messages, ahead.messages, self.rules.queue_messages_max)
            && fits(bytes, ahead.bytes, self.rules.queue_bytes_max);
        if !fits_here {
            return Err(Refusal::QueueRefuses);
        }
        let (messages, bytes) = self.account.owed();
        let fits_in_all = fits(messages, ahead.messages, self.rules.queued_messages_total_max)
            && fits(bytes, ahead.bytes, self.rules.queued_bytes_total_max);
        if fits_in_all { Ok(()) } else { Err(Refusal::QueuesFull) }
    }

    fn note_ack(&self, key: &SessionKey, number: u64, ahead: &mut Ahead) {
        let kept = self.session(key).and_then(|session| session.kept());
        match kept.map_or(Slot::Gone, |kept| kept.queue.get(number)) {
            Slot::Gone => {}
            Slot::Released => ahead.messages -= 1,
            Slot::Waiting { bytes, .. } => {
                ahead.messages -= 1;
                ahead.bytes -= i64::from(bytes);
            }
        }
    }
}

/// Whether an op needs more room than it frees. Acknowledgements, releases, detaches and ends go
/// through on a full disk: they are what makes room.
fn grows(op: &SessionOp) -> bool {
    match op {
        SessionOp::Open(open) => open.persistent || open.will.is_some(),
        SessionOp::Subscribe { .. } | SessionOp::Enqueue(_) => true,
        SessionOp::Receive { .. } | SessionOp::Renew { .. } => true,
        _ => false,
    }
}
