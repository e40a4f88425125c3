//! The life of a session: opened, detached, ended, and its will.

use std::sync::Arc;
use std::time::Duration;

use weir_model::{Message, MessageId};

use super::session::{Owed, Session};
use super::{Batch, Effects, Slot, State, Timer};
use crate::row::{Detached, Kind, OutboxRow, Row, SessionRow, id_key, number_key, session_key, text_key};
use crate::{
    Detach, Open, Opened, OutboxEntry, Outcome, Owner, QueueEnds, SessionChange, SessionKey, SessionKind,
};

impl State {
    /// MQTT-3.1.2-4, MQTT-3.1.2-5, MQTT-3.1.3.2.2: resume or make anew. An expired session, and one
    /// that was to end with its connection, is not resumed.
    pub(super) fn open(&mut self, key: &SessionKey, open: Open, batch: &Batch, out: &mut Effects) -> Outcome {
        let now = batch.wall;
        let old = self
            .session(key)
            .map(|s| (s.generation, s.persistent && !s.has_expired(now), s.will_is_due(now)));
        let (mut fired, mut present) = (None, false);
        if let Some((generation, resumable, will_is_due)) = old {
            present = resumable && !open.clean_start;
            if !present || will_is_due {
                fired = self.fire_will(key, generation, None, batch, out);
            }
            if !present {
                self.remove(key, generation, out);
            }
        }
        let fence = self.next_number();
        if present {
            self.resume(key, fence, open, out)
        } else {
            self.make(key, fence, open, out)
        }
        self.set_home(key, batch.node);
        self.tell_opened(key, present, out);
        self.opened(key, present, fired)
    }

    fn make(&mut self, key: &SessionKey, fence: u64, open: Open, out: &mut Effects) {
        let recorded = open.persistent || open.will.is_some();
        let row = SessionRow {
            generation: self.next_number(),
            fence,
            owner: open.owner,
            persistent: open.persistent,
            expiry_seconds: open.expiry_seconds,
            will: open.will,
            detached: None,
        };
        self.families.entry(key.clone()).or_default().session = Some(Session::new(row, recorded));
        self.write_session(key, out);
    }

    fn resume(&mut self, key: &SessionKey, fence: u64, open: Open, out: &mut Effects) {
        self.stop_timers(key);
        if let Some(session) = self.session_mut(key) {
            session.fence = fence;
            session.owner = open.owner;
            session.persistent = open.persistent;
            session.expiry_seconds = open.expiry_seconds;
            session.will = open.will.map(Box::new);
        }
        self.write_resumed(key, out);
    }

    /// The answer shows how the last connection left the session; only then is that forgotten.
    fn write_resumed(&mut self, key: &SessionKey, out: &mut Effects) {
        let Some(session) = self.session(key).filter(|session| session.recorded) else { return };
        let row = SessionRow { detached: None, ..session.row() };
        out.put(session_key(key), Row::Session(Box::new(row)));
    }

    fn opened(&mut self, key: &SessionKey, present: bool, fired: Option<OutboxEntry>) -> Outcome {
        let Some(session) = self.session_mut(key) else { return Outcome::Gone };
        let sent = session.sent();
        session.detached = None;
        let fence = session.fence();
        let empty = QueueEnds { head: 1, ..QueueEnds::default() };
        let mut opened =
            Opened { fence, present, subscriptions: vec![], queue: empty, received: vec![], fired };
        if let Some(kept) = session.kept() {
            opened.subscriptions = kept.subscriptions.iter().map(|(f, o)| (f.clone(), *o)).collect();
            opened.queue = kept.queue.ends(sent);
            opened.received = kept.received.keys().copied().collect();
        }
        Outcome::Opened(Box::new(opened))
    }

    pub(super) fn detach(&mut self, key: &SessionKey, detach: Detach, out: &mut Effects) -> Outcome {
        self.stop_timers(key);
        let Some(session) = self.session_mut(key) else { return Outcome::Gone };
        let will_at = detach.will_at.filter(|_| session.will.is_some());
        let Detach { at, sent, expires_at, .. } = detach;
        session.detached = Some(Box::new(Detached { at, sent, expires_at, will_at }));
        let fence = session.fence();
        self.start_timers(key);
        self.write_session(key, out);
        self.set_home(key, 0);
        self.tell(key, out, || SessionChange::Detached { fence });
        Outcome::Done
    }

    pub(super) fn clear_will(&mut self, key: &SessionKey, out: &mut Effects) -> Outcome {
        if let Some(session) = self.session_mut(key)
            && session.will.take().is_some()
        {
            self.write_session(key, out);
        }
        Outcome::Done
    }

    pub(super) fn renew(&mut self, key: &SessionKey, owner: Arc<Owner>, out: &mut Effects) -> Outcome {
        if let Some(session) = self.session_mut(key) {
            session.owner = Some(owner);
            self.write_session(key, out);
            self.tell_opened(key, true, out);
        }
        Outcome::Done
    }

    /// Moves the will to the outbox; when that was done before, finds it there.
    pub(super) fn fire_will(
        &mut self,
        key: &SessionKey,
        generation: u64,
        fence: Option<u64>,
        batch: &Batch,
        out: &mut Effects,
    ) -> Option<OutboxEntry> {
        let is_meant = |session: &&mut Session| {
            session.generation == generation && fence.is_none_or(|fence| session.fence == fence)
        };
        let taken = self.session_mut(key).filter(is_meant);
        let Some((will, owner)) = taken.and_then(|s| Some((s.will.take()?, s.owner.clone()))) else {
            let owed = &self.families.get(key)?.owed;
            return owed.iter().rev().find(|owed| owed.generation == generation).map(Owed::entry);
        };
        self.stop_will_timer(key);
        self.write_session(key, out);
        let entry = self.next_number();
        let id = MessageId::outbox(self.meta.epoch, entry);
        let mut message = will.message;
        if let Some(seconds) = will.expiry_seconds {
            let expires_at = Some(batch.wall.after(Duration::from_secs(u64::from(seconds))));
            message = Arc::new(Message { expires_at, ..Message::clone(&message) });
        }
        let row =
            OutboxRow { key: key.clone(), generation, id, message: message.clone(), owner: owner.clone() };
        out.fresh(id_key(Kind::Outbox, entry), Row::Outbox(Box::new(row)));
        let owed = Owed { entry, generation, id, message, owner };
        let answer = owed.entry();
        self.families.entry(key.clone()).or_default().owed.push(owed);
        self.note_owing(key, entry, batch.wall);
        Some(answer)
    }

    pub(super) fn outbox_done(&mut self, key: &SessionKey, entry: u64, out: &mut Effects) -> Outcome {
        if let Some(family) = self.families.get_mut(key) {
            let before = family.owed.len();
            family.owed.retain(|owed| owed.entry != entry);
            if family.owed.len() < before {
                out.delete(id_key(Kind::Outbox, entry));
                self.forget_owing(entry);
            }
        }
        Outcome::Done
    }

    /// Everything of that generation goes, but what it still owes. A repeat finds nothing to do.
    pub(super) fn end(&mut self, key: &SessionKey, generation: u64, out: &mut Effects) -> Outcome {
        if self.remove(key, generation, out) {
            self.tell(key, out, || SessionChange::Ended { generation });
        }
        Outcome::Done
    }

    /// The same, of which the others are not told; false when there is nothing to do.
    fn remove(&mut self, key: &SessionKey, generation: u64, out: &mut Effects) -> bool {
        if self.session(key).is_none_or(|session| session.generation != generation) {
            return false;
        }
        self.stop_timers(key);
        let Some(mut session) = self.families.get_mut(key).and_then(|family| family.session.take()) else {
            return false;
        };
        if let Some(kept) = session.take_kept() {
            for filter in kept.subscriptions.keys().filter(|_| session.recorded) {
                out.delete(text_key(Kind::Subscription, generation, filter.as_str()));
            }
            for packet_id in kept.received.keys().filter(|_| session.recorded) {
                out.delete(number_key(Kind::Received, generation, u64::from(*packet_id)));
            }
            for place in (0..kept.seen.places(self.rules.dedup_ids_max)).filter(|_| session.recorded) {
                out.delete(number_key(Kind::Seen, generation, place));
            }
            self.account.ended += kept.queue.messages();
            self.account.queued_messages -= kept.queue.messages();
            self.account.queued_bytes -= kept.queue.bytes();
            let rows: Vec<(u64, Slot)> = kept.queue.rows().collect();
            for (number, slot) in rows {
                out.delete(number_key(Kind::Queue, generation, number));
                self.drop_reference(slot, out);
            }
            if key.kind == SessionKind::Group && kept.queue.tail() > self.meta.group_base {
                self.meta.group_base = kept.queue.tail();
                self.meta_changed = true;
            }
        }
        if session.recorded {
            out.delete(id_key(Kind::Ends, generation));
            out.delete(session_key(key));
        }
        self.note_home(key, session.home, 0);
        true
    }

    pub(super) fn start_timers(&mut self, key: &SessionKey) {
        let Some(detached) = self.session(key).and_then(|s| s.detached.as_deref().copied()) else { return };
        if let Some(at) = detached.will_at {
            self.timers.start(at, Timer::Will(key.clone()));
        }
        if let Some(at) = detached.expires_at {
            self.timers.start(at, Timer::Expiry(key.clone()));
        }
    }

    fn stop_timers(&mut self, key: &SessionKey) {
        let Some(detached) = self.session(key).and_then(|s| s.detached.as_deref().copied()) else { return };
        if let Some(at) = detached.will_at {
            self.timers.stop(at, Timer::Will(key.clone()));
        }
        if let Some(at) = detached.expires_at {
            self.timers.stop(at, Timer::Expiry(key.clone()));
        }
    }

    fn stop_will_timer(&mut self, key: &SessionKey) {
        let Some(detached) = self.session_mut(key).and_then(|s| s.detached.as_deref_mut()) else { return };
        if let Some(at) = detached.will_at.take() {
            self.timers.stop(at, Timer::Will(key.clone()));
        }
    }
}
