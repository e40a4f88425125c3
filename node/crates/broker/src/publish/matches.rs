//! Who wants the topics that a task of the broker's own publishes to, remembered as a connection's [`super::cache`] does.

use std::sync::Arc;

use weir_model::Topic;

use crate::broker::Broker;
use crate::realm::Realm;
use crate::routes::Matched;

/// Topics remembered; with more in turn each is looked up every time.
const ENTRIES: usize = 32;

#[derive(Default)]
pub(crate) struct Matches {
    known: Vec<(Topic, Arc<Matched>)>,
    oldest: usize,
}

impl Matches {
    /// Everybody who wants `topic` in a realm, which is always the same.
    pub async fn find(&mut self, broker: &Broker, realm: &Arc<Realm>, topic: &Topic) -> Arc<Matched> {
        let at = self.known.iter().position(|(known, _)| known == topic);
        if let Some((_, matched)) = at.and_then(|at| self.known.get(at))
            && matched.access_version == broker.access().version()
            && realm.routes.is_current(matched.generations)
        {
            return matched.clone();
        }
        let found = (topic.clone(), broker.find(realm, topic).await);
        let matched = found.1.clone();
        match at {
            Some(at) => self.known[at] = found,
            None if self.known.len() < ENTRIES => self.known.push(found),
            None => {
                self.known[self.oldest] = found;
                self.oldest = (self.oldest + 1) % ENTRIES;
            }
        }
        matched
    }
}
