//! Publishes that the desk of their topic decides, in a connection's line: they ask, may come to wait beside the line, and
//! are answered.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use weir_model::{Level, Message, MessageId, Qos, Reason};

use super::claim::{self, Claim};
use super::level::Reached;
use super::line::{Owed, Stage, Waiting};
use super::{Active, Answering, Landed, Publisher, Verdict};
use crate::ledger::Refused;
use crate::sync::ask::{Asking, Request};
use crate::sync::ticket::{Decided, Progress};

impl Publisher {
    /// Whether a publish may have the conditions it has.
    pub(super) fn may_ask(&self, owed: &Owed, answering: Answering) -> Result<(), Reason> {
        let Some(conditions) = &owed.conditions else { return Ok(()) };
        let message = &owed.message;
        let is_answered = answering != Answering::Nothing && message.qos > Qos::AtMostOnce;
        conditions.check(is_answered, message.retain, &message.topic, owed.due.is_some())?;
        let asks = |waiting: &&Waiting| waiting.stage.may_wait();
        let waiting = |active: &Active| active.parked.len() + active.line.iter().filter(asks).count();
        let parked = self.active.as_deref().map_or(0, waiting);
        if conditions.watch && parked >= self.broker.config().waiters_per_session_max {
            return Err(Reason::Quota);
        }
        Ok(())
    }

    /// Puts a publish before the desk. `noted`: its id, when it is of QoS 2 and its session's slot knows it.
    pub(super) fn ask_desk(&self, owed: &Owed, answering: Answering, noted: Option<MessageId>) -> Stage {
        let Owed { message, level, conditions, .. } = owed;
        let key = claim::key_of(message.properties.as_deref());
        let request = match (key, noted, answering) {
            (Some(key), ..) => Request::Key(claim::whose(&self.principal, key)),
            (None, Some(id), _) => Request::Received(id),
            (None, None, Answering::Puback(packet_id)) if self.session.stored.is_some() => {
                Request::Packet { packet_id, digest: digest(message) }
            }
            _ => Request::Once,
        };
        let is_plain = conditions.is_none() && key.is_none();
        let asking = Asking {
            message,
            conditions: conditions.as_deref(),
            session: Some(&self.session),
            id: noted,
            request: if is_plain { Request::Once } else { request },
            level: *level,
        };
        let ticket = self.broker.decide(&self.realm, asking);
        Stage::Deciding { message: message.clone(), ticket, claim: None }
    }

    /// The same for one without conditions, at a topic where others have them.
    pub(super) fn ask_plainly(
        &self,
        message: Arc<Message>,
        id: Option<MessageId>,
        level: Option<Level>,
        claim: Option<Claim>,
    ) -> Stage {
        let session = Some(&self.session);
        let asking =
            Asking { message: &message, conditions: None, session, id, request: Request::Once, level };
        let ticket = self.broker.decide(&self.realm, asking);
        Stage::Deciding { message, ticket, claim }
    }

    /// The next publish that had to wait and has been decided.
    pub(super) fn unparked(&mut self) -> Option<(Answering, Verdict)> {
        let parked = &mut self.active.as_mut()?.parked;
        let is_decided = |waiting: &Waiting| match &waiting.stage {
            Stage::Deciding { ticket, .. } => matches!(ticket.progress(), Progress::Decided(_)),
            _ => true,
        };
        let at = parked.iter().position(is_decided)?;
        let Waiting { answering, level, stage, .. } = parked.remove(at);
        let Stage::Deciding { message, ticket, claim } = stage else {
            return Some((answering, Verdict::Lost));
        };
        self.active.get_or_insert_default().messages -= 1;
        let decided = ticket.abandon().unwrap_or(Decided::Lost);
        Some((answering, self.finish_decided((message, claim), answering, level, decided)))
    }

    /// Counts a publish that was decided, and says what its publisher hears.
    pub(super) fn finish_decided(
        &mut self,
        (message, claim): (Arc<Message>, Option<Claim>),
        answering: Answering,
        level: Option<Level>,
        decided: Decided,
    ) -> Verdict {
        let (position, repeated, copies) = match decided {
            Decided::Accepted { position, repeated, copies } => (position, repeated, copies),
            Decided::Refused(reason) => {
                self.broker.ledger().refuse(reason.into());
                return Verdict::Refused(reason);
            }
            Decided::Lost => {
                self.broker.ledger().refuse(Refused::Unknown);
                return Verdict::Lost;
            }
        };
        self.tally.accepted += 1;
        self.tally.matched += copies;
        self.tally.unmatched += u64::from(copies == 0);
        if let Answering::Pubrec(packet_id) = answering {
            self.session.fanned_out(packet_id, true);
        }
        let is_claimed = claim.is_some();
        self.settle_claim(claim, &message);
        let active = self.active.get_or_insert_default();
        active.reached = level.map(Reached::Level);
        active.landed = Landed { position: position.filter(|_| !repeated), repeated };
        if !is_claimed {
            active.position = position;
        }
        Verdict::Accepted { matched: copies > 0 || repeated }
    }

    /// The connection is over: what waits beside the line is left to the desk, or was decided just now.
    pub(super) fn leave_parked(&mut self) {
        let Some(active) = &mut self.active else { return };
        for waiting in std::mem::take(&mut active.parked) {
            active.messages -= 1;
            let Stage::Deciding { ticket, .. } = waiting.stage else { continue };
            match ticket.abandon() {
                Some(Decided::Accepted { copies, .. }) => {
                    self.tally.accepted += 1;
                    self.tally.matched += copies;
                    self.tally.unmatched += u64::from(copies == 0);
                }
                Some(Decided::Refused(reason)) => self.broker.ledger().refuse(reason.into()),
                Some(Decided::Lost) => self.broker.ledger().refuse(Refused::Unknown),
                None => self.broker.ledger().refuse(Refused::LeftWaiting),
            }
        }
    }
}

impl Active {
    /// A message of the line waits beside it from now on.
    pub(super) fn park(&mut self, at: usize) {
        let Some(waiting) = self.line.remove(at) else { return };
        self.line_bytes -= waiting.bytes;
        self.preparing -= 1;
        self.holding -= 1;
        self.parked.push(waiting);
    }
}

/// What a publish of QoS 1 brings: its packet id may be used again for another one.
fn digest(message: &Message) -> u64 {
    // Without a key of its own process: other nodes come to the same.
    let mut hasher = DefaultHasher::new();
    message.payload.hash(&mut hasher);
    message.retain.hash(&mut hasher);
    let user = message.properties.iter().flat_map(|properties| &properties.user);
    user.for_each(|property| property.hash(&mut hasher));
    hasher.finish()
}
