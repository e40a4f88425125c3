//! Who wants a topic where some select of what matches: each selector is asked once for a message, and what came of it is
//! remembered for the next one of which they say the same.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use smallvec::SmallVec;
use weir_model::Message;

use super::matched::{Target, merged};
use super::members::{Member, Selecting};
use crate::sync::{Selector, Subject};

/// Lists of receivers that are remembered; beyond, the oldest goes.
const LISTS: usize = 8;

/// What each selector said, a bit for each.
type Said = SmallVec<[u64; 1]>;

pub(super) struct Selected {
    plain: Vec<Member>,
    /// With the place of its selector.
    selecting: Vec<(Member, usize)>,
    selectors: Vec<Arc<Selector>>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// The message asked about last, which is asked about more than once on its way.
    last: Option<(Weak<Message>, Arc<[Target]>)>,
    lists: Vec<(Said, Arc<[Target]>)>,
}

impl Selected {
    pub fn new(plain: Vec<Member>, selecting: Vec<Selecting>) -> Selected {
        let mut filters = Vec::<Box<str>>::new();
        let mut selectors = Vec::new();
        let mut place_of = |selecting: &Selecting| {
            let text = selecting.filter.selector().unwrap_or_default();
            filters.iter().position(|known| **known == *text).unwrap_or_else(|| {
                filters.push(text.into());
                selectors.push(selecting.selector.clone());
                filters.len() - 1
            })
        };
        let selecting =
            selecting.into_iter().map(|selecting| (selecting.member.clone(), place_of(&selecting)));
        let selecting = selecting.collect();
        Selected { plain, selecting, selectors, known: Mutex::default() }
    }

    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.selecting.iter().map(|(member, _)| member)
    }

    /// Who wants this message.
    pub fn of(&self, message: &Arc<Message>) -> Arc<[Target]> {
        if let Some((last, targets)) = &self.known.lock().last
            && std::ptr::eq(last.as_ptr(), Arc::as_ptr(message))
        {
            return targets.clone();
        }
        // Nobody else waits while selectors are asked.
        let said = self.ask(message);
        let mut known = self.known.lock();
        let targets = match known.lists.iter().find(|(known, _)| *known == said) {
            Some((_, targets)) => targets.clone(),
            None => {
                let targets = self.targets(&said);
                if known.lists.len() >= LISTS {
                    known.lists.remove(0);
                }
                known.lists.push((said, targets.clone()));
                targets
            }
        };
        known.last = Some((Arc::downgrade(message), targets.clone()));
        targets
    }

    fn ask(&self, message: &Message) -> Said {
        let subject = Subject::of(message);
        let mut said: Said = SmallVec::from_elem(0, self.selectors.len().div_ceil(64));
        for (at, selector) in self.selectors.iter().enumerate() {
            said[at / 64] |= u64::from(selector.takes(&subject)) << (at % 64);
        }
        said
    }

    fn targets(&self, said: &Said) -> Arc<[Target]> {
        let taken = self.selecting.iter().filter(|(_, at)| said[at / 64] >> (at % 64) & 1 == 1);
        let members = self.plain.iter().chain(taken.map(|(member, _)| member));
        merged(members.cloned().collect(), |_| true).into()
    }
}

#[cfg(test)]
mod tests {
    use weir_access::Access;
    use weir_model::{Filter, Qos, Topic};
    use weir_store::{SessionKey, SessionKind, SubscriptionOptions};

    use crate::routes::{Matched, Routes};
    use crate::session::Session;
    use crate::sync::{Condition, Selector};

    use super::*;

    fn session(name: &str) -> Arc<Session> {
        let key = SessionKey { realm: "r".into(), kind: SessionKind::Client, name: name.into() };
        Session::new(key, None, None)
    }

    fn subscribe(
        routes: &Routes,
        filter: &str,
        condition: Option<&str>,
        session: &Arc<Session>,
        id: u32,
    ) -> Filter {
        let condition = condition.map(|text| Condition::parse(text).unwrap());
        let filter = Selector { condition, ..Selector::default() }.on(&Filter::new(filter).unwrap()).unwrap();
        let options = SubscriptionOptions { subscription_id: Some(id), ..SubscriptionOptions::default() };
        routes.insert(&filter, session, options, false);
        filter
    }

    fn message(payload: &'static str) -> Arc<Message> {
        let topic = Topic::new("a/b").unwrap();
        Arc::new(Message {
            topic,
            payload: payload.into(),
            qos: Qos::AtMostOnce,
            retain: false,
            expires_at: None,
            properties: None,
        })
    }

    fn who(matched: &Matched, payload: &'static str) -> Vec<(String, Vec<u32>)> {
        let targets = matched.of(&message(payload)).unwrap();
        let mut who: Vec<_> = targets
            .iter()
            .map(|target| {
                let mut ids = target.subscription_ids.to_vec();
                ids.sort_unstable();
                (target.session.client_id().to_string(), ids)
            })
            .collect();
        who.sort();
        who
    }

    #[test]
    fn who_selects_is_given_what_its_condition_takes_and_nobody_else_is_asked() {
        let routes = Routes::default();
        let (a, b) = (session("a"), session("b"));
        subscribe(&routes, "a/b", Some(r#"{"n":1}"#), &a, 1);
        subscribe(&routes, "a/b", Some(r#"{"n":2}"#), &a, 2);
        subscribe(&routes, "a/+", None, &b, 3);
        let gone = subscribe(&routes, "a/#", Some(r#"{"n":1}"#), &b, 4);
        let matched = routes.find("a/b", &Access::open());
        assert_eq!(matched.targets.len(), 2, "everybody, for who may have to wait");
        let names = |who: &[(&str, &[u32])]| -> Vec<(String, Vec<u32>)> {
            who.iter().map(|(name, ids)| ((*name).to_owned(), ids.to_vec())).collect()
        };
        for _ in 0..2 {
            assert_eq!(who(&matched, r#"{"n":1}"#), names(&[("a", &[1]), ("b", &[3, 4])]));
            assert_eq!(who(&matched, r#"{"n":2}"#), names(&[("a", &[2]), ("b", &[3])]));
            assert_eq!(who(&matched, "no json"), names(&[("b", &[3])]));
        }
        routes.remove(&gone, &b);
        let matched = routes.find("a/b", &Access::open());
        assert_eq!(who(&matched, r#"{"n":1}"#), names(&[("a", &[1]), ("b", &[3])]));
        assert!(!routes.find("a/c", &Access::open()).selects());
    }

    #[test]
    fn equal_conditions_are_asked_once_and_many_different_ones_are_all_asked() {
        let routes = Routes::default();
        let sessions: Vec<_> = (0..200).map(|n| session(&n.to_string())).collect();
        for (n, session) in sessions.iter().enumerate() {
            let condition = format!(r#"{{"n":{}}}"#, n / 2);
            subscribe(&routes, "a/b", Some(&condition), session, 1);
        }
        let matched = routes.find("a/b", &Access::open());
        assert_eq!(matched.selected.as_ref().unwrap().selectors.len(), 100);
        assert_eq!(who(&matched, r#"{"n":99}"#).len(), 2);
        assert_eq!(who(&matched, r#"{"n":100}"#).len(), 0);
    }
}
