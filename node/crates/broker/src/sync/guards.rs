//! The guards of all topics as the mirror tells them.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::RwLock;
use weir_model::Topic;
use weir_store::GuardRow;

use super::guard::Guard;

/// A topic in its realm.
pub(crate) type Place = (Arc<str>, Topic);

/// As many as topics with waiters, wills or answers that may be asked for again: each is bounded.
#[derive(Default)]
pub(crate) struct Guards(RwLock<HashMap<Place, Known>>);

#[derive(Clone)]
pub(crate) struct Known {
    pub version: u64,
    pub guard: Arc<Guard>,
}

impl Guards {
    /// Takes over a row, which the mirror tells in order. After a rollback of the store an older one may be what counts.
    pub fn heard(&self, row: GuardRow) -> Option<Place> {
        let GuardRow { realm, topic, version, positions, guard } = row;
        let place = (realm, topic);
        let mut known = self.0.write();
        if known.get(&place).is_some_and(|known| known.version == version) {
            return None;
        }
        match guard {
            Some(bytes) => {
                let guard = Guard::decode(&bytes, &positions).unwrap_or_else(|| {
                    tracing::error!(topic = %place.1, version, "a guard cannot be read: who waits there is forgotten");
                    Guard::default()
                });
                known.insert(place.clone(), Known { version, guard: Arc::new(guard) });
            }
            None => drop(known.remove(&place)),
        }
        Some(place)
    }

    pub fn get(&self, place: &Place) -> Option<Known> {
        self.0.read().get(place).cloned()
    }

    pub fn all(&self) -> Vec<(Place, Known)> {
        self.0.read().iter().map(|(place, known)| (place.clone(), known.clone())).collect()
    }

    /// Topics with a guard, and publishes that wait at them.
    pub fn count(&self) -> (usize, usize) {
        let known = self.0.read();
        (known.len(), known.values().map(|known| known.guard.waiters.len()).sum())
    }
}
