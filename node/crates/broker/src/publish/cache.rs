//! What the last topics of a connection matched, so that most publishes ask no table.

use std::sync::Arc;

use weir_access::Action;
use weir_model::topic::is_bridge_state;
use weir_model::{Principal, Reason, Topic};

use crate::broker::Broker;
use crate::form::Publish;
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
    access_version: u64,
    allowed: [bool; 2],
}

#[derive(Default)]
pub struct Cache {
    entries: Vec<Entry>,
    oldest: usize,
}

impl Cache {
    /// Who wants this publish, or why it is refused: an invalid topic, or no right to it.
    pub fn find(
        &mut self,
        routes: &Routes,
        broker: &Broker,
        principal: &Principal,
        publish: &Publish<'_>,
    ) -> Result<&Hit, Reason> {
        let version = broker.access().version();
        let at = match self.entries.iter().position(|e| *e.hit.topic == *publish.topic) {
            Some(at) => at,
            None => {
                self.add(routes, broker, principal, publish, version).map_err(|_| Reason::TopicInvalid)?
            }
        };
        let entry = &mut self.entries[at];
        if !routes.is_current(entry.hit.matched.generations) {
            entry.hit.matched = Arc::new(routes.find(publish.topic));
        }
        if entry.access_version != version {
            entry.allowed = allowed(broker, principal, publish);
            entry.access_version = version;
        }
        entry.allowed[usize::from(publish.retain)].then_some(&entry.hit).ok_or(Reason::NotAuthorized)
    }

    fn add(
        &mut self,
        routes: &Routes,
        broker: &Broker,
        principal: &Principal,
        publish: &Publish<'_>,
        access_version: u64,
    ) -> Result<usize, weir_model::topic::Invalid> {
        let topic = Topic::new(publish.topic)?;
        let matched = Arc::new(routes.find(&topic));
        let entry = Entry {
            hit: Hit { topic, matched },
            access_version,
            allowed: allowed(broker, principal, publish),
        };
        if self.entries.len() < ENTRIES {
            self.entries.push(entry);
            return Ok(self.entries.len() - 1);
        }
        let at = self.oldest;
        self.oldest = (self.oldest + 1) % ENTRIES;
        self.entries[at] = entry;
        Ok(at)
    }
}

/// Without and with RETAIN.
fn allowed(broker: &Broker, principal: &Principal, publish: &Publish<'_>) -> [bool; 2] {
    let may = |retain| {
        let action = Action::Publish { topic: publish.topic, qos: publish.qos, retain };
        broker.access().may(principal, action)
    };
    if is_broker_only(publish.topic) { [false; 2] } else { [may(false), may(true)] }
}

/// Topics that only the broker itself publishes to.
fn is_broker_only(topic: &str) -> bool {
    let own = ["$SYS/", "$share/", "$stream/", "$view/"];
    own.iter().any(|own| topic.starts_with(own)) && !is_bridge_state(topic)
}
