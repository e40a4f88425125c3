//! What happens to a session's subscriptions, queue and received packet ids.

use weir_model::{Filter, MessageId};

use super::session::Session;
use super::{Batch, Effects, Slot, State, USES_RESERVE};
use crate::canary;
use crate::config::QueueFull;
use crate::row::{Kind, Row, Seen, SessionRow, id_key, number_key, text_key};
use crate::{Delivery, Enqueue, Outcome, SessionChange, SessionKey, SessionKind, SubscriptionOptions};

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
        let row_key = text_key(Kind::Subscription, generation, filter.as_str());
        match options {
            Some(options) => {
                session.kept_mut().subscriptions.insert(filter.clone(), options);
                if recorded {
                    out.put(row_key, Row::Subscription(options));
                }
                self.tell(key, out, || SessionChange::Subscribed { generation, filter, options });
            }
            None if session.kept_mut().subscriptions.remove(&filter).is_some() => {
                if recorded {
                    out.delete(row_key);
                }
                self.tell(key, out, || SessionChange::Unsubscribed { generation, filter });
            }
            None => {}
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
            self.account.not_taken += 1;
            return Outcome::QueueFull;
        };
        self.remember(key, enqueue.id, out);
        let body = self.body_for(&enqueue.delivery, batch, out);
        let Some(session) = self.session_mut(key) else { return Outcome::Gone };
        let number = session.kept_mut().queue.push(bytes, body);
        let mut copies = 1;
        if body == 0 && canary::doubles(enqueue.delivery.qos) {
            let twin = session.kept_mut().queue.push(bytes, body);
            let row = Row::Waiting { delivery: enqueue.delivery.clone(), body };
            out.fresh(number_key(Kind::Queue, session.generation, twin), row);
            copies += 1;
        }
        let row = Row::Waiting { delivery: enqueue.delivery, body };
        out.fresh(number_key(Kind::Queue, session.generation, number), row);
        self.account.added += copies;
        self.account.queued_messages += copies;
        self.account.queued_bytes += copies * u64::from(bytes);
        self.account.dropped += u64::from(dropped);
        Outcome::Enqueued { number, dropped }
    }

    /// Takes rows out of the queue until one more of this size fits, in it and in all queues together.
    /// `None` if the new one must go instead: then none was taken out.
    fn make_room(&mut self, key: &SessionKey, bytes: u32, out: &mut Effects) -> Option<u32> {
        let queue = &self.session_mut(key)?.kept_mut().queue;
        let (here, waiting) = ((queue.messages(), queue.bytes()), queue.waiting());
        let rules = &self.rules;
        let here_max = (rules.queue_messages_max, rules.queue_bytes_max);
        let (all, all_max) =
            (self.account.owed(), (rules.queued_messages_total_max, rules.queued_bytes_total_max));
        let fits = |gone: (u64, u64)| {
            let fits_in = |held: (u64, u64), max: (u64, u64)| {
                held.0 - gone.0 < max.0 && held.1 - gone.1 + u64::from(bytes) <= max.1
            };
            fits_in(here, here_max) && fits_in(all, all_max)
        };
        let droppable = rules.queue_full == QueueFull::DropOldest;
        let fits_at_last = fits((0, 0)) || (droppable && fits((waiting, here.1)));
        if !fits_at_last {
            return None;
        }
        let mut gone = (0, 0);
        while !fits(gone) {
            let oldest = self.session_mut(key)?.kept_mut().queue.oldest_waiting()?;
            let slot = self.remove_row(key, oldest, out);
            gone = (gone.0 + 1, gone.1 + slot.bytes());
        }
        Some(gone.0 as u32)
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
            owner: None,
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
        if self.remove_row(key, number, out) != Slot::Gone {
            self.account.acknowledged += 1;
            self.note_if_idle(key);
        }
        Outcome::Done
    }

    /// Takes a row out of the queue and says what it was.
    fn remove_row(&mut self, key: &SessionKey, number: u64, out: &mut Effects) -> Slot {
        let Some(session) = self.session_mut(key) else { return Slot::Gone };
        let generation = session.generation;
        let queue = &mut session.kept_mut().queue;
        let slot = queue.remove(number);
        if slot == Slot::Gone {
            return slot;
        }
        let was_newest = number == queue.tail();
        self.account.queued_messages -= 1;
        self.account.queued_bytes -= slot.bytes();
        out.delete(number_key(Kind::Queue, generation, number));
        self.drop_reference(slot, out);
        if was_newest {
            self.note_ends(key);
        }
        slot
    }

    pub(super) fn pubrec(&mut self, key: &SessionKey, number: u64, out: &mut Effects) -> Outcome {
        let Some(session) = self.session_mut(key) else { return Outcome::Gone };
        let row_key = number_key(Kind::Queue, session.generation, number);
        let slot = session.kept_mut().queue.release(number);
        if matches!(slot, Slot::Waiting { .. }) {
            self.account.queued_bytes -= slot.bytes();
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
