//! What a state knows of the nodes that share it: whose connection has which session, and what outboxes
//! have owed since when.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use weir_model::UnixMillis;

use super::load::restored;
use super::session::Owed;
use super::{Effects, State};
use crate::{Fence, Incarnation, OutboxEntry, Restored, SessionChange, SessionKey, SessionKind};

#[derive(Debug, Default)]
pub(crate) struct Nodes {
    /// The sessions that connections of each node have.
    homes: HashMap<Incarnation, BTreeSet<SessionKey>>,
    /// Every outbox entry: since when, and whose.
    owing: BTreeMap<u64, (UnixMillis, SessionKey)>,
}

impl State {
    /// The same state, but it notes and tells what nodes that share it must know.
    pub fn shared(self) -> State {
        State { nodes: Some(Nodes::default()), ..self }
    }

    /// Connected sessions whose node is lost.
    pub fn orphans(
        &self,
        is_lost: impl Fn(Incarnation) -> bool,
    ) -> impl Iterator<Item = (SessionKey, Fence)> {
        let homes = self.nodes.iter().flat_map(|nodes| &nodes.homes);
        let lost = homes.filter(move |(home, _)| is_lost(**home)).flat_map(|(_, keys)| keys);
        lost.filter_map(|key| Some((key.clone(), self.session(key)?.fence())))
    }

    /// What is to be known of an orphan to deal with it.
    pub fn orphan(&self, key: &SessionKey) -> Option<Restored> {
        let found = restored(key, self.families.get(key)?);
        Some(Restored { outbox: Vec::new(), ..found })
    }

    /// Outbox entries that have been there since `latest` or longer, the oldest first.
    pub fn owing(&self, latest: UnixMillis) -> impl Iterator<Item = (SessionKey, u64)> {
        let all = self.nodes.iter().flat_map(|nodes| &nodes.owing);
        all.filter(move |(_, (since, _))| *since <= latest).map(|(entry, (_, key))| (key.clone(), *entry))
    }

    pub fn owed(&self, key: &SessionKey, entry: u64) -> Option<OutboxEntry> {
        self.families.get(key)?.owed.iter().find(|owed| owed.entry == entry).map(Owed::entry)
    }

    /// A connection of `home` has the session now; 0 = none has.
    pub(super) fn set_home(&mut self, key: &SessionKey, home: Incarnation) {
        let Some(session) = self.session_mut(key) else { return };
        let before = std::mem::replace(&mut session.home, home);
        self.note_home(key, before, home);
    }

    pub(super) fn note_home(&mut self, key: &SessionKey, before: Incarnation, home: Incarnation) {
        let Some(nodes) = &mut self.nodes else { return };
        if before == home {
            return;
        }
        if let Some(keys) = nodes.homes.get_mut(&before) {
            keys.remove(key);
            if keys.is_empty() {
                nodes.homes.remove(&before);
            }
        }
        if home != 0 {
            nodes.homes.entry(home).or_default().insert(key.clone());
        }
    }

    pub(super) fn note_owing(&mut self, key: &SessionKey, entry: u64, since: UnixMillis) {
        if let Some(nodes) = &mut self.nodes {
            nodes.owing.insert(entry, (since, key.clone()));
        }
    }

    pub(super) fn forget_owing(&mut self, entry: u64) {
        if let Some(nodes) = &mut self.nodes {
            nodes.owing.remove(&entry);
        }
    }

    /// Lets the nodes' mirrors hear what became of a session.
    pub(super) fn tell(&self, key: &SessionKey, out: &mut Effects, change: impl FnOnce() -> SessionChange) {
        if self.nodes.is_some() && key.kind == SessionKind::Client {
            out.sessions.push((key.clone(), change()));
        }
    }

    /// Lets them hear whose the session is.
    pub(super) fn tell_opened(&self, key: &SessionKey, present: bool, out: &mut Effects) {
        let Some(session) = self.session(key) else { return };
        self.tell(key, out, || SessionChange::Opened {
            fence: session.fence(),
            home: session.home,
            persistent: session.persistent,
            owner: session.owner.clone(),
            present,
        });
    }
}
