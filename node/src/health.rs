//! How a node is: what it sees of store and peers, judged (`guarantees.md` 12).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use metrics::gauge;
use weir_gateway::{Health, State};
use weir_store::Store;

use crate::place::{Place, Sight};

/// Looks at what the node rests on.
pub struct Watch {
    store: Arc<dyn Store>,
    place: Option<Arc<Place>>,
    draining: AtomicBool,
}

/// Everything the judgement rests on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Seen {
    draining: bool,
    /// Whether nodes share the store.
    shared: bool,
    /// Whether this node's lease in it stands.
    stands: bool,
    /// `None` = the node has no peer listener.
    peers: Option<Sight>,
}

impl Watch {
    #[must_use]
    pub fn new(store: Arc<dyn Store>, place: Option<Arc<Place>>) -> Self {
        Self { store, place, draining: AtomicBool::new(false) }
    }

    /// From now on no clients are wanted.
    pub fn drains(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// How the node is now.
    #[must_use]
    pub fn look(&self) -> Health {
        self.see().judge()
    }

    /// Refreshes the metrics that say the same.
    pub fn measure(&self) {
        self.see().measure();
    }

    fn see(&self) -> Seen {
        Seen {
            draining: self.draining.load(Ordering::Acquire),
            shared: self.store.is_shared(),
            stands: self.store.stands(),
            peers: self.place.as_ref().map(|place| place.sight()),
        }
    }
}

impl Seen {
    fn is_cut_off(&self) -> bool {
        self.peers.as_ref().is_some_and(|peers| !peers.sees_half)
    }

    fn lacks_store(&self) -> bool {
        self.shared && !self.stands
    }

    fn judge(&self) -> Health {
        let mut missing = Vec::new();
        if self.lacks_store() {
            missing
                .push("the store is away, or this node's lease in it has ended: nothing is kept".to_owned());
        }
        if let Some(peers) = &self.peers {
            missing.extend(peers.lost.iter().map(|node| format!("node {node} is lost")));
            missing.extend(peers.unlinked.iter().map(|node| format!("no link to node {node}")));
        }
        let has_store = self.shared && self.stands;
        let state = if self.draining {
            State::Draining
        } else if self.is_cut_off() && !has_store {
            missing.insert(0, "cut off: neither half of the nodes nor the store can be seen".to_owned());
            State::NotReady
        } else if missing.is_empty() {
            State::Ready
        } else {
            State::Degraded
        };
        Health { state, missing }
    }

    fn measure(&self) {
        let health = self.judge();
        gauge!("weir_node_ready").set(f64::from(u8::from(health.state.is_ready(false))));
        gauge!("weir_node_degraded").set(f64::from(u8::from(health.state == State::Degraded)));
        gauge!("weir_node_missing", "what" => "store").set(f64::from(u8::from(self.lacks_store())));
        if let Some(peers) = &self.peers {
            gauge!("weir_node_missing", "what" => "node").set(peers.lost.len() as f64);
            gauge!("weir_node_missing", "what" => "link").set(peers.unlinked.len() as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Seen {
        let peers = Sight { sees_half: true, ..Sight::default() };
        Seen { draining: false, shared: true, stands: true, peers: Some(peers) }
    }

    fn with_peers(change: impl FnOnce(&mut Sight)) -> Seen {
        let mut seen = whole();
        change(seen.peers.get_or_insert_default());
        seen
    }

    #[test]
    fn a_node_alone_on_its_own_store_is_ready() {
        assert_eq!(Seen { stands: true, ..Seen::default() }.judge(), Health::READY);
        assert_eq!(whole().judge(), Health::READY);
    }

    #[test]
    fn one_dead_node_does_not_make_the_others_unready_and_is_named() {
        let seen = with_peers(|peers| peers.lost.push("b".to_owned()));
        assert_eq!(
            seen.judge(),
            Health { state: State::Degraded, missing: vec!["node b is lost".to_owned()] }
        );
    }

    #[test]
    fn without_the_store_a_node_among_others_goes_on_degraded() {
        let seen = Seen { stands: false, ..whole() };
        assert_eq!(seen.judge().state, State::Degraded);
    }

    #[test]
    fn a_node_cut_off_from_all_is_not_ready_unless_it_sees_the_store() {
        let alone = with_peers(|peers| peers.sees_half = false);
        assert_eq!(Seen { stands: false, ..alone.clone() }.judge().state, State::NotReady);
        assert_eq!(Seen { shared: false, ..alone.clone() }.judge().state, State::NotReady);
        assert!(alone.judge().state.is_ready(false));
    }

    #[test]
    fn a_draining_node_wants_nobody_whatever_else_is() {
        assert_eq!(Seen { draining: true, ..whole() }.judge().state, State::Draining);
    }
}
