//! Which peer has which link and slot.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use weir_net::peer::NodeId;

use super::LinkPeer;
use crate::link::{Connected, LINKS_MAX, Link, Past};

/// Links that ended and are remembered in case their peer was not dead; the oldest is forgotten first.
const PAST_MAX: usize = 256;

/// Links and slots. A slot is free again when its link's end has been told.
#[derive(Default)]
pub(super) struct Table {
    links: HashMap<NodeId, Entry>,
    slots: u64,
    numberings: u64,
    past: VecDeque<(NodeId, Past)>,
    /// Links that are ending: of each node the latest one.
    ending: HashMap<NodeId, CancellationToken>,
}

pub(super) struct Entry {
    pub link: Arc<Link>,
    /// Connections that the peer dialled. One waits at most; another one is refused meanwhile.
    pub dialled: mpsc::Sender<Connected>,
    pub end: CancellationToken,
    /// Set when it has ended and what is left of it is in the table.
    pub over: CancellationToken,
}

/// A place in the table for a new link.
pub(super) struct Place {
    pub slot: u8,
    pub numbering: u64,
    /// Set when an earlier link to the node, which is still ending, is over.
    pub earlier: Option<CancellationToken>,
}

impl Table {
    pub fn all(&self) -> Vec<Arc<Link>> {
        self.links.values().map(|entry| entry.link.clone()).collect()
    }

    pub fn get(&self, node: &NodeId) -> Option<&Entry> {
        self.links.get(node)
    }

    pub fn of_slot(&self, slot: u8) -> Option<Arc<Link>> {
        self.links.values().find(|entry| entry.link.slot() == slot).map(|entry| entry.link.clone())
    }

    /// Ends the links of peers that are not named.
    pub fn retain(&mut self, peers: &[LinkPeer]) {
        self.links.retain(|node, entry| {
            let is = |peer: &LinkPeer| peer.node_id == *node && peer.incarnation == entry.link.incarnation();
            let peer = peers.iter().find(|peer| is(peer));
            match peer {
                Some(peer) => entry.link.set_address(peer.address),
                None => {
                    self.ending.insert(node.clone(), entry.over.clone());
                    entry.end.cancel();
                }
            }
            peer.is_some()
        });
    }

    /// A free slot and the next numbering; `None` when all slots are taken.
    pub fn place(&mut self, peer: &LinkPeer) -> Option<Place> {
        let slot = (!self.slots).trailing_zeros() as u8;
        if usize::from(slot) >= LINKS_MAX {
            return None;
        }
        self.slots |= 1 << slot;
        self.numberings += 1;
        self.ending.retain(|_, over| !over.is_cancelled());
        Some(Place { slot, numbering: self.numberings, earlier: self.ending.get(&peer.node_id).cloned() })
    }

    /// Takes what is left of an earlier link to the same incarnation of the node.
    pub fn past_of(&mut self, link: &Link) -> Option<Past> {
        let found = self.past.iter().position(|(node, _)| node == link.node_id());
        let past = found.and_then(|at| self.past.remove(at)).map(|(_, past)| past);
        past.filter(|past| past.incarnation == link.incarnation())
    }

    pub fn insert(&mut self, entry: Entry) {
        self.links.insert(entry.link.node_id().clone(), entry);
    }

    /// The link is over and everybody knows.
    pub fn free(&mut self, link: &Link, past: Past) {
        self.slots &= !(1 << link.slot());
        if self.past.len() >= PAST_MAX {
            self.past.pop_front();
        }
        self.past.push_back((link.node_id().clone(), past));
    }
}
