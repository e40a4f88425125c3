//! What a queue ends with: where nodes share a store, a retained value and its copies for queues are
//! written one after the other, and two nodes may be first at one each. Who has put copies in queues
//! looks again at what the store holds, and puts that behind them if it is newer (`guarantees.md` 5).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use weir_model::{Message, Position, Qos, Topic};

use super::plan::Plan;
use crate::broker::Broker;
use crate::peers::Outgoing;
use crate::realm::Realm;

/// A topic in its realm.
type Place = (Arc<str>, Topic);

/// Topics with retained values of this node on their way to queues: as many as have messages in the lines
/// of connections, which are bounded. A node's own values reach the queues in the order they are stored in.
#[derive(Default)]
pub(crate) struct Settling(Mutex<HashMap<Place, Values>>);

/// This node's own values of one topic.
#[derive(Default)]
struct Values {
    on_their_way: usize,
    /// The newest that lies in queues.
    newest: Option<Position>,
    /// Somebody waits for the topic to come to rest.
    watched: bool,
}

/// A topic is at rest when its value has stayed the same for so long: copies are on their way for a round
/// trip or two.
const AT_REST: Duration = Duration::from_millis(250);

impl Settling {
    fn begin(&self, place: &Place) {
        self.0.lock().entry(place.clone()).or_default().on_their_way += 1;
    }

    /// One value less is on its way; true when somebody is to watch the topic from now on.
    fn end(&self, place: &Place, position: Option<Position>) -> bool {
        let mut topics = self.0.lock();
        let Some(values) = topics.get_mut(place) else { return false };
        values.on_their_way -= 1;
        values.newest = values.newest.max(position);
        if values.newest.is_none() && values.on_their_way == 0 {
            topics.remove(place);
            return false;
        }
        values.newest.is_some() && !std::mem::replace(&mut values.watched, true)
    }

    /// The newest of this node's own values if none is on its way.
    fn newest(&self, place: &Place) -> Option<Position> {
        self.0.lock().get(place).filter(|values| values.on_their_way == 0)?.newest
    }

    /// Ends the watch of a topic, unless more came since `own`.
    fn rest(&self, place: &Place, own: Position) -> bool {
        let mut topics = self.0.lock();
        let at_rest = |values: &Values| values.on_their_way == 0 && values.newest == Some(own);
        let rests = topics.get(place).is_none_or(at_rest);
        if rests {
            topics.remove(place);
        }
        rests
    }
}

/// A retained value on its way to queues, until this is dropped.
pub(super) struct OnItsWay {
    broker: Broker,
    place: Place,
    /// Where it stands, once its copies are in their queues.
    pub position: Option<Position>,
}

impl OnItsWay {
    /// `None` where no other node can come between a value and its copies.
    pub fn begin(broker: &Broker, realm: &Realm, message: &Message) -> Option<OnItsWay> {
        let contested = message.retain && message.qos > Qos::AtMostOnce && !broker.store().applies_at_once();
        contested.then(|| {
            let place = (realm.name.clone(), message.topic.clone());
            broker.settling().begin(&place);
            OnItsWay { broker: broker.clone(), place, position: None }
        })
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        if self.broker.settling().end(&self.place, self.position) {
            let (broker, place) = (self.broker.clone(), self.place.clone());
            self.broker.runtime().spawn(async move { broker.settle_queues(&place).await });
        }
    }
}

impl Broker {
    /// What another node had stored before this node's copies were in the queues may have its copies before
    /// them. If that is what the topic comes to rest with, it is put in the queues once more.
    async fn settle_queues(&self, place: &Place) {
        let (name, topic) = place;
        let realm = self.realm_or_new(name);
        loop {
            let caught_up = self.store().caught_up().await.is_ok();
            let own = self.settling().newest(place);
            let held = realm.retained.position(topic);
            let overtaken = caught_up && own.is_some() && held > own;
            if let Some(own) = own.filter(|_| !overtaken)
                && self.settling().rest(place, own)
            {
                return;
            }
            tokio::time::sleep(AT_REST).await;
            // A value that came after is behind this node's copies.
            let last = realm.retained.position(topic) == held;
            if let Some(own) = own.filter(|_| overtaken)
                && self.settling().rest(place, own)
            {
                if let Some(newer) = realm.retained.newer_than(topic, own).filter(|_| last) {
                    self.queue_once_more(&realm, &newer).await;
                }
                return;
            }
        }
    }

    /// It may lie behind already: as a repeat of QoS 1, so that nothing of QoS 2 comes twice.
    async fn queue_once_more(&self, realm: &Arc<Realm>, newer: &Message) {
        let matched = self.find(realm, &newer.topic).await;
        let again = Arc::new(Message { qos: newer.qos.min(Qos::AtLeastOnce), ..Message::clone(newer) });
        let mut plan = Box::new(Plan::queues(&again, &matched));
        let answer = self.submit(std::mem::take(&mut plan.steps)).await;
        if let Ok(plan) = plan.settle(self, Some(answer)) {
            let mut outgoing = Outgoing::default();
            let copies = plan.push(self, &mut outgoing);
            self.ledger().matched.add(copies + outgoing.send(self, &realm.name, &again));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_value_counts_when_none_is_on_its_way_and_one_watch_is_enough() {
        let settling = Settling::default();
        let place = (Arc::from("r"), Topic::new("t").unwrap());
        let at = |seq| Some(Position { epoch: 1, ms: 1, seq });
        (0..3).for_each(|_| settling.begin(&place));
        assert!(settling.end(&place, at(6)));
        assert!(!settling.end(&place, at(5)), "it is watched");
        assert_eq!(settling.newest(&place), None, "one is on its way");
        assert!(!settling.end(&place, None), "a refused one counts for nothing");
        let newest = settling.newest(&place).unwrap();
        assert_eq!(Some(newest), at(6));
        settling.begin(&place);
        assert!(!settling.rest(&place, newest), "more came");
        settling.end(&place, None);
        assert!(settling.rest(&place, newest));
        settling.begin(&place);
        assert!(!settling.end(&place, None));
        assert!(settling.0.lock().is_empty());
    }
}
