//! What this node sees of all nodes, for administration.

use std::collections::BTreeSet;
use std::sync::Arc;

use weir_admin::NodeView;
use weir_admin::proto::NodeState;
use weir_broker::Broker;
use weir_broker::admin::EventKind;
use weir_cluster::{Member, Members};

use super::Place;
use super::elsewhere::FACT_SERVES;

impl Place {
    /// All nodes: those that live, and those that are lost.
    #[must_use]
    pub fn view(&self) -> Vec<NodeView> {
        let members = self.members().borrow().clone();
        let links = self.links.all();
        let is_linked = |member: &Member| {
            let is_this = member.incarnation == self.incarnation;
            is_this || links.iter().any(|link| link.incarnation() == member.incarnation && link.is_up())
        };
        let live = members.all().map(|member| {
            let is_suspected = members.suspected().contains(&member.node_id);
            NodeView {
                node_id: member.node_id.to_string(),
                incarnation: member.incarnation,
                is_this: member.incarnation == self.incarnation,
                state: if is_suspected { NodeState::Suspected } else { NodeState::Live },
                peer_address: Some(member.address),
                release: member.facts.release.clone(),
                serves: member.facts.others.contains_key(FACT_SERVES),
                linked: is_linked(member),
                listeners: member.facts.listeners.clone().into_iter().collect(),
            }
        });
        let lost = members.lost().iter().map(|node| NodeView {
            node_id: node.to_string(),
            incarnation: 0,
            is_this: false,
            state: NodeState::Lost,
            peer_address: None,
            release: String::new(),
            serves: false,
            linked: false,
            listeners: Vec::new(),
        });
        live.chain(lost).collect()
    }

    /// Tells who watches of nodes that come and go, for ever.
    pub async fn tell_members(self: Arc<Self>, broker: Broker) {
        let mut changes = self.members();
        let mut known = names(&changes.borrow_and_update());
        while changes.changed().await.is_ok() {
            let now = names(&changes.borrow_and_update());
            let events = &broker.admin().events;
            for node in now.difference(&known) {
                events.tell(|| EventKind::MemberJoined { node: node.clone() });
            }
            for node in known.difference(&now) {
                events.tell(|| EventKind::MemberLeft { node: node.clone() });
            }
            known = now;
        }
    }
}

fn names(members: &Members) -> BTreeSet<Arc<str>> {
    members.all().map(|member| Arc::from(member.node_id.as_str())).collect()
}
