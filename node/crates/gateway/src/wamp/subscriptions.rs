//! The subscriptions of this process: one number for each URI, match policy and selector of a realm, the same for all who have it,
//! so that all of them get the same bytes, and the same on every node unless two names have one hash.
//!
//! A route holds one number. Where a filter says less than the URI (a prefix), or a session has several URIs that are one
//! filter, the number has its highest bit set and is looked up here. Entries go with their last session.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use hashbrown::HashMap;
use parking_lot::RwLock;
use ring::digest::{Context, SHA256};
use weir_model::UnixMillis;
use weir_wire::wamp::message::Match;
use weir_wire::wamp::uri::Pattern;

/// Set in numbers that must be looked up.
const LOOK_UP: u32 = 1 << 31;

/// Numbers that a name may have on every node; one of those left is taken when all are another's.
const NAMED_TRIES: u8 = 8;

static BOOK: LazyLock<RwLock<Book>> = LazyLock::new(RwLock::default);

#[derive(Default)]
struct Book {
    last: u32,
    numbers: HashMap<Key, u32>,
    entries: BTreeMap<u32, Entry>,
    sets: HashMap<Box<[u32]>, (u32, usize)>,
    members: HashMap<u32, Box<[u32]>>,
}

/// By which it is known: realm, URI, match policy, and what is asked beside.
type Key = (Arc<str>, Arc<str>, Match, Manner);

/// What makes two subscriptions of one URI different ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Manner {
    /// The selector of its filter.
    pub selector: Option<Arc<str>>,
    /// One that begins in the past, or ends by itself, is its session's alone; 0 = it is shared.
    pub own: u64,
}

impl Manner {
    /// That of a subscription that nobody shares.
    pub fn own(self) -> Manner {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Manner { own: LAST.fetch_add(1, Ordering::Relaxed) + 1, ..self }
    }
}

/// One subscription.
#[derive(Debug, Clone)]
pub struct Entry {
    pub realm: Arc<str>,
    pub uri: Arc<str>,
    pub policy: Match,
    pub manner: Manner,
    pub pattern: Pattern,
    pub created: UnixMillis,
    /// The sessions of this node that have it.
    pub sessions: BTreeSet<u64>,
}

impl Book {
    fn is_taken(&self, number: u32) -> bool {
        self.entries.contains_key(&number) || self.members.contains_key(&number)
    }

    /// The number that every node gives to a name, or where that is taken one of the next that they would.
    fn number_of(&self, (realm, uri, policy, manner): &Key, look_up: bool) -> Option<u32> {
        let selector = manner.selector.as_deref().unwrap_or_default();
        (0..NAMED_TRIES).find_map(|attempt| {
            let mut hash = Context::new(&SHA256);
            for part in
                [realm.as_bytes(), &[0], uri.as_bytes(), &[0, *policy as u8, attempt], selector.as_bytes()]
            {
                hash.update(part);
            }
            let hash = hash.finish();
            let [a, b, c, d] = hash.as_ref().first_chunk::<4>().copied()?;
            let number = u32::from_be_bytes([a, b, c, d]) % (LOOK_UP - 1) + 1;
            let number = number | if look_up { LOOK_UP } else { 0 };
            (!self.is_taken(number)).then_some(number)
        })
    }

    fn next_free(&mut self, look_up: bool) -> u32 {
        loop {
            self.last = self.last % (LOOK_UP - 1) + 1;
            let number = self.last | if look_up { LOOK_UP } else { 0 };
            if !self.is_taken(number) {
                return number;
            }
        }
    }
}

/// A session takes a subscription; returns its number, and whether it is the first to have it.
pub fn join(
    realm: &Arc<str>,
    (uri, policy, manner): (&str, Match, Manner),
    pattern: &Pattern,
    session: u64,
    now: UnixMillis,
) -> (u32, bool) {
    let mut book = BOOK.write();
    let key = (realm.clone(), Arc::from(uri), policy, manner);
    if let Some(number) = book.numbers.get(&key).copied() {
        if let Some(entry) = book.entries.get_mut(&number) {
            entry.sessions.insert(session);
        }
        return (number, false);
    }
    let look_up = pattern.prefix().is_some();
    let named = if key.3.own == 0 { book.number_of(&key, look_up) } else { None };
    let number = named.unwrap_or_else(|| book.next_free(look_up));
    let entry = Entry {
        realm: realm.clone(),
        uri: key.1.clone(),
        policy,
        manner: key.3.clone(),
        pattern: pattern.clone(),
        created: now,
        sessions: BTreeSet::from([session]),
    };
    book.entries.insert(number, entry);
    book.numbers.insert(key, number);
    (number, true)
}

/// A session gives a subscription up; what it was if the session was the last that had it.
pub fn leave(number: u32, session: u64) -> Option<Entry> {
    let mut book = BOOK.write();
    let entry = book.entries.get_mut(&number)?;
    entry.sessions.remove(&session);
    if !entry.sessions.is_empty() {
        return None;
    }
    let entry = book.entries.remove(&number)?;
    book.numbers.remove(&(entry.realm.clone(), entry.uri.clone(), entry.policy, entry.manner.clone()));
    Some(entry)
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
    let number = book.next_free(true);
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

/// The one subscription that these numbers stand for, if there is nothing to look up.
pub fn single(numbers: &[u32]) -> Option<u32> {
    match *numbers {
        [number] if number & LOOK_UP == 0 => Some(number),
        _ => None,
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

/// The number of a URI, match policy and selector that sessions share.
pub fn lookup(realm: &Arc<str>, uri: &str, policy: Match, selector: Option<&str>) -> Option<u32> {
    let manner = Manner { selector: selector.map(Arc::from), own: 0 };
    BOOK.read().numbers.get(&(realm.clone(), Arc::from(uri), policy, manner)).copied()
}

/// All subscriptions of a realm for which `wanted` says yes, by their numbers.
pub fn list(realm: &str, wanted: impl Fn(&Entry) -> bool) -> Vec<(u32, Entry)> {
    let book = BOOK.read();
    let of_realm = book.entries.iter().filter(|(_, entry)| *entry.realm == *realm && wanted(entry));
    of_realm.map(|(number, entry)| (*number, entry.clone())).collect()
}
