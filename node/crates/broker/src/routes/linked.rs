//! What stands in the routes for other nodes. Their filters without wildcard are written down nowhere
//! else, so that each costs little; those with one are on the receiver's own list as well, because a walk
//! over the trie would hold its lock for long.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::HashMap;
use weir_model::Filter;
use weir_store::SubscriptionOptions;

use super::Routes;
use super::members::Members;
use crate::session::Session;

impl Routes {
    /// Adds what stands for another node, or replaces its options; returns those it had.
    pub(crate) fn link(
        &self,
        filter: &Filter,
        receiver: &Arc<Session>,
        options: SubscriptionOptions,
    ) -> Option<SubscriptionOptions> {
        if filter.is_wildcard() {
            receiver.note(filter, options);
        }
        self.change(filter, |members| {
            let had = members.options_of(filter, receiver);
            match filter.share() {
                Some(_) => members.join(filter, receiver, options),
                None => members.insert(receiver, options, had.is_some()),
            }
            had
        })
    }

    /// Takes it out; returns the options it had.
    pub(crate) fn unlink(&self, filter: &Filter, receiver: &Arc<Session>) -> Option<SubscriptionOptions> {
        if filter.is_wildcard() {
            receiver.forget(filter);
        }
        self.change(filter, |members| {
            let had = members.options_of(filter, receiver);
            members.take_out(filter, receiver);
            had
        })
    }

    /// Takes it out wherever it is; returns the shared filters it had.
    pub(crate) fn unlink_all(&self, receiver: &Arc<Session>) -> Vec<Filter> {
        let mut shared = receiver.give_up_subscriptions();
        for filter in &shared {
            self.change(filter, |members| members.take_out(filter, receiver));
        }
        shared.retain(|filter| filter.share().is_some());
        for part in &self.exact {
            part.table.write().retain(|_, members| {
                members.unlink(receiver, &mut shared);
                !members.is_empty()
            });
            part.generation.fetch_add(1, Ordering::Release);
        }
        shared
    }

    /// What stands for other nodes in a part of the exact table, for the one that replaces it.
    pub(super) fn linked(&self, part: usize) -> HashMap<Box<str>, Members> {
        let table = self.exact[part].table.read();
        let linked = table.iter().map(|(pattern, members)| (pattern.clone(), members.linked()));
        linked.filter(|(_, members)| !members.is_empty()).collect()
    }
}
