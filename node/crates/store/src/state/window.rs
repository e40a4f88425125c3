//! A window: the last so many message ids that were here.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use weir_model::MessageId;

/// A ring of ids; putting one in forgets the oldest when it is full.
#[derive(Debug, Default)]
pub(crate) struct Window {
    ids: VecDeque<MessageId>,
    /// How many ids were forgotten: the count of the first one in `ids`.
    forgotten: u64,
    /// Counts of the ids, found by the id.
    counts: HashTable<u64>,
    hasher: DefaultHashBuilder,
}

impl Window {
    pub fn contains(&self, id: &MessageId) -> bool {
        self.index_of(id).is_some()
    }

    /// How many ids that are here came before this one.
    pub fn index_of(&self, id: &MessageId) -> Option<usize> {
        let index = |count: u64| (count - self.forgotten) as usize;
        let found = self.counts.find(self.hasher.hash_one(id), |count| self.ids[index(*count)] == *id);
        found.map(|count| index(*count))
    }

    /// Puts in an id that is not here yet and returns its count: it lies at `count % capacity`.
    pub fn insert(&mut self, id: MessageId, capacity: usize) -> u64 {
        while self.ids.len() >= capacity.max(1) {
            self.forget_oldest();
        }
        let count = self.forgotten + self.ids.len() as u64;
        self.ids.push_back(id);
        let (ids, forgotten, hasher) = (&self.ids, self.forgotten, &self.hasher);
        self.counts
            .insert_unique(hasher.hash_one(id), count, |c| hasher.hash_one(ids[(c - forgotten) as usize]));
        count
    }

    /// A window of ids found in the tables, in any order.
    pub fn restore(mut seen: Vec<(u64, MessageId)>, capacity: usize) -> Window {
        seen.sort_unstable();
        let mut window = Window::default();
        for (count, id) in seen {
            if window.contains(&id) {
                continue;
            }
            if window.ids.is_empty() || count != window.forgotten + window.ids.len() as u64 {
                window.restart_at(count);
            }
            window.insert(id, capacity);
        }
        window
    }

    /// How many places of a ring of `capacity` are taken.
    pub fn places(&self, capacity: usize) -> u64 {
        (self.forgotten + self.ids.len() as u64).min(capacity as u64)
    }

    /// Counts go on from `count`; what is here keeps its order.
    fn restart_at(&mut self, count: u64) {
        let ids = std::mem::take(&mut self.ids);
        self.counts.clear();
        self.forgotten = count.saturating_sub(ids.len() as u64);
        let capacity = ids.len() + 1;
        for id in ids {
            self.insert(id, capacity);
        }
    }

    fn forget_oldest(&mut self) {
        let Some(id) = self.ids.pop_front() else { return };
        let oldest = self.forgotten;
        if let Ok(entry) = self.counts.find_entry(self.hasher.hash_one(id), |count| *count == oldest) {
            entry.remove();
        }
        self.forgotten += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(count: u64) -> MessageId {
        MessageId { source: 7, slot: 1, count }
    }

    #[test]
    fn the_oldest_id_is_forgotten_first() {
        let mut window = Window::default();
        for count in 0..10 {
            assert_eq!(window.insert(id(count), 4), count);
        }
        assert!((6..10).all(|count| window.contains(&id(count))));
        assert!((0..6).all(|count| !window.contains(&id(count))));
    }

    #[test]
    fn a_window_found_again_knows_the_same_ids_and_goes_on_counting() {
        let seen = [9, 6, 8, 7].map(|count| (count, id(count))).to_vec();
        let mut window = Window::restore(seen, 4);
        assert!((6..10).all(|count| window.contains(&id(count))));
        assert_eq!(window.insert(id(10), 4), 10);
        assert!(!window.contains(&id(6)) && window.contains(&id(7)));
    }
}
