//! The subscribers of one pattern: plain ones, those that select of what matches, and share groups.

use std::sync::Arc;

use hashbrown::HashMap;
use smallvec::SmallVec;
use weir_model::Filter;
use weir_store::SubscriptionOptions;

use crate::session::Session;
use crate::share::Group;
use crate::sync::Selector;

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

/// A subscriber that is given only what its selector takes. A session may have several of one pattern.
#[derive(Clone)]
pub struct Selecting {
    pub member: Member,
    pub filter: Filter,
    pub selector: Arc<Selector>,
}

/// Most filters have one subscriber, and there may be millions of them.
#[derive(Default)]
pub struct Members {
    plain: SmallVec<[Member; 1]>,
    more: Option<Box<More>>,
}

/// What few filters have.
#[derive(Default)]
struct More {
    /// Where a session stands in `plain`; only when there are many.
    places: Option<HashMap<usize, usize>>,
    groups: Vec<Arc<Group>>,
    selecting: Vec<Selecting>,
}

fn address(session: &Arc<Session>) -> usize {
    Arc::as_ptr(session) as usize
}

impl Members {
    pub fn plain(&self) -> &[Member] {
        &self.plain
    }

    pub fn groups(&self) -> &[Arc<Group>] {
        self.more.as_ref().map_or(&[], |more| &more.groups)
    }

    pub fn selecting(&self) -> &[Selecting] {
        self.more.as_ref().map_or(&[], |more| &more.selecting)
    }

    pub fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.groups().is_empty() && self.selecting().is_empty()
    }

    /// Adds by whatever kind of filter, when nothing is known to be there.
    pub fn add(&mut self, filter: &Filter, session: &Arc<Session>, options: SubscriptionOptions) {
        self.put(filter, session, options, false);
    }

    /// The same; `known`: it may be there already.
    pub fn put(
        &mut self,
        filter: &Filter,
        session: &Arc<Session>,
        options: SubscriptionOptions,
        known: bool,
    ) {
        match (filter.share(), Selector::of(filter)) {
            (Some(_), _) => self.join(filter, session, options),
            (None, None) => self.insert(session, options, known),
            (None, Some(Ok(selector))) => self.select(filter, session, options, selector),
            // Nobody was let in with one that is none.
            (None, Some(Err(error))) => tracing::error!(%error, "a stored subscription cannot be read"),
        }
    }

    fn select(
        &mut self,
        filter: &Filter,
        session: &Arc<Session>,
        options: SubscriptionOptions,
        selector: Selector,
    ) {
        let selecting = &mut self.more.get_or_insert_default().selecting;
        let same =
            |known: &&mut Selecting| Arc::ptr_eq(&known.member.session, session) && known.filter == *filter;
        if let Some(known) = selecting.iter_mut().find(same) {
            known.member.options = options;
            return;
        }
        let alike = selecting.iter().find(|known| known.filter == *filter);
        let selector = alike.map_or_else(|| Arc::new(selector), |known| known.selector.clone());
        let member = Member { session: session.clone(), options };
        selecting.push(Selecting { member, filter: filter.clone(), selector });
    }

    fn unselect(&mut self, filter: &Filter, session: &Arc<Session>) {
        if let Some(more) = &mut self.more {
            more.selecting
                .retain(|known| !Arc::ptr_eq(&known.member.session, session) || known.filter != *filter);
            self.drop_more();
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
            self.more.get_or_insert_default().places = Some(places);
        } else if let Some(places) = self.more.as_mut().and_then(|more| more.places.as_mut()) {
            places.insert(address(session), self.plain.len() - 1);
        }
    }

    /// Removes by whatever kind of filter.
    pub fn take_out(&mut self, filter: &Filter, session: &Arc<Session>) {
        match (filter.share(), filter.selector()) {
            (Some(_), _) => self.leave(filter, session),
            (None, Some(_)) => self.unselect(filter, session),
            (None, None) => self.remove(session),
        }
    }

    pub fn remove(&mut self, session: &Arc<Session>) {
        let Some(place) = self.place(session) else { return };
        self.plain.swap_remove(place);
        let moved = self.plain.get(place).map(|moved| address(&moved.session));
        let few = self.plain.len() < INDEX_FROM;
        if let Some(more) = self.more.as_mut().filter(|more| more.places.is_some()) {
            if let Some(places) = more.places.as_mut().filter(|_| !few) {
                places.remove(&address(session));
                places.extend(moved.map(|moved| (moved, place)));
            } else {
                more.places = None;
            }
            self.drop_more();
        }
        if self.plain.spilled() && self.plain.len() <= 1 {
            self.plain.shrink_to_fit();
        }
    }

    fn drop_more(&mut self) {
        self.more
            .take_if(|more| more.places.is_none() && more.groups.is_empty() && more.selecting.is_empty());
    }

    fn place(&self, session: &Arc<Session>) -> Option<usize> {
        match self.more.as_ref().and_then(|more| more.places.as_ref()) {
            Some(places) => places.get(&address(session)).copied(),
            None => self.plain.iter().position(|m| Arc::ptr_eq(&m.session, session)),
        }
    }

    pub fn join(&mut self, filter: &Filter, session: &Arc<Session>, options: SubscriptionOptions) {
        let groups = &mut self.more.get_or_insert_default().groups;
        let group = match groups.iter().find(|g| g.filter == *filter) {
            Some(group) => group,
            None => {
                groups.push(Group::new(filter.clone(), session.key.realm.clone()));
                &groups[groups.len() - 1]
            }
        };
        group.join(session, options);
    }

    pub fn leave(&mut self, filter: &Filter, session: &Arc<Session>) {
        if let Some(more) = &mut self.more {
            more.groups.retain(|group| group.filter != *filter || !group.leave(session));
            self.drop_more();
        }
    }

    /// What a session has asked of a filter of this pattern.
    pub fn options_of(&self, filter: &Filter, session: &Arc<Session>) -> Option<SubscriptionOptions> {
        match filter.share() {
            Some(_) => self.groups().iter().find(|group| group.filter == *filter)?.options_of(session),
            None => Some(self.plain[self.place(session)?].options),
        }
    }

    /// Takes a session out by whatever filters; `shared` gets those that are.
    pub fn unlink(&mut self, session: &Arc<Session>, shared: &mut Vec<Filter>) {
        self.remove(session);
        let has = |group: &&Arc<Group>| group.options_of(session).is_some();
        let filters: Vec<Filter> =
            self.groups().iter().filter(has).map(|group| group.filter.clone()).collect();
        filters.iter().for_each(|filter| self.leave(filter, session));
        shared.extend(filters);
    }

    /// Only those that stand for other nodes.
    pub fn linked(&self) -> Members {
        let mut linked = Members::default();
        for member in self.plain.iter().filter(|member| member.session.peer.is_some()) {
            linked.insert(&member.session, member.options, false);
        }
        for group in self.groups() {
            for member in group.linked() {
                linked.join(&group.filter, &member.session, member.options);
            }
        }
        linked
    }
}
