//! Sessions page by page: those known here and those that other nodes have, in one order.

use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{At, SessionInfo};
use crate::broker::Broker;
use crate::session::Session;

/// Bytes of names after which a node's answer ends early: it has to fit into a notice of a link.
const BYTES_MAX: usize = 256 << 10;

/// Realm and client id: what sessions are listed by.
pub type Place = (Arc<str>, Arc<str>);

/// Which sessions; conditions are met together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    pub realm: Option<Arc<str>>,
    pub client_id_prefix: String,
    /// The inner `None` = anonymous ones.
    pub user_id: Option<Option<String>>,
    pub connected: Option<bool>,
}

/// A page of sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    pub sessions: Vec<SessionInfo>,
    /// Behind which the next page begins; `None` = that was all.
    pub next: Option<Place>,
    /// Nodes that did not answer.
    pub missing: Vec<Arc<str>>,
}

/// What one node says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    pub sessions: Vec<SessionInfo>,
    /// There is more behind the last one.
    pub more: bool,
}

/// Whose sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// All that are known here.
    Known,
    /// Those with a connection here.
    Here,
}

impl Query {
    fn wants(&self, session: &Session) -> bool {
        let user = |wanted: &Option<String>| {
            let identity = session.identity();
            let user = identity.as_ref().and_then(|identity| identity.principal.user_id.as_deref());
            user == wanted.as_deref()
        };
        let connected = || session.is_online() || session.home().is_some();
        session.key.name.starts_with(&self.client_id_prefix)
            && self.realm.as_ref().is_none_or(|realm| *realm == session.key.realm)
            && self.connected.is_none_or(|wanted| wanted == connected())
            && self.user_id.as_ref().is_none_or(user)
    }
}

impl Broker {
    /// At most `max` sessions behind `after`. `node`: only those whose connection is at the node of that name;
    /// `here` is this node's own.
    pub async fn list_sessions(
        &self,
        query: &Query,
        after: Option<&Place>,
        max: usize,
        node: Option<&str>,
        here: &str,
    ) -> Listing {
        let mut parts = Vec::new();
        let whose = if node.is_some() { Whose::Here } else { Whose::Known };
        if node.is_none_or(|node| node == here) {
            parts.push(self.list_beside(query, after, max, whose).await);
        }
        let (answers, missing) = self.ask_to_list(query, after, max, node).await;
        parts.extend(answers);
        Listing { missing, ..merge(parts, max) }
    }

    /// Looks at every session, where nobody waits for the thread.
    async fn list_beside(&self, query: &Query, after: Option<&Place>, max: usize, whose: Whose) -> Part {
        let (broker, query, after) = (self.clone(), query.clone(), after.cloned());
        let listed = tokio::task::spawn_blocking(move || broker.list(&query, after.as_ref(), max, whose));
        listed.await.unwrap_or_default()
    }

    /// The first `max` behind `after`. Each part of the directory is locked for one look at each of its sessions.
    pub(super) fn list(&self, query: &Query, after: Option<&Place>, max: usize, whose: Whose) -> Part {
        let mut first: BinaryHeap<(Arc<str>, Arc<str>)> = BinaryHeap::with_capacity(max + 1);
        let mut found = std::collections::HashMap::new();
        let mut more = false;
        self.sessions().each(&mut |session| {
            let place = (&session.key.realm, &session.key.name);
            let is_behind = after.is_none_or(|(realm, name)| place > (realm, name));
            let is_early = first.len() < max || first.peek().is_some_and(|last| place < (&last.0, &last.1));
            if !is_behind || (whose == Whose::Here && !session.is_online()) || !query.wants(session) {
                return;
            }
            more |= !is_early;
            if !is_early {
                return;
            }
            let place = (place.0.clone(), place.1.clone());
            found.insert(place.clone(), session.clone());
            first.push(place);
            if first.len() > max {
                more = true;
                first.pop().map(|last| found.remove(&last));
            }
        });
        let mut part = Part { sessions: Vec::with_capacity(first.len()), more };
        let mut bytes = 0;
        for place in first.into_sorted_vec() {
            let Some(session) = found.get(&place) else { continue };
            bytes += place.1.len();
            if bytes > BYTES_MAX && !part.sessions.is_empty() {
                part.more = true;
                break;
            }
            part.sessions.push(SessionInfo::of(self, session));
        }
        part
    }
}

/// The first `max` of all; who has a connection knows best. What a node could not say lies behind its last one,
/// so that nothing behind that is told yet.
fn merge(parts: Vec<Part>, max: usize) -> Listing {
    let place = |session: &SessionInfo| (session.realm.clone(), session.client_id.clone());
    let ends = parts.iter().filter(|part| part.more).filter_map(|part| part.sessions.last().map(place));
    let end = ends.min();
    let mut all = BTreeMap::new();
    for session in parts.into_iter().flat_map(|part| part.sessions) {
        let at = place(&session);
        let knows_better = matches!(session.at, At::Node(_)) && session.origin.is_some();
        if knows_better || !all.contains_key(&at) {
            all.insert(at, session);
        }
    }
    let total = all.len();
    let told: Vec<_> =
        all.into_iter().filter(|(at, _)| end.as_ref().is_none_or(|end| at <= end)).take(max).collect();
    let is_all = end.is_none() && told.len() == total;
    let next = told.last().map(|(at, _)| at.clone()).filter(|_| !is_all);
    Listing { sessions: told.into_iter().map(|(_, session)| session).collect(), next, missing: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(name: &str, at: At) -> SessionInfo {
        let origin = matches!(at, At::Node(_)).then(|| ("127.0.0.1:1".to_owned(), "mqtt".to_owned()));
        SessionInfo {
            realm: "r".into(),
            client_id: name.into(),
            user_id: None,
            at,
            persistent: true,
            subscriptions: 0,
            waiting: 0,
            origin,
            keep_alive_ms: 0,
        }
    }

    fn part(names: &[&str], more: bool) -> Part {
        Part { sessions: names.iter().map(|name| info(name, At::Here)).collect(), more }
    }

    fn names(listing: &Listing) -> Vec<&str> {
        listing.sessions.iter().map(|session| &*session.client_id).collect()
    }

    #[test]
    fn nothing_is_told_behind_what_a_node_could_not_say() {
        let listing = merge(vec![part(&["a", "c", "e", "g"], false), part(&["b", "d"], true)], 10);
        assert_eq!(names(&listing), ["a", "b", "c", "d"]);
        assert_eq!(listing.next, Some(("r".into(), "d".into())));
    }

    #[test]
    fn the_last_page_says_that_it_is() {
        let listing = merge(vec![part(&["a"], false), part(&["b"], false)], 2);
        assert_eq!((names(&listing), listing.next.clone()), (vec!["a", "b"], None));
        let listing = merge(vec![part(&["a", "c"], false), part(&["b"], false)], 2);
        assert_eq!((names(&listing), listing.next.is_some()), (vec!["a", "b"], true));
    }

    #[test]
    fn a_session_that_two_nodes_know_is_told_once_by_who_has_its_connection() {
        let at = |name: &str| At::Node(name.into());
        let mirrored = Part { sessions: vec![info("a", At::Nowhere)], more: false };
        let theirs = Part { sessions: vec![info("a", at("b"))], more: false };
        let listing = merge(vec![mirrored, theirs], 5);
        assert_eq!(listing.sessions.iter().map(|session| session.at.clone()).collect::<Vec<_>>(), [at("b")]);
    }
}
