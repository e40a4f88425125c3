//! Topic shards: the single writers of the routes. Readers match without asking them.

pub mod actor;

use std::collections::HashMap;
use std::sync::Arc;

use ractor::Actor;
use weir_model::Filter;
use weir_store::SubscriptionOptions;

use crate::broker::Broker;
use crate::realm::Realm;
use crate::session::Session;
use crate::supervisor::{CallError, ChildSpec, Slot};
use actor::{Change, TopicActor, TopicMsg};

/// Shards for exact filters; one more writes the wildcard trie.
pub const EXACT_SHARDS: usize = 8;
const WILDCARD_SHARD: usize = EXACT_SHARDS;

/// The handle: adds and removes subscriptions.
pub struct Topics {
    slots: Vec<Arc<Slot<TopicMsg>>>,
}

impl Default for Topics {
    fn default() -> Topics {
        Topics { slots: (0..=EXACT_SHARDS).map(|_| Arc::default()).collect() }
    }
}

impl Topics {
    /// Adds subscriptions of one session; they are met by every publish after this returns.
    pub async fn subscribe(
        &self,
        realm: &Arc<Realm>,
        session: &Arc<Session>,
        filters: &[(Filter, SubscriptionOptions)],
    ) -> Result<(), CallError> {
        let mut by_shard: HashMap<usize, Vec<Change>> = HashMap::new();
        for (filter, options) in filters {
            let known = session.note(filter, *options);
            let change = Change::Insert { filter: filter.clone(), options: *options, known };
            by_shard.entry(shard_of(realm, filter)).or_default().push(change);
        }
        self.apply(realm, session, by_shard).await
    }

    /// Removes subscriptions; those that are not there are no error.
    pub async fn unsubscribe(
        &self,
        realm: &Arc<Realm>,
        session: &Arc<Session>,
        filters: impl IntoIterator<Item = Filter>,
    ) -> Result<(), CallError> {
        let mut by_shard: HashMap<usize, Vec<Change>> = HashMap::new();
        for filter in filters {
            session.forget(&filter);
            by_shard.entry(shard_of(realm, &filter)).or_default().push(Change::Remove { filter });
        }
        self.apply(realm, session, by_shard).await
    }

    /// The session is over: all its subscriptions go.
    pub async fn leave(&self, realm: &Arc<Realm>, session: &Arc<Session>) -> Result<(), CallError> {
        let filters = session.subscriptions().into_iter().map(|(filter, _)| filter);
        self.unsubscribe(realm, session, filters).await
    }

    async fn apply(
        &self,
        realm: &Arc<Realm>,
        session: &Arc<Session>,
        by_shard: HashMap<usize, Vec<Change>>,
    ) -> Result<(), CallError> {
        for (shard, changes) in by_shard {
            let changes = Arc::new(changes);
            let message = |reply| TopicMsg::Change {
                realm: realm.clone(),
                session: session.clone(),
                changes: changes.clone(),
                reply,
            };
            self.slots[shard].call(message).await?;
        }
        Ok(())
    }

    /// How the supervisor starts the shards.
    pub(crate) fn children(broker: &Broker) -> Vec<ChildSpec> {
        (0..=EXACT_SHARDS)
            .map(|shard| {
                let broker = broker.clone();
                let start = move |supervisor| {
                    let (broker, slot) = (broker.clone(), broker.topics().slots[shard].clone());
                    let started = async move {
                        let (actor, _) =
                            Actor::spawn_linked(None, TopicActor, (broker, shard), supervisor).await?;
                        slot.set(actor.clone());
                        Ok(actor.get_cell())
                    };
                    Box::pin(started) as futures_util::future::BoxFuture<'static, _>
                };
                ChildSpec { kind: "topic_shard", start: Arc::new(start) }
            })
            .collect()
    }

    /// Makes a shard panic, for the supervision tests.
    pub fn panic(&self, shard: usize) {
        self.slots[shard % self.slots.len()].cast(TopicMsg::Panic);
    }
}

fn shard_of(realm: &Realm, filter: &Filter) -> usize {
    match filter.is_wildcard() {
        true => WILDCARD_SHARD,
        false => owner_of_part(realm.routes.part_of(filter.pattern())),
    }
}

/// The shard that writes a part of the exact table.
fn owner_of_part(part: usize) -> usize {
    part % EXACT_SHARDS
}
