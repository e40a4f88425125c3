//! Topic shards: the single writers of the routes. Readers match without asking them.

pub mod actor;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use ractor::Actor;
use weir_cluster::Links;
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
    /// Who tells the other nodes what clean sessions here want.
    links: OnceLock<Arc<Links>>,
}

impl Default for Topics {
    fn default() -> Topics {
        Topics { slots: (0..=EXACT_SHARDS).map(|_| Arc::default()).collect(), links: OnceLock::new() }
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
            // Told before it is noted: whoever takes it off the list untells it.
            let told = self.links.get().filter(|_| session.stored.is_none() && !session.has(filter));
            // What matches is selected of here, not at the other nodes.
            let asked = filter.unselected();
            told.inspect(|links| links.interest().add(&realm.name, &asked));
            let noted = session.note(filter, *options);
            if noted != Some(false) {
                told.inspect(|links| links.interest().remove(&realm.name, &asked));
            }
            let Some(known) = noted else { continue };
            let change = Change::Insert { filter: filter.clone(), options: *options, known };
            by_shard.entry(shard_of(realm, filter)).or_default().push(change);
        }
        self.apply(realm, session, by_shard).await
    }

    /// Tells other nodes from now on what clean sessions here want.
    pub(crate) fn join(&self, links: Arc<Links>) {
        let _ = self.links.set(links);
    }

    /// Removes subscriptions; those that are not there are no error.
    pub async fn unsubscribe(
        &self,
        realm: &Arc<Realm>,
        session: &Arc<Session>,
        filters: impl IntoIterator<Item = Filter>,
    ) -> Result<(), CallError> {
        let filters = filters.into_iter().collect::<Vec<_>>();
        for filter in filters.iter().filter(|filter| session.forget(filter)) {
            self.untell(realm, session, filter);
        }
        self.remove(realm, session, filters).await
    }

    /// The session is over: all its subscriptions go.
    pub async fn leave(&self, realm: &Arc<Realm>, session: &Arc<Session>) -> Result<(), CallError> {
        let filters = session.give_up_subscriptions();
        filters.iter().for_each(|filter| self.untell(realm, session, filter));
        self.remove(realm, session, filters).await
    }

    /// The session is over; at once, beside the shards.
    pub(crate) fn leave_now(&self, realm: &Realm, session: &Arc<Session>) {
        for filter in session.give_up_subscriptions() {
            self.untell(realm, session, &filter);
            realm.routes.remove(&filter, session);
        }
    }

    /// A clean session wants a filter no more: other nodes hear of it.
    fn untell(&self, realm: &Realm, session: &Session, filter: &Filter) {
        if let Some(links) = self.links.get().filter(|_| session.stored.is_none()) {
            links.interest().remove(&realm.name, &filter.unselected());
        }
    }

    async fn remove(
        &self,
        realm: &Arc<Realm>,
        session: &Arc<Session>,
        filters: Vec<Filter>,
    ) -> Result<(), CallError> {
        let mut by_shard: HashMap<usize, Vec<Change>> = HashMap::new();
        for filter in filters {
            by_shard.entry(shard_of(realm, &filter)).or_default().push(Change::Remove { filter });
        }
        self.apply(realm, session, by_shard).await
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
