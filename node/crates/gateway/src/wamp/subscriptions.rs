//! The subscriptions of this process: one number for each URI and match policy of a realm, the same for all who have it,
//! so that all of them get the same bytes.
//!
//! A route holds one number. Where a filter says less than the URI (a prefix), or a session has several URIs that are one
//! filter, the number has its highest bit set and is looked up here. Entries go with their last session.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use hashbrown::HashMap;
use parking_lot::RwLock;
use weir_model::UnixMillis;
use weir_wire::wamp::message::Match;
use weir_wire::wamp::uri::Pattern;

/// Set in numbers that must be looked up.
const LOOK_UP: u32 = 1 << 31;

static BOOK: LazyLock<RwLock<Book>> = LazyLock::new(RwLock::default);

#[derive(Default)]
struct Book {
    last: u32,
    numbers: HashMap<(Arc<str>, Arc<str>, Match), u32>,
    entries: BTreeMap<u32, Entry>,
    sets: HashMap<Box<[u32]>, (u32, usize)>,
    members: HashMap<u32, Box<[u32]>>,
}

/// One subscription.
#[derive(Debug, Clone)]
pub struct Entry {
    pub realm: Arc<str>,
    pub uri: Arc<str>,
    pub policy: Match,
    pub pattern: Pattern,
    pub created: UnixMillis,
    /// The sessions of this node that have it.
    pub sessions: BTreeSet<u64>,
}

impl Book {
    fn next(&mut self, look_up: bool) -> u32 {
        let taken = |book: &Book, number: u32| {
            book.entries.contains_key(&number) || book.members.contains_key(&number)
        };
        loop {
            self.last = self.last % (LOOK_UP - 1) + 1;
            let number = self.last | if look_up { LOOK_UP } else { 0 };
            if !taken(self, number) {
                return number;
            }
        }
    }
}

/// A session takes a subscription; returns its number, and whether it is the first to have it.
pub fn join(
    realm: &Arc<str>,
    (uri, policy): (&str, Match),
    pattern: &Pattern,
    session: u64,
    now: UnixMillis,
) -> (u32, bool) {
    let mut book = BOOK.write();
    let key = (realm.clone(), Arc::from(uri), policy);
    if let Some(number) = book.numbers.get(&key).copied() {
        if let Some(entry) = book.entries.get_mut(&number) {
            entry.sessions.insert(session);
        }
        return (number, false);
    }
    let number = book.next(pattern.prefix().is_some());
    let entry = Entry {
        realm: realm.clone(),
        uri: key.1.clone(),
        policy,
        pattern: pattern.clone(),
        created: now,
        sessions: BTreeSet::from([session]),
    };
    book.entries.insert(number, entry);
    book.numbers.insert(key, number);
    (number, true)
}

/// A session gives a subscription up; whether it was the last that had it.
pub fn leave(number: u32, session: u64) -> bool {
    let mut book = BOOK.write();
    let Some(entry) = book.entries.get_mut(&number) else { return false };
    entry.sessions.remove(&session);
    if !entry.sessions.is_empty() {
        return false;
    }
    if let Some(entry) = book.entries.remove(&number) {
        book.numbers.remove(&(entry.realm, entry.uri, entry.policy));
    }
    true
}

/// The number for a route of a session that has all of these by one filter. [`release`] gives a set up.
pub fn together(numbers: &[u32]) -> u32 {
    if let [number] = numbers {
        return *number;
    }
    let mut sorted: Box<[u32]> = numbers.into();
    sorted.sort_unstable();
    let mut book = BOOK.write();
    if let Some((number, users)) = book.sets.get_mut(&sorted) {
        *users += 1;
        return *number;
    }
    let number = book.next(true);
    book.sets.insert(sorted.clone(), (number, 1));
    book.members.insert(number, sorted);
    number
}

/// A route has this number no more.
pub fn release(number: u32) {
    if number & LOOK_UP == 0 {
        return;
    }
    let mut book = BOOK.write();
    let Some(members) = book.members.get(&number).cloned() else { return };
    let Some((_, users)) = book.sets.get_mut(&members) else { return };
    *users -= 1;
    if *users == 0 {
        book.sets.remove(&members);
        book.members.remove(&number);
    }
}

/// Shows the subscriptions that a topic is meant by, of those that these numbers stand for.
pub fn each(topic: &str, numbers: &[u32], mut show: impl FnMut(u32)) {
    if numbers.iter().all(|number| number & LOOK_UP == 0) {
        return numbers.iter().copied().for_each(show);
    }
    let book = BOOK.read();
    for number in numbers {
        let single = std::slice::from_ref(number);
        for number in book.members.get(number).map_or(single, |members| members) {
            let meant = match book.entries.get(number) {
                Some(entry) => entry.pattern.matches(topic),
                None => number & LOOK_UP == 0,
            };
            if meant {
                show(*number);
            }
        }
    }
}

/// One subscription of a realm.
pub fn get(realm: &str, number: u64) -> Option<Entry> {
    let number = u32::try_from(number).ok()?;
    BOOK.read().entries.get(&number).filter(|entry| *entry.realm == *realm).cloned()
}

/// The number of a URI and match policy.
pub fn lookup(realm: &Arc<str>, uri: &str, policy: Match) -> Option<u32> {
    BOOK.read().numbers.get(&(realm.clone(), Arc::from(uri), policy)).copied()
}

/// All subscriptions of a realm for which `wanted` says yes, by their numbers.
pub fn list(realm: &str, wanted: impl Fn(&Entry) -> bool) -> Vec<(u32, Match)> {
    let book = BOOK.read();
    let of_realm = book.entries.iter().filter(|(_, entry)| *entry.realm == *realm && wanted(entry));
    of_realm.map(|(number, entry)| (*number, entry.policy)).collect()
}
