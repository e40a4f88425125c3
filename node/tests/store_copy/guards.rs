//! A lock that is held, and those who wait for it.

use weir_testkit::{Cluster, Node, eventually};

use super::client::{Client, LOCK};

/// Kept sessions that have a lock, and wait for it.
pub struct Locked {
    holder_token: String,
}

impl Locked {
    pub fn begin(node: &Node) -> Locked {
        let at = node.address("mqtt");
        let mut holder = Client::kept(at, "holder");
        holder.send_as(7, false, ("lock", "holder"), LOCK);
        let held = holder.answer_to(7);
        assert!(held.is_accepted(), "{held:?}");
        for (count, name) in ["one", "two"].into_iter().enumerate() {
            Client::kept(at, name).send_as(3, false, ("lock", name), LOCK);
            let waits = || node.metrics().sum("weir_broker_waiters") == (count + 1) as f64;
            eventually("it waits", || waits().then_some(()));
        }
        Locked { holder_token: held.token().to_owned() }
    }

    /// Nobody has lost its place.
    pub fn go_on(self, cluster: &Cluster) {
        let at = |number: usize| cluster.node(number).address("mqtt");
        let [mut one, mut two] = [(0, "one"), (1, "two")].map(|(node, name)| {
            let mut client = Client::kept(at(node), name);
            assert!(client.session_present);
            client.send_as(3, true, ("lock", name), LOCK);
            assert!(client.has_no_answer(), "{name} still waits");
            client
        });
        let mut holder = Client::kept(at(1), "holder");
        holder.send_as(7, true, ("lock", "holder"), LOCK);
        assert_eq!(holder.answer_to(7).token(), self.holder_token, "it is answered as the first time");
        assert!(holder.publish("lock", "", &[]).is_accepted());
        let first = one.answer_to(3);
        assert!(first.token() > &*self.holder_token && two.has_no_answer());
        assert!(one.publish("lock", "", &[]).is_accepted());
        assert!(two.answer_to(3).token() > first.token());
    }
}
