//! What nodes ask each other for the meta API: each answers for its own.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weir_broker::Broker;
use weir_broker::calls::{MatchKind, RegistrationInfo};
use weir_wire::wamp::message::Match;

use super::super::subscriptions as book;
use super::sessions;

/// Bytes of an answer after which the rest is for the next one: it has to fit into a notice of a link.
const PAGE_BYTES: usize = 128 << 10;

/// Bytes of a number in an answer, at most.
const NUMBER_BYTES: usize = 10;

/// A question; of those with `after` only what is above that number is told. New ones come last.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Question {
    Count {
        realm: Arc<str>,
        roles: Option<Vec<String>>,
    },
    Sessions {
        realm: Arc<str>,
        roles: Option<Vec<String>>,
        after: u64,
    },
    Session {
        realm: Arc<str>,
        id: u64,
    },
    /// Ends sessions, all but one, with these words.
    End {
        realm: Arc<str>,
        whose: Whose,
        but: u64,
        why: String,
    },
    Subscriptions {
        realm: Arc<str>,
        which: Which,
        after: u64,
    },
    Subscribers {
        realm: Arc<str>,
        name: Name,
        after: u64,
    },
    Registrations {
        realm: Arc<str>,
        which: Registered,
        after: u64,
    },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Reply {
    Counted(u64),
    Numbers(Page<u64>),
    /// What is told of a session, as JSON.
    Session(Option<String>),
    Subscriptions(Page<Known>),
    Registrations(Page<RegistrationInfo>),
}

/// Whose sessions.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Whose {
    Session(u64),
    Authid(String),
    Authrole(String),
    Everybody,
}

/// Which subscriptions.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Which {
    All,
    /// Those that mean this topic.
    Matching(String),
    Named(Name),
    Number(u64),
}

/// Which registrations, of those whose home the node is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Registered {
    All,
    /// What a call of this topic would find.
    For(String),
    Number(u64),
}

/// By what all nodes know a subscription.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Name {
    pub uri: String,
    pub policy: u8,
    /// Of its filter.
    pub selector: Option<String>,
}

/// A subscription, as a node knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    pub number: u32,
    pub name: Name,
    /// The one session that has it, which shares it with nobody.
    pub own: Option<u64>,
    pub created: u64,
}

impl Name {
    pub fn of(entry: &book::Entry) -> Name {
        let selector = entry.manner.selector.as_deref().map(str::to_owned);
        Name { uri: entry.uri.to_string(), policy: number_of(entry.policy), selector }
    }

    fn look_up(&self, realm: &Arc<str>) -> Option<(u32, book::Entry)> {
        let number = book::lookup(realm, &self.uri, policy_of(self.policy), self.selector.as_deref())?;
        Some((number, book::get(realm, number.into())?))
    }
}

/// Some of what there is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Page<T> {
    pub items: Vec<T>,
    /// There is more behind this number.
    pub next: Option<u64>,
}

impl<T> Page<T> {
    /// Of items in the order of their numbers, as many as an answer holds.
    fn of(
        items: impl Iterator<Item = T>,
        number: impl Fn(&T) -> u64,
        bytes: impl Fn(&T) -> usize,
    ) -> Page<T> {
        let (mut page, mut left) = (Page { items: Vec::new(), next: None }, PAGE_BYTES);
        for item in items {
            if bytes(&item) > left && !page.items.is_empty() {
                page.next = page.items.last().map(&number);
                break;
            }
            left = left.saturating_sub(bytes(&item));
            page.items.push(item);
        }
        page
    }
}

/// The number that stands for a policy.
pub(super) fn number_of(policy: Match) -> u8 {
    match policy {
        Match::Exact => 0,
        Match::Prefix => 1,
        Match::Wildcard => 2,
    }
}

pub(super) fn policy_of(number: u8) -> Match {
    match number {
        1 => Match::Prefix,
        2 => Match::Wildcard,
        _ => Match::Exact,
    }
}

/// Answers another node; `None` = the question is of a newer one.
pub fn answer(broker: &Broker, question: &[u8]) -> Option<Vec<u8>> {
    let reply = match postcard::from_bytes(question).ok()? {
        Question::Count { realm, roles } => {
            Reply::Counted(sessions::here(broker, &realm, roles.as_deref()).len() as u64)
        }
        Question::Sessions { realm, roles, after } => {
            let ids = sessions::here(broker, &realm, roles.as_deref()).into_iter().map(|(id, _)| id);
            Reply::Numbers(Page::of(ids.filter(|id| *id > after), |id| *id, |_| NUMBER_BYTES))
        }
        Question::Session { realm, id } => {
            let found = sessions::find(broker, &realm, id);
            Reply::Session(found.map(|session| sessions::told(id, &session).to_string()))
        }
        Question::End { realm, whose, but, why } => {
            let ended = sessions::end_here(broker, &realm, &whose, but, &why);
            Reply::Numbers(Page { items: ended, next: None })
        }
        Question::Subscriptions { realm, which, after } => {
            let known =
                subscriptions(&realm, &which).into_iter().filter(|known| u64::from(known.number) > after);
            Reply::Subscriptions(Page::of(
                known,
                |known| known.number.into(),
                |known| known.name.uri.len() + 64,
            ))
        }
        Question::Subscribers { realm, name, after } => {
            let ids = subscribers(&realm, &name).into_iter().filter(|id| *id > after);
            Reply::Numbers(Page::of(ids, |id| *id, |_| NUMBER_BYTES))
        }
        Question::Registrations { realm, which, after } => {
            let mut known = registrations(broker, &realm, &which);
            known.retain(|known| known.id > after);
            known.sort_by_key(|known| known.id);
            let bytes = |known: &RegistrationInfo| {
                known.procedure.as_str().len() + 64 + known.callees.len() * NUMBER_BYTES
            };
            Reply::Registrations(Page::of(known.into_iter(), |known| known.id, bytes))
        }
    };
    postcard::to_allocvec(&reply).ok()
}

/// The subscriptions of this node, by their numbers.
pub(super) fn subscriptions(realm: &Arc<str>, which: &Which) -> Vec<Known> {
    let found = match which {
        Which::All => book::list(realm, |_| true),
        Which::Matching(topic) => book::list(realm, |entry| entry.pattern.matches(topic)),
        Which::Named(name) => name.look_up(realm).into_iter().collect(),
        Which::Number(number) => {
            let narrow = u32::try_from(*number).ok();
            narrow.and_then(|narrow| Some((narrow, book::get(realm, *number)?))).into_iter().collect()
        }
    };
    let known = |(number, entry): (u32, book::Entry)| Known {
        number,
        name: Name::of(&entry),
        own: entry.sessions.first().copied().filter(|_| entry.manner.own != 0),
        created: entry.created.0,
    };
    found.into_iter().map(known).collect()
}

/// The sessions of this node that have a subscription.
pub(super) fn subscribers(realm: &Arc<str>, name: &Name) -> Vec<u64> {
    name.look_up(realm).map(|(_, entry)| entry.sessions.into_iter().collect()).unwrap_or_default()
}

/// The registrations whose home is this node.
pub(super) fn registrations(broker: &Broker, realm: &Arc<str>, which: &Registered) -> Vec<RegistrationInfo> {
    let calls = broker.calls();
    match which {
        Registered::All => calls.registrations_here(realm),
        Registered::For(topic) => {
            let kinds = [MatchKind::Exact, MatchKind::Prefix, MatchKind::Wildcard];
            calls.registration_here(realm, topic, &kinds).into_iter().collect()
        }
        Registered::Number(id) => {
            let mut known = calls.registrations_here(realm);
            known.retain(|known| known.id == *id);
            known
        }
    }
}

/// What others have said, by node, and who has said nothing.
pub(super) type Said<T> = (Vec<(Arc<str>, T)>, Vec<Arc<str>>);

/// Asks all other nodes, or those of these names.
pub(super) async fn ask<T>(
    broker: &Broker,
    question: Question,
    of: Option<&[Arc<str>]>,
    read: &(dyn Fn(Reply) -> Option<T> + Send + Sync),
) -> Said<T> {
    let body = postcard::to_allocvec(&question).unwrap_or_default();
    let inquired = broker.inquire(body, of).await;
    let (mut said, mut missing) = (Vec::new(), inquired.missing);
    for (node, answer) in inquired.answers {
        match postcard::from_bytes(&answer).ok().and_then(read) {
            Some(answer) => said.push((node, answer)),
            None => missing.push(node),
        }
    }
    (said, missing)
}

/// The same, page by page.
pub(super) async fn ask_all<T>(
    broker: &Broker,
    question: impl Fn(u64) -> Question,
    of: Option<&[Arc<str>]>,
    read: &(dyn Fn(Reply) -> Option<Page<T>> + Send + Sync),
) -> (Vec<T>, Vec<Arc<str>>) {
    let (first, mut missing) = ask(broker, question(0), of, read).await;
    let mut items = Vec::new();
    for (node, page) in first {
        items.extend(page.items);
        let mut next = page.next;
        while let Some(after) = next {
            let only = [node.clone()];
            let (said, _) = ask(broker, question(after), Some(&only), read).await;
            let Some((_, page)) = said.into_iter().next() else {
                missing.push(node.clone());
                break;
            };
            items.extend(page.items);
            next = page.next.filter(|next| *next > after);
        }
    }
    (items, missing)
}

pub(super) fn numbers(reply: Reply) -> Option<Page<u64>> {
    match reply {
        Reply::Numbers(page) => Some(page),
        _ => None,
    }
}

pub(super) fn known(reply: Reply) -> Option<Page<Known>> {
    match reply {
        Reply::Subscriptions(page) => Some(page),
        _ => None,
    }
}

pub(super) fn registered(reply: Reply) -> Option<Page<RegistrationInfo>> {
    match reply {
        Reply::Registrations(page) => Some(page),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_holds_what_an_answer_can_and_says_where_the_next_begins() {
        let all: Vec<u64> = (1..=30_000).collect();
        let (mut after, mut found) = (0, Vec::new());
        loop {
            let rest = all.iter().copied().filter(|number| *number > after);
            let page = Page::of(rest, |number| *number, |_| NUMBER_BYTES);
            assert!(page.items.len() * NUMBER_BYTES <= PAGE_BYTES);
            found.extend(page.items);
            match page.next {
                Some(next) => after = next,
                None => break,
            }
        }
        assert_eq!(found, all);
    }

    #[test]
    fn one_item_that_is_too_large_goes_alone() {
        let page = Page::of([1, 2].into_iter(), |number| *number, |_| PAGE_BYTES + 1);
        assert_eq!((page.items, page.next), (vec![1], Some(1)));
    }
}
