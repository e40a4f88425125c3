//! What the last topics of a connection matched, so that most publishes ask no table.

use std::sync::Arc;

use weir_access::PublishRights;
use weir_model::topic::is_bridge_state;
use weir_model::{Principal, Reason, Topic};

use super::Speaker;
use crate::binding::Hook;
use crate::binding::middleware::Refusal;
use crate::broker::Broker;
use crate::form::Publish;
use crate::publish::long::LongMatch;
use crate::publish::plan;
use crate::routes::Matched;

/// Topics remembered per connection.
const ENTRIES: usize = 8;

/// A topic and who wants it.
pub struct Hit {
    pub topic: Topic,
    pub matched: Arc<Matched>,
}

struct Entry {
    hit: Hit,
    right: Right,
}

/// What a connection may publish to a topic.
struct Right {
    policy: PublishRights,
    /// What middleware says that the policy allows.
    refusal: Option<Refusal>,
    /// The version of the chain that said so; [`UNSURE`] = it is asked again the next time.
    chain_version: u64,
}

/// No version of a chain.
const UNSURE: u64 = u64::MAX;

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
    /// By middleware, where the policy allows it.
    Stopped(Refusal),
    /// The match takes long: offer the publish again with what comes of [`Cache::wanted`].
    Long,
}

impl Cache {
    /// Who wants this publish, or why it is refused: an invalid topic, or no right to it.
    pub fn find(&mut self, speaker: Speaker<'_>, publish: &Publish<'_>) -> Result<&Hit, Miss> {
        let Speaker { broker, realm, .. } = speaker;
        // Made for another topic, it may be for what middleware makes of this one.
        if let Some(made) = self.made.take_if(|made| *made.topic == *publish.topic) {
            let right = Right::of(speaker, &made.topic);
            let at = self.put(Entry { hit: Hit { topic: made.topic, matched: made.matched }, right });
            return self.entries[at].allowed(publish);
        }
        let Some(at) = self.entries.iter().position(|e| *e.hit.topic == *publish.topic) else {
            let at = self.add(speaker, publish.topic)?;
            return self.entries[at].allowed(publish);
        };
        let entry = &mut self.entries[at];
        let judged_anew = entry.hit.matched.access_version != broker.access().version();
        if judged_anew || entry.right.chain_version != realm.middleware.version() {
            entry.right = Right::of(speaker, publish.topic);
        }
        if judged_anew || !realm.routes.is_current(entry.hit.matched.generations) {
            let Some(matched) = realm.routes.find_quickly(publish.topic, broker.access()) else {
                self.wanted = Some(entry.hit.topic.clone());
                return Err(Miss::Long);
            };
            entry.hit.matched = Arc::new(matched);
        }
        self.entries[at].allowed(publish)
    }

    /// The topic whose match is to be made elsewhere.
    pub fn wanted(&mut self) -> Option<Topic> {
        self.wanted.take()
    }

    /// What came of it.
    pub fn made(&mut self, made: LongMatch) {
        self.made = Some(made);
    }

    fn add(&mut self, speaker: Speaker<'_>, topic: &str) -> Result<usize, Miss> {
        let Speaker { broker, realm, .. } = speaker;
        let invalid = Miss::Refused(Reason::TopicInvalid);
        let Ok(topic) = Topic::new(topic) else { return Err(invalid) };
        let target = plan::split_delayed(&topic).map_or(&*topic, |(_, target)| target);
        if !broker.config().allows_depth(target) {
            return Err(invalid);
        }
        // The matches are found first: a change of access in between is seen at the next publish.
        let Some(matched) = realm.routes.find_quickly(&topic, broker.access()) else {
            self.wanted = Some(topic);
            return Err(Miss::Long);
        };
        let right = Right::of(speaker, &topic);
        Ok(self.put(Entry { hit: Hit { topic, matched: Arc::new(matched) }, right }))
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

impl Entry {
    fn allowed(&self, publish: &Publish<'_>) -> Result<&Hit, Miss> {
        match &self.right {
            right if !right.policy.allows(publish.qos, publish.retain) => {
                Err(Miss::Refused(Reason::NotAuthorized))
            }
            Right { refusal: Some(refusal), .. } => Err(Miss::Stopped(refusal.clone())),
            _ => Ok(&self.hit),
        }
    }
}

impl Right {
    /// Middleware is asked about what the policy allows some of.
    fn of(speaker: Speaker<'_>, topic: &str) -> Right {
        let Speaker { broker, realm, principal, .. } = speaker;
        let chain_version = realm.middleware.version();
        let policy = rights(broker, principal, topic);
        if policy == PublishRights::NONE || !realm.middleware.wants(Hook::Authorize) {
            return Right { policy, refusal: None, chain_version };
        }
        let target = plan::split_delayed(topic).map_or(topic, |(_, target)| target);
        let verdict = realm.middleware.on_publish_to(&speaker.who(), target);
        let chain_version = if verdict.is_unsure { UNSURE } else { chain_version };
        Right { policy, refusal: verdict.refusal, chain_version }
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
    ["$SYS", "$share", "$stream", "$view", "$reduce"].contains(&first) && !is_bridge_state(topic)
}
