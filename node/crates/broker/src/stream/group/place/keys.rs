//! Order by key: which records can be delivered, and to whom.
//!
//! While a record of a key is with a member, others of that key go to nobody else; while one waits for its time, later
//! ones wait behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasherDefault, Hasher};

use hashbrown::HashMap;

use super::window::Seat;

/// Keys are hashed already.
#[derive(Default)]
pub(super) struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// What is known of a key of which a record is out, waits, or is held.
#[derive(Debug, Default)]
struct Key {
    /// Who has those that are out.
    member: u32,
    out: u32,
    /// Not to be delivered before their time.
    waiting: u32,
    /// Ready, as far as the key lets them.
    held: BTreeSet<Seat>,
    stands: Stands,
}

/// Where the held records of a key are found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stands {
    /// Nobody gets them now.
    #[default]
    Nowhere,
    /// Only this member gets them.
    With(u32),
    Open,
}

#[derive(Default)]
pub(super) struct Keys {
    by_hash: HashMap<u64, Key, BuildHasherDefault<AsIs>>,
    /// For anybody, and all that have no key.
    open: BTreeSet<Seat>,
    with: BTreeMap<u32, BTreeSet<Seat>>,
    held: usize,
}

impl Keys {
    /// Whether a record that nobody has looked at may go to a member now; it is out with it then.
    pub fn admit(&mut self, hash: u64, member: u32) -> bool {
        if hash == 0 {
            return true;
        }
        let key = self.by_hash.entry(hash).or_default();
        let is_free = key.out == 0 || key.member == member;
        if !is_free || key.waiting > 0 || !key.held.is_empty() {
            return false;
        }
        key.out += 1;
        key.member = member;
        true
    }

    /// A record can be delivered as soon as its key lets it.
    pub fn hold(&mut self, hash: u64, seat: Seat) {
        self.held += 1;
        if hash == 0 {
            self.open.insert(seat);
            return;
        }
        let key = self.by_hash.entry(hash).or_default();
        key.held.insert(seat);
        match key.stands {
            Stands::Nowhere => {}
            Stands::Open => drop(self.open.insert(seat)),
            Stands::With(member) => drop(self.with.entry(member).or_default().insert(seat)),
        }
        self.settle(hash);
    }

    /// A record is with its member no more.
    pub fn back(&mut self, hash: u64) {
        if hash != 0
            && let Some(key) = self.by_hash.get_mut(&hash)
        {
            key.out = key.out.saturating_sub(1);
            if key.out == 0 {
                self.settle(hash);
            }
        }
    }

    /// A record waits for its time: later ones of its key wait behind it.
    pub fn wait(&mut self, hash: u64) {
        if hash != 0 {
            self.by_hash.entry(hash).or_default().waiting += 1;
            self.settle(hash);
        }
    }

    /// Its time has come; it is to be held next.
    pub fn waited(&mut self, hash: u64) {
        if hash != 0
            && let Some(key) = self.by_hash.get_mut(&hash)
        {
            key.waiting = key.waiting.saturating_sub(1);
            self.settle(hash);
        }
    }

    /// The first held record that a member may have. It is taken only by [`Keys::take`].
    pub fn first_for(&mut self, member: u32, hash_of: impl Fn(Seat) -> u64) -> Option<Seat> {
        loop {
            let own = self.with.get(&member).and_then(|seats| seats.first()).copied();
            let open = self.open.first().copied();
            let Some(open) = open.filter(|open| own.is_none_or(|own| *open < own)) else { return own };
            let hash = hash_of(open);
            let is_others = |key: &Key| key.out > 0 && key.member != member;
            if hash == 0 || !self.by_hash.get(&hash).is_some_and(is_others) {
                return Some(open);
            }
            self.settle(hash);
        }
    }

    /// A held record goes to a member.
    pub fn take(&mut self, hash: u64, seat: Seat, member: u32) {
        self.held -= 1;
        if hash == 0 {
            self.open.remove(&seat);
            return;
        }
        let Some(key) = self.by_hash.get_mut(&hash) else { return };
        key.held.remove(&seat);
        match key.stands {
            Stands::Nowhere => {}
            Stands::Open => drop(self.open.remove(&seat)),
            Stands::With(with) => remove(&mut self.with, with, seat),
        }
        key.out += 1;
        key.member = member;
    }

    /// How many records are held.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Whether anybody can have one of them.
    pub fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Members for whom records are held.
    pub fn members(&self) -> impl Iterator<Item = u32> {
        self.with.keys().copied()
    }

    /// Puts the held records of a key where they belong now; forgets a key with nothing to know.
    fn settle(&mut self, hash: u64) {
        let Some(key) = self.by_hash.get_mut(&hash) else { return };
        if key.out == 0 && key.waiting == 0 && key.held.is_empty() {
            self.by_hash.remove(&hash);
            return;
        }
        let stands = match (key.waiting, key.out) {
            (0, 0) => Stands::Open,
            (0, _) => Stands::With(key.member),
            _ => Stands::Nowhere,
        };
        if stands == key.stands {
            return;
        }
        for seat in &key.held {
            match key.stands {
                Stands::Nowhere => {}
                Stands::Open => drop(self.open.remove(seat)),
                Stands::With(member) => remove(&mut self.with, member, *seat),
            }
            match stands {
                Stands::Nowhere => {}
                Stands::Open => drop(self.open.insert(*seat)),
                Stands::With(member) => drop(self.with.entry(member).or_default().insert(*seat)),
            }
        }
        key.stands = stands;
    }
}

fn remove(with: &mut BTreeMap<u32, BTreeSet<Seat>>, member: u32, seat: Seat) {
    if let Some(seats) = with.get_mut(&member) {
        seats.remove(&seat);
        if seats.is_empty() {
            with.remove(&member);
        }
    }
}
