//! The subscribers of one filter: plain ones and share groups.

use std::sync::Arc;

use hashbrown::HashMap;
use smallvec::SmallVec;
use weir_model::Filter;
use weir_store::SubscriptionOptions;

use crate::session::Session;
use crate::share::Group;

/// Above this many members a place index is kept, so that leaving stays cheap.
const INDEX_FROM: usize = 32;

#[derive(Clone)]
pub struct Member {
    pub session: Arc<Session>,
    pub options: SubscriptionOptions,
}

impl Member {
    /// How many subscribers it stands for: more than one for a peer's members of a share group.
    pub fn weight(&self) -> usize {
        match self.session.peer {
            Some(_) => self.options.subscription_id.map_or(1, |members| members as usize),
            None => 1,
        }
    }

    /// What its copies are marked with (MQTT-3.8.2.1.2).
    pub fn subscription_ids(&self) -> SmallVec<[u32; 1]> {
        let own = self.options.subscription_id.filter(|_| self.session.peer.is_none());
        own.into_iter().collect()
    }
}

#[derive(Default)]
pub struct Members {
    plain: SmallVec<[Member; 1]>,
    /// Where a session stands in `plain`; only when there are many.
    places: Option<Box<HashMap<usize, usize>>>,
    groups: Vec<Arc<Group>>,
}

fn address(session: &Arc<Session>) -> usize {
    Arc::as_ptr(session) as usize
}

impl Members {
    pub fn plain(&self) -> &[Member] {
        &self.plain
    }

    pub fn groups(&self) -> &[Arc<Group>] {
        &self.groups
    }

    pub fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.groups.is_empty()
    }

    /// Adds by whatever kind of filter, when nothing is known to be there.
    pub fn add(&mut self, filter: &Filter, session: &Arc<Session>, options: SubscriptionOptions) {
        match filter.share() {
            Some(_) => self.join(filter, session, options),
            None => self.insert(session, options, false),
        }
    }

    pub fn insert(&mut self, session: &Arc<Session>, options: SubscriptionOptions, known: bool) {
        if known && let Some(place) = self.place(session) {
            self.plain[place].options = options;
            return;
        }
        self.plain.push(Member { session: session.clone(), options });
        if self.plain.len() == INDEX_FROM {
            let places = self.plain.iter().enumerate().map(|(at, m)| (address(&m.session), at)).collect();
            self.places = Some(Box::new(places));
        } else if let Some(places) = &mut self.places {
            places.insert(address(session), self.plain.len() - 1);
        }
    }

    pub fn remove(&mut self, session: &Arc<Session>) {
        let Some(place) = self.place(session) else { return };
        self.plain.swap_remove(place);
        if let Some(places) = &mut self.places {
            places.remove(&address(session));
            if let Some(moved) = self.plain.get(place) {
                places.insert(address(&moved.session), place);
            }
        }
        if self.plain.len() < INDEX_FROM {
            self.places = None;
        }
        if self.plain.spilled() && self.plain.len() <= 1 {
            self.plain.shrink_to_fit();
        }
    }

    fn place(&self, session: &Arc<Session>) -> Option<usize> {
        match &self.places {
            Some(places) => places.get(&address(session)).copied(),
            None => self.plain.iter().position(|m| Arc::ptr_eq(&m.session, session)),
        }
    }

    pub fn join(&mut self, filter: &Filter, session: &Arc<Session>, options: SubscriptionOptions) {
        let group = match self.groups.iter().find(|g| g.filter == *filter) {
            Some(group) => group,
            None => {
                self.groups.push(Group::new(filter.clone(), session.key.realm.clone()));
                &self.groups[self.groups.len() - 1]
            }
        };
        group.join(session, options);
    }

    pub fn leave(&mut self, filter: &Filter, session: &Arc<Session>) {
        self.groups.retain(|group| group.filter != *filter || !group.leave(session));
    }
}
