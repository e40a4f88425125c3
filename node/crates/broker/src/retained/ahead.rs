//! Retained values that came over a link before the mirror heard of them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use weir_model::{Message, Position, Topic};

/// Topics remembered; the oldest is forgotten first, and then a receiver may keep an older value as the
/// last it saw.
const TOPICS_MAX: usize = 1024;

/// What receivers were given of topics of which the mirror is behind. Shown to nobody who subscribes: that
/// is the mirror's.
#[derive(Default)]
pub struct Ahead {
    given: HashMap<Topic, (Position, Arc<Message>)>,
    order: VecDeque<(Topic, Position)>,
}

impl Ahead {
    /// This value is given to receivers.
    pub fn give(&mut self, message: &Arc<Message>, position: Position) {
        let topic = &message.topic;
        if self.given.get(topic).is_some_and(|(known, _)| *known >= position) {
            return;
        }
        self.given.insert(topic.clone(), (position, message.clone()));
        self.order.push_back((topic.clone(), position));
        while self.order.len() > TOPICS_MAX
            && let Some((oldest, position)) = self.order.pop_front()
        {
            if self.given.get(&oldest).is_some_and(|(known, _)| *known == position) {
                self.given.remove(&oldest);
            }
        }
    }

    /// The mirror has heard of `position`; whether just that value was given to receivers.
    pub fn heard(&mut self, topic: &Topic, position: Position) -> bool {
        let Some((given, _)) = self.given.get(topic).filter(|(given, _)| *given <= position) else {
            return false;
        };
        let was_given = *given == position;
        self.given.remove(topic);
        if self.given.is_empty() {
            self.order = VecDeque::new();
        }
        was_given
    }

    /// What was given of a topic, if it was stored after `position`.
    pub fn given_after(&self, topic: &Topic, position: Position) -> Option<Arc<Message>> {
        self.given.get(topic).filter(|(given, _)| *given > position).map(|(_, message)| message.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use weir_model::Qos;

    fn message(topic: &str) -> Arc<Message> {
        Arc::new(Message {
            topic: Topic::new(topic).unwrap(),
            payload: Bytes::new(),
            qos: Qos::AtMostOnce,
            retain: true,
            expires_at: None,
            properties: None,
        })
    }

    fn at(seq: u64) -> Position {
        Position { epoch: 1, ms: 1, seq }
    }

    #[test]
    fn what_the_mirror_has_heard_is_ahead_no_more() {
        let (mut ahead, message) = (Ahead::default(), message("t"));
        ahead.give(&message, at(2));
        assert!(!ahead.heard(&message.topic, at(1)));
        assert!(ahead.given_after(&message.topic, at(1)).is_some());
        assert!(ahead.heard(&message.topic, at(2)));
        assert!(ahead.given_after(&message.topic, at(1)).is_none() && ahead.order.is_empty());
    }

    #[test]
    fn as_many_topics_are_remembered_as_may_be() {
        let mut ahead = Ahead::default();
        for number in 0..3 * TOPICS_MAX {
            ahead.give(&message(&format!("t/{number}")), at(number as u64));
        }
        assert_eq!((ahead.given.len(), ahead.order.len()), (TOPICS_MAX, TOPICS_MAX));
    }
}
