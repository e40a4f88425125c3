//! Which node is the home of a procedure: rendezvous hashing over the nodes there are.

use super::Procedure;
use super::procedure::hash;

/// The nodes of the cluster as this one sees them, by their incarnations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    me: u64,
    /// All, this one among them, in order.
    nodes: Vec<u64>,
}

impl View {
    pub fn alone(me: u64) -> View {
        View { me, nodes: vec![me] }
    }

    /// `others` in any order.
    pub fn new(me: u64, others: impl IntoIterator<Item = u64>) -> View {
        let mut nodes: Vec<u64> = others.into_iter().chain([me]).collect();
        nodes.sort_unstable();
        nodes.dedup();
        View { me, nodes }
    }

    pub fn me(&self) -> u64 {
        self.me
    }

    pub fn has(&self, node: u64) -> bool {
        self.nodes.binary_search(&node).is_ok()
    }

    /// A number that two nodes share when they see the same.
    pub fn digest(&self) -> u64 {
        let mut bytes = Vec::with_capacity(self.nodes.len() * 8);
        self.nodes.iter().for_each(|node| bytes.extend_from_slice(&node.to_le_bytes()));
        hash(&[&bytes])
    }

    /// Where calls of this very procedure go first.
    pub fn home_of_topic(&self, realm: &str, topic: &str) -> u64 {
        self.home(&[realm.as_bytes(), b"exact", topic.as_bytes()])
    }

    /// Where all prefix and wildcard registrations of a realm are: together, so that the best one is found there
    /// without asking anybody.
    pub fn home_of_patterns(&self, realm: &str) -> u64 {
        self.home(&[realm.as_bytes(), b"patterns"])
    }

    pub fn home_of(&self, realm: &str, procedure: &Procedure) -> u64 {
        match procedure {
            Procedure::Exact(topic) => self.home_of_topic(realm, topic),
            _ => self.home_of_patterns(realm),
        }
    }

    fn home(&self, name: &[&[u8]]) -> u64 {
        if let [only] = self.nodes[..] {
            return only;
        }
        let name = hash(name).to_le_bytes();
        let weight = |node: &u64| hash(&[&name, &node.to_le_bytes()]);
        self.nodes.iter().copied().max_by_key(|node| (weight(node), *node)).unwrap_or(self.me)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_nodes_agree_on_a_home_and_only_those_of_a_lost_node_move() {
        let (a, b) = (View::new(1, [2, 3]), View::new(3, [1, 2]));
        assert_eq!(a.digest(), b.digest());
        let without = View::new(1, [2]);
        let mut homes = [0; 4];
        for topic in (0..300).map(|n| format!("t/{n}")) {
            let home = a.home_of_topic("r", &topic);
            homes[home as usize] += 1;
            assert_eq!(home, b.home_of_topic("r", &topic));
            if home != 3 {
                assert_eq!(home, without.home_of_topic("r", &topic));
            }
        }
        assert!(homes[1..].iter().all(|count| *count > 50), "{homes:?}");
    }
}
