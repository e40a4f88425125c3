//! What the last topics of a connection matched, so that most publishes ask no table.

use std::sync::Arc;

use weir_access::PublishRights;
use weir_model::topic::is_bridge_state;
use weir_model::{Principal, Reason, Topic};

use crate::broker::Broker;
use crate::form::Publish;
use crate::publish::long::LongMatch;
use crate::publish::plan;
use crate::routes::{Matched, Routes};

/// Topics remembered per connection.
const ENTRIES: usize = 8;

/// A topic and who wants it.
pub struct Hit {
    pub topic: Topic,
    pub matched: Arc<Matched>,
}

struct Entry {
    hit: Hit,
    rights: PublishRights,
}

#[derive(Default)]
pub struct Cache {
    entries: Vec<Entry>,
    oldest: usize,
    /// A match to be made elsewhere, because it takes long.
    wanted: Option<Topic>,
    /// And what came of it, for the publish that waits for it.
    made: Option<LongMatch>,
}

/// Why there is no hit.
pub enum Miss {
    Refused(Reason),
    /// The match takes long: offer the publish again with what comes of [`Cache::wanted`].
    Long,
}

impl Cache {
    /// Who wants this publish, or why it is refused: an invalid topic, or no right to it.
    pub fn find(
        &mut self,
        routes: &Routes,
        broker: &Broker,
        principal: &Principal,
        publish: &Publish<'_>,
    ) -> Result<&Hit, Miss> {
        let refused = Miss::Refused;
        if let Some(made) = self.made.take().filter(|made| *made.topic == *publish.topic) {
            let rights = rights(broker, principal, &made.topic);
            let at = self.put(Entry { hit: Hit { topic: made.topic, matched: made.matched }, rights });
            let entry = &self.entries[at];
            let allowed = entry.rights.allows(publish.qos, publish.retain);
            return allowed.then_some(&entry.hit).ok_or(refused(Reason::NotAuthorized));
        }
        let at = match self.entries.iter().position(|e| *e.hit.topic == *publish.topic) {
            Some(at) => at,
            None => self.add(routes, broker, principal, publish.topic)?,
        };
        let entry = &mut self.entries[at];
        let judged_anew = entry.hit.matched.access_version != broker.access().version();
        if judged_anew {
            entry.rights = rights(broker, principal, publish.topic);
        }
        if judged_anew || !routes.is_current(entry.hit.matched.generations) {
            let Some(matched) = routes.find_quickly(publish.topic, broker.access()) else {
                self.wanted = Some(entry.hit.topic.clone());
                return Err(Miss::Long);
            };
            entry.hit.matched = Arc::new(matched);
        }
        let allowed = entry.rights.allows(publish.qos, publish.retain);
        allowed.then_some(&entry.hit).ok_or(refused(Reason::NotAuthorized))
    }

    /// The topic whose match is to be made elsewhere.
    pub fn wanted(&mut self) -> Option<Topic> {
        self.wanted.take()
    }

    /// What came of it.
    pub fn made(&mut self, made: LongMatch) {
        self.made = Some(made);
    }

    fn add(
        &mut self,
        routes: &Routes,
        broker: &Broker,
        principal: &Principal,
        topic: &str,
    ) -> Result<usize, Miss> {
        let invalid = Miss::Refused(Reason::TopicInvalid);
        let Ok(topic) = Topic::new(topic) else { return Err(invalid) };
        let target = plan::split_delayed(&topic).map_or(&*topic, |(_, target)| target);
        if !broker.config().allows_depth(target) {
            return Err(invalid);
        }
        // The matches are found first: a change of access in between is seen at the next publish.
        let Some(matched) = routes.find_quickly(&topic, broker.access()) else {
            self.wanted = Some(topic);
            return Err(Miss::Long);
        };
        let rights = rights(broker, principal, &topic);
        Ok(self.put(Entry { hit: Hit { topic, matched: Arc::new(matched) }, rights }))
    }

    fn put(&mut self, entry: Entry) -> usize {
        if let Some(at) = self.entries.iter().position(|known| *known.hit.topic == *entry.hit.topic) {
            self.entries[at] = entry;
            return at;
        }
        if self.entries.len() < ENTRIES {
            self.entries.push(entry);
            return self.entries.len() - 1;
        }
        let at = self.oldest;
        self.oldest = (self.oldest + 1) % ENTRIES;
        self.entries[at] = entry;
        at
    }
}

/// What may be published to a topic; to a delayed one, what may be to the topic it is for.
fn rights(broker: &Broker, principal: &Principal, topic: &str) -> PublishRights {
    let topic = plan::split_delayed(topic).map_or(topic, |(_, target)| target);
    if is_broker_only(topic) { PublishRights::NONE } else { broker.access().publish_rights(principal, topic) }
}

/// Topics that only the broker itself publishes to. [`crate::explain::TOPIC`] is among them: what comes
/// there is a question, which is looked at once it is refused as a message.
pub(crate) fn is_broker_only(topic: &str) -> bool {
    // Also the bare name: `$SYS/#` matches `$SYS` (MQTT-4.7.1-2).
    let first = topic.split('/').next().unwrap_or(topic);
    ["$SYS", "$share", "$stream", "$view"].contains(&first) && !is_bridge_state(topic)
}
