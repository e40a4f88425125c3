//! What happens inside a topic shard: retained and delayed messages.

use std::sync::Arc;

use weir_model::{Message, MessageId, Position, Topic, UnixMillis};

use super::{Batch, Effects, RetainedChange, Scoped, State};
use crate::row::{Key, Kind, Row, Seen, id_key, number_key, retained_key};
use crate::{Outcome, Refusal, TopicOp};

impl State {
    pub(super) fn apply_topic(
        &mut self,
        realm: Arc<str>,
        topic: Topic,
        op: TopicOp,
        batch: &Batch,
        out: &mut Effects,
    ) -> Result<Outcome, Refusal> {
        let grows = matches!(op, TopicOp::Retain { message: Some(_) } | TopicOp::Delay { .. });
        if grows && !batch.may_grow {
            return Err(Refusal::DiskFull);
        }
        match op {
            TopicOp::Retain { message } => self.retain(realm, topic, message, batch.now, out),
            TopicOp::Exchange(exchange) => self.exchange(realm, topic, *exchange, batch, out),
            TopicOp::Delay { due, id, message } => self.delay(realm, due, id, message, out),
            TopicOp::Delayed { entry } => {
                if let Some((due, bytes)) = self.timers.stop_delayed(entry) {
                    self.account.delayed_messages -= 1;
                    self.account.delayed_bytes -= u64::from(bytes);
                    out.delete(number_key(Kind::Delayed, due.0, entry));
                }
                Ok(Outcome::Done)
            }
            TopicOp::Claim { key, id, until } => {
                let scoped = Scoped { realm: &realm, topic: &topic, key: &key };
                self.claim(&scoped, id, until, batch, out)
            }
            TopicOp::Settle { key, id } => {
                let scoped = Scoped { realm: &realm, topic: &topic, key: &key };
                Ok(self.settle_claim(&scoped, id, out))
            }
        }
    }

    fn retain(
        &mut self,
        realm: Arc<str>,
        topic: Topic,
        message: Option<Arc<Message>>,
        now: UnixMillis,
        out: &mut Effects,
    ) -> Result<Outcome, Refusal> {
        if self.guard_of(&realm, &topic).is_some() {
            return Err(Refusal::Guarded);
        }
        let key = retained_key(&realm, &topic);
        if message.as_ref().is_some_and(|message| !self.may_retain(&key, message)) {
            return Err(Refusal::RetainedFull);
        }
        Ok(Outcome::Retained(self.set_retained(key, (realm, topic), message, now, out)))
    }

    /// Replaces a topic's retained message, which may be.
    pub(super) fn set_retained(
        &mut self,
        key: Key,
        (realm, topic): (Arc<str>, Topic),
        message: Option<Arc<Message>>,
        now: UnixMillis,
        out: &mut Effects,
    ) -> Position {
        self.position = self.position.next(now.0);
        let position = self.position;
        self.note_retained(&key, message.as_ref().map(|message| (message, position)));
        match &message {
            Some(message) => out.put(key, Row::Retained { position, message: message.clone() }),
            None => out.delete(key),
        }
        out.retained.push(RetainedChange { realm, topic, position, message });
        position
    }

    /// A topic that has a retained message may always replace it by one that is not larger.
    pub(super) fn may_retain(&self, key: &Key, message: &Message) -> bool {
        let (account, rules) = (&self.account, &self.rules);
        let (old, new) = (self.retained.get(key), message.size_bytes() as u64);
        let replaced = old.map_or(0, u64::from);
        let fits = account.retained_bytes - replaced + new <= rules.retained_bytes_max;
        (old.is_some() || account.retained_messages < rules.retained_messages_max)
            && (fits || (old.is_some() && new <= replaced))
    }

    /// Counts what a topic retains from now on.
    pub(super) fn note_retained(&mut self, key: &Key, stored: Option<(&Arc<Message>, Position)>) {
        let account = &mut self.account;
        let bytes = stored.map(|(message, _)| size_of(message));
        let stored = stored.map(|(message, position)| (size_of(message), position));
        if let Some(old) = self.retained.set(key, stored) {
            account.retained_messages -= 1;
            account.retained_bytes -= u64::from(old);
        }
        if let Some(bytes) = bytes {
            account.retained_messages += 1;
            account.retained_bytes += u64::from(bytes);
        }
    }

    /// Counts a delayed message and starts its timer.
    pub(super) fn note_delayed(&mut self, due: UnixMillis, entry: u64, message: &Message) {
        let bytes = size_of(message);
        self.account.delayed_messages += 1;
        self.account.delayed_bytes += u64::from(bytes);
        self.timers.start_delayed(due, entry, bytes);
    }

    fn delay(
        &mut self,
        realm: Arc<str>,
        due: UnixMillis,
        id: Option<MessageId>,
        message: Arc<Message>,
        out: &mut Effects,
    ) -> Result<Outcome, Refusal> {
        if id.is_some_and(|id| self.delay_seen.contains(&id)) {
            return Ok(Outcome::Duplicate);
        }
        let (messages, bytes) = self.account.owed();
        if messages >= self.rules.queued_messages_total_max
            || bytes + message.size_bytes() as u64 > self.rules.queued_bytes_total_max
        {
            return Err(Refusal::QueuesFull);
        }
        if let Some(id) = id {
            let capacity = self.rules.delay_ids_max;
            let at = self.delay_seen.insert(id, capacity);
            out.put(id_key(Kind::DelaySeen, at % capacity as u64), Row::Seen(Seen { at, id }));
        }
        let entry = self.next_number();
        self.note_delayed(due, entry, &message);
        out.fresh(number_key(Kind::Delayed, due.0, entry), Row::Delayed { realm, message, epoch: None });
        Ok(Outcome::Done)
    }

    /// The id under which a delayed message is published, at every try.
    pub fn outbox_id(&self, epoch: Option<u64>, entry: u64) -> MessageId {
        MessageId::outbox(epoch.unwrap_or(self.meta.epoch), entry)
    }
}

/// As it is counted: topic, payload and properties.
fn size_of(message: &Message) -> u32 {
    u32::try_from(message.size_bytes()).unwrap_or(u32::MAX)
}
