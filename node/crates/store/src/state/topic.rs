//! What happens inside a topic shard: retained and delayed messages.

use std::sync::Arc;

use weir_model::{Message, MessageId, Topic, UnixMillis};

use super::{Batch, Effects, RetainedChange, State, Timer};
use crate::row::{Kind, Row, Seen, id_key, number_key, retained_key};
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
        Ok(match op {
            TopicOp::Retain { message } => self.retain(realm, topic, message, batch.now, out),
            TopicOp::Delay { due, id, message } => self.delay(realm, due, id, message, out),
            TopicOp::Delayed { entry } => {
                if let Some(due) = self.timers.stop_delayed(entry) {
                    out.delete(number_key(Kind::Delayed, due.0, entry));
                }
                Outcome::Done
            }
        })
    }

    fn retain(
        &mut self,
        realm: Arc<str>,
        topic: Topic,
        message: Option<Arc<Message>>,
        now: UnixMillis,
        out: &mut Effects,
    ) -> Outcome {
        self.position = self.position.next(now.0);
        let position = self.position;
        let key = retained_key(&realm, &topic);
        match &message {
            Some(message) => out.put(key, Row::Retained { position, message: message.clone() }),
            None => out.delete(key),
        }
        out.retained.push(RetainedChange { realm, topic, position, message });
        Outcome::Retained(position)
    }

    fn delay(
        &mut self,
        realm: Arc<str>,
        due: UnixMillis,
        id: Option<MessageId>,
        message: Arc<Message>,
        out: &mut Effects,
    ) -> Outcome {
        if let Some(id) = id {
            if self.delay_seen.contains(&id) {
                return Outcome::Duplicate;
            }
            let capacity = self.rules.delay_ids_max;
            let at = self.delay_seen.insert(id, capacity);
            out.put(id_key(Kind::DelaySeen, at % capacity as u64), Row::Seen(Seen { at, id }));
        }
        let entry = self.next_number();
        self.timers.start(due, Timer::Delayed(entry));
        out.fresh(number_key(Kind::Delayed, due.0, entry), Row::Delayed { realm, message });
        Outcome::Done
    }

    /// The id under which a delayed message is published, at every try.
    pub fn outbox_id(&self, entry: u64) -> MessageId {
        MessageId::outbox(self.meta.epoch, entry)
    }
}
