//! What a kept session was given last of topics that have a retained value: where that stays another one than the store
//! holds, it is given the store's once more (`guarantees.md` 5).
//!
//! The value of a topic and the copies of a message lie in different shards of the store: two publishers may be first
//! in one and second in the other. A value that was cleared is not told again.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use metrics::counter;
use weir_broker::clock;
use weir_broker::fanout;
use weir_broker::publish::Commit;
use weir_broker::retained::Retained;
use weir_broker::store::Delivery;
use weir_model::{Message, Qos, Topic};

use super::channel::Mqtt;
use crate::connection::Channel;

/// Topics remembered; the oldest is forgotten first, and then the session may keep an older value as the last it saw.
const TOPICS_MAX: usize = 256;

/// Topics of which the last copy was given not long ago.
#[derive(Debug, Default)]
pub struct LastSeen {
    topics: HashMap<Topic, Seen>,
    order: VecDeque<Topic>,
}

#[derive(Debug)]
struct Seen {
    payload: u64,
    given_ms: u64,
}

impl LastSeen {
    /// This copy goes to the client.
    pub fn give(&mut self, message: &Message, now_ms: u64) {
        let seen = Seen { payload: hash(message), given_ms: now_ms };
        if self.topics.insert(message.topic.clone(), seen).is_some() {
            return;
        }
        self.order.push_back(message.topic.clone());
        if self.order.len() > TOPICS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.topics.remove(&oldest);
        }
    }

    /// The values of topics whose last copy was given so long ago that nothing can be under way any more, and is
    /// another one. They and all that are right are forgotten.
    pub fn otherwise(&mut self, retained: &Retained, now_ms: u64, settle_ms: u64) -> Vec<Arc<Message>> {
        let mut values = Vec::new();
        self.topics.retain(|topic, seen| {
            let is_settled = now_ms.saturating_sub(seen.given_ms) >= settle_ms;
            if is_settled {
                let value = retained.get(topic).filter(|value| hash(value) != seen.payload);
                values.extend(value);
            }
            !is_settled
        });
        self.order.retain(|topic| self.topics.contains_key(topic));
        values
    }

    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }
}

fn hash(message: &Message) -> u64 {
    let mut hasher = DefaultHasher::new();
    message.payload.hash(&mut hasher);
    hasher.finish()
}

impl Mqtt {
    /// A copy out of the stored queue goes to the client.
    pub fn note_seen(&mut self, delivery: &Delivery) {
        let is_shared = || self.stored_fence().is_some() && self.publisher.broker.store().is_shared();
        if delivery.message.retain && delivery.qos > Qos::AtMostOnce && is_shared() {
            self.owed.get_or_insert_default().last_seen.give(&delivery.message, clock::now_ms());
        }
    }

    /// Gives the values once more that others have seen last. One page at a time; the rest at the next look.
    pub fn look_at_seen(&mut self) {
        let (Some(fence), Some(owed)) = (self.stored_fence(), &mut self.owed) else { return };
        if owed.replaying.is_some() {
            return;
        }
        let (broker, realm) = (&self.publisher.broker, &self.publisher.realm);
        let settle_ms = broker.config().retained_settle_ms;
        let values = owed.last_seen.otherwise(&realm.retained, clock::now_ms(), settle_ms);
        let session = self.session().clone();
        let copy = |message: &Arc<Message>| {
            let matched = realm.routes.find(&message.topic, broker.access());
            let selected = matched.of(message);
            let targets = selected.as_deref().unwrap_or(&matched.targets);
            let target = targets.iter().find(|target| Arc::ptr_eq(&target.session, &session))?;
            Some(fanout::delivery(message, target, None)).filter(|copy| copy.qos > Qos::AtMostOnce)
        };
        let copies: Vec<Delivery> = values.iter().filter_map(copy).collect();
        if copies.is_empty() {
            return;
        }
        counter!("weir_gateway_retained_again_total").increment(copies.len() as u64);
        let commit = Commit::enqueue(broker, &session, fence, copies);
        self.owed.get_or_insert_default().replaying = Some(commit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_model::Position;

    fn message(topic: &str, payload: &'static str) -> Arc<Message> {
        Arc::new(Message {
            topic: Topic::new(topic).unwrap(),
            payload: payload.into(),
            qos: Qos::AtLeastOnce,
            retain: true,
            expires_at: None,
            properties: None,
        })
    }

    fn holding(payload: &'static str) -> Retained {
        let (retained, value) = (Retained::default(), message("t", payload));
        retained.apply(&value.topic, Position { epoch: 1, ms: 1, seq: 1 }, Some(&value));
        retained
    }

    #[test]
    fn a_value_seen_otherwise_is_given_once_and_only_when_nothing_can_be_under_way() {
        let (mut seen, retained) = (LastSeen::default(), holding("new"));
        seen.give(&message("t", "old"), 1000);
        assert!(seen.otherwise(&retained, 1099, 100).is_empty());
        let again = seen.otherwise(&retained, 1100, 100);
        assert_eq!(again.iter().map(|message| &message.payload[..]).collect::<Vec<_>>(), [b"new"]);
        assert!(seen.is_empty() && seen.order.is_empty());
    }

    #[test]
    fn who_has_seen_what_is_stored_is_left_alone_and_forgotten() {
        let (mut seen, retained) = (LastSeen::default(), holding("new"));
        seen.give(&message("t", "new"), 1000);
        seen.give(&message("cleared", "x"), 1000);
        assert!(seen.otherwise(&retained, 2000, 100).is_empty() && seen.is_empty());
    }

    #[test]
    fn as_many_topics_are_remembered_as_may_be() {
        let mut seen = LastSeen::default();
        (0..3 * TOPICS_MAX).for_each(|number| seen.give(&message(&format!("t/{number}"), "x"), 0));
        assert_eq!((seen.topics.len(), seen.order.len()), (TOPICS_MAX, TOPICS_MAX));
    }
}
