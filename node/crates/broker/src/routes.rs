//! Routes: who wants which topic. Written by the topic shard actors, read by anybody.
//!
//! Filters without wildcard stand in a sharded table, the others in one trie. A reader keeps what it
//! matched ([`Matched`]) and uses it again while two generations have not moved.

mod captures;
mod linked;
pub mod matched;
pub mod members;
pub mod selected;
pub mod trie;

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::{DefaultHashBuilder, HashMap};
use parking_lot::RwLock;
use weir_access::Access;
use weir_model::Filter;
use weir_model::topic::is_reserved;
use weir_store::SubscriptionOptions;

use crate::binding::live::Live;
use crate::session::Session;
use crate::share::Group;
use crate::stream::{Stream, history};
use captures::Captures;
pub use matched::{Matched, Target};
use members::Members;
use trie::Trie;

/// Parts of the exact table, each with its own lock and generation.
pub const PARTS: usize = 64;

/// Nodes of the trie a match passes quickly: within about half a millisecond.
const NODES_MAX: usize = 4096;

#[derive(Default)]
struct Part {
    table: RwLock<HashMap<Box<str>, Members>>,
    generation: AtomicU64,
}

/// Who wants what, in one realm.
pub struct Routes {
    hasher: DefaultHashBuilder,
    exact: Vec<Part>,
    wildcards: RwLock<Trie>,
    wildcard_generation: AtomicU64,
    captures: RwLock<Captures<Stream>>,
    /// The history of the realm, if it keeps one.
    history: RwLock<Option<Arc<Stream>>>,
    live: RwLock<Captures<Live>>,
}

impl Default for Routes {
    fn default() -> Routes {
        Routes {
            hasher: DefaultHashBuilder::default(),
            exact: (0..PARTS).map(|_| Part::default()).collect(),
            wildcards: RwLock::new(Trie::default()),
            wildcard_generation: AtomicU64::new(0),
            captures: RwLock::default(),
            history: RwLock::default(),
            live: RwLock::default(),
        }
    }
}

/// Which state of the routes a match was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generations {
    part: usize,
    exact: u64,
    wildcard: u64,
}

impl Routes {
    /// Which part of the table a topic stands in.
    pub fn part_of(&self, topic: &str) -> usize {
        self.hasher.hash_one(topic) as usize % PARTS
    }

    /// Adds a subscriber, or replaces its options. `known`: it may be there already.
    pub fn insert(&self, filter: &Filter, session: &Arc<Session>, options: SubscriptionOptions, known: bool) {
        self.change(filter, |members| members.put(filter, session, options, known));
    }

    pub fn remove(&self, filter: &Filter, session: &Arc<Session>) {
        self.change(filter, |members| members.take_out(filter, session));
    }

    fn change<T>(&self, filter: &Filter, edit: impl FnOnce(&mut Members) -> T) -> T {
        if filter.is_wildcard() {
            let edited = self.wildcards.write().change(filter.pattern(), edit);
            self.wildcard_generation.fetch_add(1, Ordering::Release);
            return edited;
        }
        let part = &self.exact[self.part_of(filter.pattern())];
        let mut table = part.table.write();
        let members = table.entry(filter.pattern().into()).or_default();
        let edited = edit(members);
        if members.is_empty() {
            table.remove(filter.pattern());
        }
        drop(table);
        part.generation.fetch_add(1, Ordering::Release);
        edited
    }

    /// A stream captures other topics from now on, or is there for the first time, or no more.
    pub(crate) fn capture(&self, before: Option<&Arc<Stream>>, now: Option<&Arc<Stream>>) {
        if before.or(now).is_some_and(|stream| *stream.name == *history::NAME) {
            *self.history.write() = now.cloned();
            self.wildcard_generation.fetch_add(1, Ordering::Release);
            return;
        }
        let mut captures = self.captures.write();
        if let Some(stream) = before {
            stream.definition.filters.iter().for_each(|filter| captures.remove(filter, stream));
        }
        if let Some(stream) = now {
            stream.definition.filters.iter().for_each(|filter| captures.insert(filter, stream));
        }
        drop(captures);
        // Whatever was matched before does not know.
        self.wildcard_generation.fetch_add(1, Ordering::Release);
    }

    /// The stream that is the history of the realm.
    pub fn history(&self) -> Option<Arc<Stream>> {
        self.history.read().clone()
    }

    /// A binding takes topics live from now on, or no more.
    pub(crate) fn bind_live(&self, filters: &[Filter], live: &Arc<Live>, is_bound: bool) {
        let mut bound = self.live.write();
        for filter in filters {
            match is_bound {
                true => bound.insert(filter, live),
                false => bound.remove(filter, live),
            }
        }
        drop(bound);
        self.wildcard_generation.fetch_add(1, Ordering::Release);
    }

    /// The group of a shared filter, if it has members.
    pub fn group(&self, filter: &Filter) -> Option<Arc<Group>> {
        let find = |members: &Members| members.groups().iter().find(|g| g.filter == *filter).cloned();
        if filter.is_wildcard() {
            return self.wildcards.read().get(filter.pattern()).and_then(find);
        }
        let part = &self.exact[self.part_of(filter.pattern())];
        part.table.read().get(filter.pattern()).and_then(find)
    }

    /// Everybody who wants `topic` and may have it, each session once.
    pub fn find(&self, topic: &str, access: &Access) -> Matched {
        self.find_within(topic, access, usize::MAX).expect("there is no bound")
    }

    /// The same, unless it would take long: then `None`, to be made where nobody waits for the thread.
    pub fn find_quickly(&self, topic: &str, access: &Access) -> Option<Matched> {
        self.find_within(topic, access, NODES_MAX)
    }

    fn find_within(&self, topic: &str, access: &Access, nodes_max: usize) -> Option<Matched> {
        let version = access.version();
        let generations = self.generations(topic);
        let mut found = matched::Collector::default();
        if let Some(members) = self.exact[generations.part].table.read().get(topic) {
            found.add(members);
        }
        let whole = self.wildcards.read().visit(topic, nodes_max, &mut |members| found.add(members));
        whole.then(|| {
            let (captures, live) = (self.captures.read().find(topic), self.live.read().find(topic));
            let history = self.history.read().clone().filter(|_| !is_reserved(topic));
            let captured = matched::Captured { captures, history, live };
            found.finish(generations, version, captured, &|session| session.may_receive(access, topic))
        })
    }

    /// Whether a match is still what [`Routes::find`] would say.
    pub fn is_current(&self, generations: Generations) -> bool {
        self.wildcard_generation.load(Ordering::Acquire) == generations.wildcard
            && self.exact[generations.part].generation.load(Ordering::Acquire) == generations.exact
    }

    fn generations(&self, topic: &str) -> Generations {
        let part = self.part_of(topic);
        Generations {
            part,
            exact: self.exact[part].generation.load(Ordering::Acquire),
            wildcard: self.wildcard_generation.load(Ordering::Acquire),
        }
    }

    /// Replaces parts of the table by what `subscriptions` say, and what other nodes have there; readers see
    /// the old until the new is whole.
    pub fn rebuild_exact(
        &self,
        owned: impl Fn(usize) -> bool,
        subscriptions: &[(Arc<Session>, Filter, SubscriptionOptions)],
    ) {
        let linked = |part| if owned(part) { self.linked(part) } else { HashMap::new() };
        let mut fresh: Vec<HashMap<Box<str>, Members>> = (0..PARTS).map(linked).collect();
        for (session, filter, options) in subscriptions.iter().filter(|(_, f, _)| !f.is_wildcard()) {
            let part = self.part_of(filter.pattern());
            if owned(part) {
                fresh[part].entry(filter.pattern().into()).or_default().add(filter, session, *options);
            }
        }
        for (index, table) in fresh.into_iter().enumerate().filter(|(index, _)| owned(*index)) {
            let old = std::mem::replace(&mut *self.exact[index].table.write(), table);
            self.exact[index].generation.fetch_add(1, Ordering::Release);
            drop(old);
        }
    }

    /// Replaces the wildcard trie by what `subscriptions` say.
    pub fn rebuild_wildcards(&self, subscriptions: &[(Arc<Session>, Filter, SubscriptionOptions)]) {
        let mut fresh = Trie::default();
        for (session, filter, options) in subscriptions.iter().filter(|(_, f, _)| f.is_wildcard()) {
            fresh.change(filter.pattern(), |members| members.add(filter, session, *options));
        }
        let old = std::mem::replace(&mut *self.wildcards.write(), fresh);
        self.wildcard_generation.fetch_add(1, Ordering::Release);
        drop(old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use weir_model::Qos;
    use weir_store::{SessionKey, SessionKind};

    fn session(name: &str) -> Arc<Session> {
        let key = SessionKey { realm: "r".into(), kind: SessionKind::Client, name: name.into() };
        Session::new(key, None, None)
    }

    fn options(qos: Qos, id: u32) -> SubscriptionOptions {
        SubscriptionOptions { qos, subscription_id: Some(id), ..SubscriptionOptions::default() }
    }

    #[test]
    fn overlapping_subscriptions_deliver_once_with_all_ids_and_the_highest_qos() {
        let (routes, session) = (Routes::default(), session("a"));
        for (filter, qos, id) in [("a/b", 0, 1), ("a/+", 2, 2), ("#", 1, 3)] {
            let filter = Filter::new(filter).unwrap();
            routes.insert(&filter, &session, options(Qos::from_bits(qos).unwrap(), id), false);
        }
        let matched = routes.find("a/b", &Access::open());
        assert_eq!(matched.targets.len(), 1);
        assert_eq!(matched.targets[0].qos, Qos::ExactlyOnce);
        let mut ids = matched.targets[0].subscription_ids.to_vec();
        ids.sort_unstable();
        assert_eq!(ids, [1, 2, 3]);
    }

    #[test]
    fn a_match_is_current_until_somebody_subscribes_near_it() {
        let (routes, session) = (Routes::default(), session("a"));
        let matched = routes.find("a/b", &Access::open());
        assert!(routes.is_current(matched.generations));
        routes.insert(&Filter::new("a/b").unwrap(), &session, SubscriptionOptions::default(), false);
        assert!(!routes.is_current(matched.generations));
        let matched = routes.find("a/b", &Access::open());
        routes.insert(&Filter::new("x/#").unwrap(), &session, SubscriptionOptions::default(), false);
        assert!(!routes.is_current(matched.generations));
    }

    #[test]
    fn a_rebuilt_table_finds_the_same() {
        let routes = Routes::default();
        let list: Vec<_> = ["a/b", "a/+", "$share/g/a/b", "c"]
            .iter()
            .map(|f| (session(f), Filter::new(f).unwrap(), SubscriptionOptions::default()))
            .collect();
        routes.rebuild_exact(|_| true, &list);
        routes.rebuild_wildcards(&list);
        let matched = routes.find("a/b", &Access::open());
        assert_eq!((matched.targets.len(), matched.groups.len()), (2, 1));
    }

    proptest! {
        #[test]
        fn the_tables_agree_with_matching_one_by_one(
            filters in prop::collection::btree_set("(a|b|\\+)(/(a|b|\\+)){0,3}(/#)?", 1..20),
            topic in "(a|b)(/(a|b)){0,4}",
            removed in 0usize..20,
        ) {
            let routes = Routes::default();
            let mut list: Vec<_> =
                filters.iter().map(|f| (session(f), Filter::new(f).unwrap())).collect();
            for (session, filter) in &list {
                routes.insert(filter, session, SubscriptionOptions::default(), false);
            }
            for (session, filter) in list.drain(..removed.min(list.len())) {
                routes.remove(&filter, &session);
            }
            let mut expected: Vec<_> = list
                .iter()
                .filter(|(_, f)| f.matches(&topic))
                .map(|(s, _)| s.key.name.to_string())
                .collect();
            let mut found: Vec<_> =
                routes.find(&topic, &Access::open()).targets.iter().map(|t| t.session.key.name.to_string()).collect();
            expected.sort();
            found.sort();
            prop_assert_eq!(found, expected);
        }
    }
}
