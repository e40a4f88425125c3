//! What happens to a session's subscriptions, queue and received packet ids.

use weir_model::{Filter, MessageId};

use super::session::Session;
use super::{Batch, Effects, Slot, State, USES_RESERVE};
use crate::canary;
use crate::config::QueueFull;
use crate::row::{Kind, Row, Seen, SessionRow, id_key, number_key, text_key};
use crate::{Delivery, Enqueue, Outcome, SessionKey, SessionKind, SubscriptionOptions};

impl State {
    pub(super) fn subscribe(
        &mut self,
        key: &SessionKey,
        filter: Filter,
        options: Option<SubscriptionOptions>,
        out: &mut Effects,
    ) -> Outcome {
        let Some(session) = self.session_mut(key) else { return Outcome::Gone };
        let (generation, recorded) = (session.generation, session.recorded);
        let row_key = || text_key(Kind::Subscription, generation, filter.as_str());
        match options {
            Some(options) => {
                if recorded {
                    out.put(row_key(), Row::Subscription(options));
                }
                session.kept_mut().subscriptions.insert(filter, options);
            }
            None => {
                let known = session.kept_mut().subscriptions.remove(&filter).is_some();
                if known && recorded {
                    out.delete(row_key());
                }
            }
        }
        Outcome::Done
    }

    pub(super) fn enqueue(
        &mut self,
        key: &SessionKey,
        enqueue: Enqueue,
        batch: &mut Batch,
        out: &mut Effects,
    ) -> Outcome {
        match (key.kind, self.session(key)) {
            (SessionKind::Client, Some(session)) if session.generation == enqueue.generation => {}
            (SessionKind::Client, _) => return Outcome::Gone,
            (SessionKind::Group, Some(_)) => {}
            (SessionKind::Group, None) => self.make_group(key, out),
        }
        let size = enqueue.delivery.message.size_bytes();
        let bytes = u32::try_from(size).unwrap_or(u32::MAX);
        if self.has_seen(key, enqueue.id) || canary::drops() {
            return Outcome::Duplicate;
        }
        let Some(dropped) = self.make_room(key, bytes, out) else {
            out.dropped += 1;
            return Outcome::QueueFull;
        };
        self.remember(key, enqueue.id, out);
        let body = self.body_for(&enqueue.delivery, batch, out);
        let Some(session) = self.session_mut(key) else { return Outcome::Gone };
        let number = session.kept_mut().queue.push(bytes, body);
        if body == 0 && canary::doubles(enqueue.delivery.qos) {
            let twin = session.kept_mut().queue.push(bytes, body);
            let row = Row::Waiting { delivery: enqueue.delivery.clone(), body };
            out.fresh(number_key(Kind::Queue, session.generation, twin), row);
        }
        let row = Row::Waiting { delivery: enqueue.delivery, body };
        out.fresh(number_key(Kind::Queue, session.generation, number), row);
        out.dropped += u64::from(dropped);
        Outcome::Enqueued { number, dropped }
    }

    /// Takes rows out until one more of this size fits. `None` if the new one must go instead.
    fn make_room(&mut self, key: &SessionKey, bytes: u32, out: &mut Effects) -> Option<u32> {
        let (messages_max, bytes_max) = (self.rules.queue_messages_max, self.rules.queue_bytes_max);
        if u64::from(bytes) > bytes_max {
            return None;
        }
        let mut dropped = 0;
        loop {
            let queue = &mut self.session_mut(key)?.kept_mut().queue;
            if queue.messages() < messages_max && queue.bytes() + u64::from(bytes) <= bytes_max {
                return Some(dropped);
            }
            let oldest = queue.oldest_waiting()?;
            if self.rules.queue_full != QueueFull::DropOldest {
                return None;
            }
            self.remove_row(key, oldest, out);
            dropped += 1;
        }
    }

    /// The row's body in the shared table, or 0 for a copy of its own.
    fn body_for(&mut self, delivery: &Delivery, batch: &mut Batch, out: &mut Effects) -> u64 {
        if batch.bodies.is_empty() {
            return 0;
        }
        let Some(body) = batch.bodies.get_mut(&std::sync::Arc::as_ptr(&delivery.message)) else { return 0 };
        // The body may have gone again within this submit, with the last row that referred to it.
        if *body == 0 || !self.bodies.contains_key(body) {
            *body = self.next_number();
            out.fresh(id_key(Kind::Body, *body), Row::Body(delivery.message.clone()));
        }
        *self.bodies.entry(*body).or_default() += 1;
        *body
    }

    fn make_group(&mut self, key: &SessionKey, out: &mut Effects) {
        let row = SessionRow {
            generation: self.next_number(),
            fence: 0,
            user_id: None,
            persistent: true,
            expiry_seconds: u32::MAX,
            will: None,
            detached: None,
        };
        let mut group = Session::new(row, true);
        group.kept_mut().queue = super::queue::Queue::after(self.meta.group_base);
        self.families.entry(key.clone()).or_default().session = Some(group);
        self.write_session(key, out);
        if self.meta.group_base > 0 {
            self.note_ends(key);
        }
    }

    fn has_seen(&self, key: &SessionKey, id: Option<MessageId>) -> bool {
        let kept = self.session(key).and_then(|session| session.kept());
        id.is_some_and(|id| kept.is_some_and(|kept| kept.seen.contains(&id)))
    }

    fn remember(&mut self, key: &SessionKey, id: Option<MessageId>, out: &mut Effects) {
        let capacity = self.rules.dedup_ids_max;
        let (Some(id), Some(session)) = (id, self.session_mut(key)) else { return };
        let at = session.kept_mut().seen.insert(id, capacity);
        if session.recorded {
            let place = at % capacity as u64;
            out.put(number_key(Kind::Seen, session.generation, place), Row::Seen(Seen { at, id }));
        }
    }

    pub(super) fn ack(&mut self, key: &SessionKey, number: u64, out: &mut Effects) -> Outcome {
        if self.remove_row(key, number, out) {
            self.note_if_idle(key);
        }
        Outcome::Done
    }

    /// Takes a row out of the queue; false if there is none.
    fn remove_row(&mut self, key: &SessionKey, number: u64, out: &mut Effects) -> bool {
        let Some(session) = self.session_mut(key) else { return false };
        let generation = session.generation;
        let queue = &mut session.kept_mut().queue;
        let slot = queue.remove(number);
        if slot == Slot::Gone {
            return false;
        }
        let was_newest = number == queue.tail();
        out.delete(number_key(Kind::Queue, generation, number));
        self.drop_reference(slot, out);
        if was_newest {
            self.note_ends(key);
        }
        true
    }

    pub(super) fn pubrec(&mut self, key: &SessionKey, number: u64, out: &mut Effects) -> Outcome {
        let Some(session) = self.session_mut(key) else { return Outcome::Gone };
        let row_key = number_key(Kind::Queue, session.generation, number);
        let slot = session.kept_mut().queue.release(number);
        if matches!(slot, Slot::Waiting { .. }) {
            out.put(row_key, Row::Released);
            self.drop_reference(slot, out);
        }
        Outcome::Done
    }

    pub(super) fn receive(&mut self, key: &SessionKey, packet_id: u16, out: &mut Effects) -> Outcome {
        let Some(session) = self.session_mut(key) else { return Outcome::Gone };
        let (generation, recorded) = (session.generation, session.recorded);
        let kept = session.kept_mut();
        if let Some(count) = kept.received.get(&packet_id) {
            return Outcome::Received {
                first: false,
                id: MessageId::received(generation, packet_id, *count),
            };
        }
        kept.uses += 1;
        let count = kept.uses;
        kept.received.insert(packet_id, count);
        let reserve = count > kept.uses_reserved;
        if reserve {
            kept.uses_reserved = count + USES_RESERVE;
        }
        if recorded {
            out.put(number_key(Kind::Received, generation, u64::from(packet_id)), Row::Received(count));
        }
        if reserve {
            self.note_ends(key);
        }
        Outcome::Received { first: true, id: MessageId::received(generation, packet_id, count) }
    }

    pub(super) fn release(&mut self, key: &SessionKey, packet_id: u16, out: &mut Effects) -> Outcome {
        let Some(session) = self.session_mut(key) else { return Outcome::Gone };
        let (generation, recorded) = (session.generation, session.recorded);
        if session.kept_mut().received.remove(&packet_id).is_some() && recorded {
            out.delete(number_key(Kind::Received, generation, u64::from(packet_id)));
        }
        Outcome::Done
    }
}
