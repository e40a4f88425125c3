//! Calls between nodes: letters over the links, and what a node that comes or goes means.

use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;
use serde::Serialize;
use weir_cluster::{Link, Urgency};

use super::message::{CallId, Letter, Said};
use super::view::View;
use super::{Answer, Calls};
use crate::broker::Broker;
use crate::clock;

/// The other nodes, as far as calls are concerned.
pub(super) struct Nodes {
    view: View,
    others: HashMap<u64, Node>,
    /// Since when some have not told what is registered with them; `None` = all have, or it took too long.
    unsettled_ms: Option<u64>,
}

#[derive(Default)]
struct Node {
    /// Its first letter has come.
    begun: bool,
    /// The view it has told all for.
    settled: Option<u64>,
}

impl Nodes {
    pub fn alone(me: u64) -> Nodes {
        Nodes { view: View::alone(me), others: HashMap::new(), unsettled_ms: None }
    }

    pub fn view(&self) -> &View {
        &self.view
    }

    pub fn is_settled(&self) -> bool {
        self.unsettled_ms.is_none()
    }

    fn have_all_told(&self) -> bool {
        let digest = Some(self.view.digest());
        self.others.values().all(|node| node.settled == digest)
    }
}

/// [`Letter`] on its way out.
#[derive(Serialize)]
enum Outgoing<'a> {
    Begin { again: bool },
    Settled { view: u64 },
    In { realm: &'a Arc<str>, said: &'a Said },
}

impl Calls {
    /// This node has become one of a cluster, under that number.
    pub(crate) fn join(&self, broker: &Broker, me: u64) {
        let mut nodes = self.nodes.lock();
        nodes.view = View::new(me, nodes.others.keys().copied());
        self.tell_view(broker, &mut nodes, None);
    }

    /// There is a link to a node.
    pub(crate) fn linked(&self, broker: &Broker, link: &Link) {
        let mut nodes = self.nodes.lock();
        nodes.others.insert(link.incarnation(), Node::default());
        post(link, 0, &Outgoing::Begin { again: false }, Urgency::Settles);
        self.change_view(broker, &mut nodes, None);
    }

    /// A link is over for good: its node counts as dead.
    pub(crate) fn unlinked(&self, broker: &Broker, link: &Link) {
        let mut nodes = self.nodes.lock();
        if nodes.others.remove(&link.incarnation()).is_some() {
            self.change_view(broker, &mut nodes, Some(link.incarnation()));
        }
    }

    fn change_view(&self, broker: &Broker, nodes: &mut Nodes, lost: Option<u64>) {
        let view = View::new(nodes.view.me(), nodes.others.keys().copied());
        nodes.view = view;
        self.tell_view(broker, nodes, lost);
    }

    /// Registrations move to their homes, then all nodes are told that they have.
    fn tell_view(&self, broker: &Broker, nodes: &mut Nodes, lost: Option<u64>) {
        nodes.unsettled_ms = (!nodes.have_all_told()).then(clock::now_ms);
        let settled = nodes.is_settled();
        for dealer in self.dealers() {
            dealer.with(broker, |state| {
                state.set_view(nodes.view.clone());
                if let Some(node) = lost {
                    state.lose(node);
                }
                state.set_settled(settled);
            });
        }
        self.tell_settled(broker, nodes);
    }

    fn tell_settled(&self, broker: &Broker, nodes: &Nodes) {
        let settled = Outgoing::Settled { view: nodes.view.digest() };
        for node in nodes.others.keys() {
            if let Some(peer) = broker.peers().of_incarnation(*node) {
                post(&peer.link, 0, &settled, Urgency::Settles);
            }
        }
    }

    /// Who has not told what is registered with it after so long is waited for no more.
    pub(super) fn settle_late(&self, broker: &Broker, now_ms: u64) {
        let mut nodes = self.nodes.lock();
        let late =
            nodes.unsettled_ms.is_some_and(|since| now_ms.saturating_sub(since) >= self.config.settle_ms);
        if late {
            self.settle(broker, &mut nodes);
        }
    }

    fn settle(&self, broker: &Broker, nodes: &mut Nodes) {
        nodes.unsettled_ms = None;
        for dealer in self.dealers() {
            dealer.with(broker, |state| state.set_settled(true));
        }
    }

    /// Takes what came over a link.
    pub(crate) fn heard(&self, broker: &Broker, link: &Link, letters: &[Bytes]) {
        for letter in letters {
            match postcard::from_bytes::<Letter>(letter) {
                Ok(Letter::In { realm, said }) => {
                    let Some(dealer) = self.dealer(&realm) else { continue };
                    dealer.with(broker, |state| state.hear(link.incarnation(), said));
                }
                Ok(Letter::Begin { again }) => self.heard_begin(broker, link, again),
                Ok(Letter::Settled { view }) => self.heard_settled(broker, link, view),
                Err(error) => {
                    self.meters.malformed.increment(1);
                    tracing::debug!(node = link.node_id().as_str(), %error, "a message about calls cannot be read");
                }
            }
        }
    }

    /// A node that begins anew on a link that has begun has lost this one from sight meanwhile, and forgotten all.
    fn heard_begin(&self, broker: &Broker, link: &Link, again: bool) {
        let mut nodes = self.nodes.lock();
        let Some(node) = nodes.others.get_mut(&link.incarnation()) else { return };
        let forgot = std::mem::replace(&mut node.begun, true) && !again;
        if forgot {
            node.settled = None;
            post(link, 0, &Outgoing::Begin { again: true }, Urgency::Settles);
            self.tell_view(broker, &mut nodes, Some(link.incarnation()));
        }
    }

    fn heard_settled(&self, broker: &Broker, link: &Link, view: u64) {
        let mut nodes = self.nodes.lock();
        if let Some(node) = nodes.others.get_mut(&link.incarnation()) {
            node.settled = Some(view);
        }
        if !nodes.is_settled() && nodes.have_all_told() {
            self.settle(broker, &mut nodes);
        }
    }

    /// Sends a message; what cannot be sent comes back.
    pub(super) fn send(&self, broker: &Broker, realm: &Arc<str>, node: u64, said: Said) -> Result<(), Said> {
        let Some(peer) = broker.peers().of_incarnation(node) else { return Err(said) };
        let letter = Outgoing::In { realm, said: &said };
        match post(&peer.link, order(&said), &letter, urgency(&said)) {
            true => Ok(()),
            false => Err(said),
        }
    }
}

fn post(link: &Link, order: u64, letter: &Outgoing<'_>, urgency: Urgency) -> bool {
    postcard::to_allocvec(letter).is_ok_and(|bytes| link.push_call(order, &bytes, urgency).is_ok())
}

/// Messages of one call keep their order whatever their size.
fn order(said: &Said) -> u64 {
    let of = |call: &CallId| call.node.rotate_left(32) ^ call.number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    match said {
        Said::Call { call, .. }
        | Said::More { call, .. }
        | Said::Cancel { call, .. }
        | Said::Moved { call, .. }
        | Said::Answered { call, .. }
        | Said::Yielded { call, .. }
        | Said::Refused { call, .. }
        | Said::Invoke { call, .. }
        | Said::InvokeMore { call, .. }
        | Said::Interrupt { call, .. } => of(call),
        Said::Register { .. }
        | Said::Unregister { .. }
        | Said::Leaves { .. }
        | Said::Registered { .. }
        | Said::Revoked { .. } => 0,
    }
}

fn urgency(said: &Said) -> Urgency {
    match said {
        Said::Call { .. } | Said::More { .. } | Said::Invoke { .. } | Said::InvokeMore { .. } => {
            Urgency::Begins
        }
        Said::Answered { answer: Answer::Progress(_), .. }
        | Said::Yielded { answer: Answer::Progress(_), .. } => Urgency::Begins,
        Said::Answered { answer, .. } | Said::Yielded { answer, .. } if !answer.is_empty() => Urgency::Ends,
        Said::Refused { .. } => Urgency::Ends,
        _ => Urgency::Settles,
    }
}
