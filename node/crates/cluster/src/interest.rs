//! Interest: which filters this node's clean sessions want, told to every peer.
//!
//! A peer gets the full set once and numbered changes from then on. Changes are remembered for a while:
//! a peer whose connection was cut goes on where it was, one that missed more than that gets all anew.

mod follower;
mod offer;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

pub(crate) use follower::{Followed, Follower};
pub(crate) use offer::Offer;
use parking_lot::Mutex;
use tokio::sync::watch;
use weir_model::Filter;
use xxhash_rust::xxh3::Xxh3;

/// Parts of the set that are read at once: a full set goes out part by part while it changes.
const PARTS: usize = 1024;

/// What this node wants of its peers.
#[derive(Debug)]
pub struct Interest {
    set: Mutex<Set>,
    version: watch::Sender<u64>,
}

impl Interest {
    /// Nothing is wanted yet; `changes_max` changes are remembered.
    #[must_use]
    pub(crate) fn new(changes_max: usize) -> Interest {
        Interest { set: Mutex::new(Set::new(changes_max)), version: watch::Sender::new(0) }
    }

    /// One more clean subscriber of this node wants `filter`. Returns at once; peers hear of it soon.
    pub fn add(&self, realm: &Arc<str>, filter: &Filter) {
        let version = self.set.lock().change(realm, filter, 1);
        self.tell(version);
    }

    /// One less. A subscriber that was never added changes nothing.
    pub fn remove(&self, realm: &Arc<str>, filter: &Filter) {
        let version = self.set.lock().change(realm, filter, -1);
        self.tell(version);
    }

    fn tell(&self, version: Option<u64>) {
        if let Some(version) = version {
            // Two who tell at once may do so in either order.
            self.version.send_if_modified(|told| version > std::mem::replace(told, version.max(*told)));
        }
    }

    /// Filters wanted by somebody, and their sum.
    pub fn digest(&self) -> Digest {
        self.set.lock().digest
    }

    /// The number of the last change.
    pub fn version(&self) -> u64 {
        self.set.lock().version
    }

    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    pub(crate) fn with_set<T>(&self, read: impl FnOnce(&Set) -> T) -> T {
        read(&self.set.lock())
    }
}

/// The sum over a set of filters: the same on both ends whatever the order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Digest {
    pub sum: u64,
    pub filters: u64,
}

impl Digest {
    /// The filter has `now` members where it had `was`; 0 = not wanted.
    pub fn change(&mut self, realm: &str, filter: &Filter, was: u32, now: u32) {
        let name = name_hash(realm, filter.as_str());
        let part = |members: u32| if members == 0 { 0 } else { mix(name ^ u64::from(members)) };
        self.sum = self.sum.wrapping_sub(part(was)).wrapping_add(part(now));
        let filters = self.filters.wrapping_add(u64::from(now > 0));
        self.filters = filters.wrapping_sub(u64::from(was > 0));
    }
}

fn name_hash(realm: &str, filter: &str) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(realm.as_bytes());
    hash.update(&[0]);
    hash.update(filter.as_bytes());
    hash.digest()
}

/// Spreads every bit over all (the finalizer of SplitMix64).
fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A change of the set, remembered for peers.
#[derive(Debug, Clone)]
pub(crate) struct LoggedChange {
    realm: u32,
    filter: Filter,
    was: u32,
    now: u32,
}

/// The filters this node wants, how many want each, and the last changes.
#[derive(Debug)]
pub(crate) struct Set {
    realms: Vec<Arc<str>>,
    parts: Vec<HashMap<(u32, Filter), u32>>,
    digest: Digest,
    /// The number of the last change.
    version: u64,
    /// The newest last.
    log: VecDeque<LoggedChange>,
    log_max: usize,
}

impl Set {
    fn new(log_max: usize) -> Set {
        Set {
            realms: Vec::new(),
            parts: vec![HashMap::new(); PARTS],
            digest: Digest::default(),
            version: 0,
            log: VecDeque::new(),
            log_max,
        }
    }

    /// Returns the new version if peers have to know.
    fn change(&mut self, realm: &Arc<str>, filter: &Filter, by: i32) -> Option<u64> {
        let realm_at = self.realm(realm);
        let part = &mut self.parts[part_of(realm, filter.as_str())];
        let key = (realm_at, filter.clone());
        let was = part.get(&key).copied().unwrap_or(0);
        let now = was.saturating_add_signed(by);
        match now {
            0 => drop(part.remove(&key)),
            _ => drop(part.insert(key, now)),
        }
        let (was, now) = (told(filter, was), told(filter, now));
        if was == now {
            return None;
        }
        self.digest.change(realm, filter, was, now);
        if self.log.len() >= self.log_max {
            self.log.pop_front();
        }
        self.log.push_back(LoggedChange { realm: realm_at, filter: filter.clone(), was, now });
        self.version += 1;
        Some(self.version)
    }

    /// Realms are few and stay.
    fn realm(&mut self, realm: &Arc<str>) -> u32 {
        let known = self.realms.iter().position(|known| known == realm);
        let at = known.unwrap_or_else(|| {
            self.realms.push(realm.clone());
            self.realms.len() - 1
        });
        at as u32
    }

    /// The last change before those that are remembered.
    fn forgotten(&self) -> u64 {
        self.version - self.log.len() as u64
    }
}

/// Peers pick members of shared filters by their number; of others they only want to know whether.
fn told(filter: &Filter, subscribers: u32) -> u32 {
    if filter.share().is_some() { subscribers } else { subscribers.min(1) }
}

fn part_of(realm: &str, filter: &str) -> usize {
    name_hash(realm, filter) as usize % PARTS
}

#[cfg(test)]
mod tests;
