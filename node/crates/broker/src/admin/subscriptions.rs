//! Subscriptions by topic or filter, page by page, as this node knows them.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_access::Access;
use weir_model::{Filter, Topic};
use weir_store::SubscriptionOptions;

use crate::broker::Broker;
use crate::realm::Realm;
use crate::session::Session;

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Subscriptions that a message of this topic meets.
    Topic(Topic),
    /// Subscriptions with exactly this filter.
    Filter(Filter),
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribed {
    pub client_id: Arc<str>,
    pub filter: Filter,
    pub options: SubscriptionOptions,
}

/// A page of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subscribers {
    /// In the order of client ids, then filters.
    pub subscriptions: Vec<Subscribed>,
    /// There are more behind the last one.
    pub more: bool,
    /// Other nodes with clean sessions that want it.
    pub peers: Vec<Arc<str>>,
}

impl Broker {
    /// At most `max` subscriptions behind the client id and filter of `after`.
    pub async fn list_subscriptions(
        &self,
        realm: &Arc<Realm>,
        wanted: Wanted,
        after: Option<(Arc<str>, String)>,
        max: usize,
    ) -> Subscribers {
        let (broker, realm) = (self.clone(), realm.clone());
        let look = move || broker.find_subscriptions(&realm, &wanted, after.as_ref(), max);
        // It may look at every session: where nobody waits for the thread.
        tokio::task::spawn_blocking(look).await.unwrap_or_default()
    }

    fn find_subscriptions(
        &self,
        realm: &Realm,
        wanted: &Wanted,
        after: Option<&(Arc<str>, String)>,
        max: usize,
    ) -> Subscribers {
        let mut first: BTreeMap<(Arc<str>, String), Subscribed> = BTreeMap::new();
        let mut found = Subscribers::default();
        let mut add = |session: &Arc<Session>| {
            if let Some(peer) = &session.peer {
                found.peers.push(Arc::from(peer.link.node_id().as_str()));
                return;
            }
            for (filter, options) in wanted.of(session) {
                let at = (session.key.name.clone(), filter.as_str().to_owned());
                if after.is_some_and(|after| at <= *after) {
                    continue;
                }
                first.insert(at, Subscribed { client_id: session.key.name.clone(), filter, options });
                if first.len() > max {
                    first.pop_last();
                    found.more = true;
                }
            }
        };
        match wanted {
            Wanted::Topic(topic) => {
                // Everybody, whatever the policy says.
                let matched = realm.routes.find(topic, &Access::open());
                matched.targets.iter().for_each(|target| add(&target.session));
                matched.groups.iter().flat_map(|group| group.members()).for_each(|member| add(&member));
            }
            Wanted::Filter(filter) => {
                for session in self.sessions().all(&realm.name) {
                    if session.has(filter) {
                        add(&session);
                    }
                }
                for session in self.peers().receivers(&realm.name) {
                    if session.has(filter) {
                        add(&session);
                    }
                }
            }
        }
        found.subscriptions = first.into_values().collect();
        found.peers.sort();
        found.peers.dedup();
        found
    }
}

impl Wanted {
    fn of(&self, session: &Session) -> Vec<(Filter, SubscriptionOptions)> {
        match self {
            Wanted::Filter(filter) => {
                session.subscription(filter).map(|options| (filter.clone(), options)).into_iter().collect()
            }
            Wanted::Topic(topic) => {
                let all = session.subscriptions().into_iter();
                all.filter(|(filter, _)| filter.matches(topic)).collect()
            }
        }
    }
}
