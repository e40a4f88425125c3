//! Which other node the clients of a draining one are told to use.

use weir_cluster::{Member, Members};

/// The fact of a node that lets clients in.
pub const FACT_SERVES: &str = "serves";

/// The address of the listener of that name at the member started last, of those that let clients in.
///
/// In a rolling restart that one is restarted already, but for the first node of the round: so a client that
/// follows moves at most twice, and once when the round begins with a new node (`guarantees.md` 12). The node
/// started last is the emptiest, too.
#[must_use]
pub fn reference(members: &Members, listener: &str) -> Option<String> {
    best(
        members.peers().map(|member| &**member),
        |member| members.suspected().contains(&member.node_id),
        listener,
    )
}

fn best<'a>(
    peers: impl Iterator<Item = &'a Member>,
    is_suspected: impl Fn(&Member) -> bool,
    listener: &str,
) -> Option<String> {
    let serving =
        peers.filter(|member| member.facts.others.contains_key(FACT_SERVES) && !is_suspected(member));
    let reachable = serving.filter_map(|member| Some((member, member.facts.listeners.get(listener)?)));
    reachable.max_by_key(|(member, _)| member.incarnation).map(|(_, address)| address.clone())
}

#[cfg(test)]
mod tests {
    use weir_cluster::{Facts, StoreKind};

    use super::*;

    fn member(name: &str, incarnation: u64, serves: bool) -> Member {
        let serves = serves.then(|| (FACT_SERVES.to_owned(), "1".to_owned()));
        let facts = Facts {
            protocol: 1,
            protocol_min: 1,
            release: String::new(),
            store: StoreKind::Redis,
            store_id: String::new(),
            listeners: [("mqtt".to_owned(), format!("{name}:1883"))].into(),
            others: serves.into_iter().collect(),
        };
        let address = "127.0.0.1:7946".parse().unwrap();
        Member { node_id: name.parse().unwrap(), incarnation, address, facts }
    }

    #[test]
    fn clients_go_to_the_node_that_was_started_last() {
        let members = [member("a", 3, true), member("b", 7, true), member("c", 5, true)];
        assert_eq!(best(members.iter(), |_| false, "mqtt").as_deref(), Some("b:1883"));
    }

    #[test]
    fn nobody_is_sent_to_a_node_that_drains_or_is_silent_or_does_not_listen_there() {
        let members = [member("a", 3, true), member("b", 7, false), member("c", 5, true)];
        let silent = |member: &Member| member.node_id.as_str() == "c";
        assert_eq!(best(members.iter(), silent, "mqtt").as_deref(), Some("a:1883"));
        assert_eq!(best(members.iter(), silent, "quic"), None);
    }

    /// The largest number of times one client is sent on when all nodes are restarted one after another.
    fn moves(order: &[usize], started: &[u64], surge: bool) -> usize {
        let names = ["a", "b", "c", "s"];
        let mut nodes: Vec<Option<Member>> =
            started.iter().zip(names).map(|(at, name)| Some(member(name, *at, true))).collect();
        let mut clients: Vec<(usize, usize)> = (0..started.len()).map(|node| (node, 0)).collect();
        if surge {
            nodes.push(Some(member("s", 100, true)));
        }
        for (round, &drained) in order.iter().enumerate() {
            nodes[drained] = None;
            let next = best(nodes.iter().flatten(), |_| false, "mqtt").unwrap();
            let next = names.iter().position(|name| next.starts_with(name)).unwrap();
            for (at, moves) in clients.iter_mut().filter(|(at, _)| *at == drained) {
                (*at, *moves) = (next, *moves + 1);
            }
            // With one node more than before, the last one drained does not come back.
            if !(surge && round + 1 == order.len()) {
                nodes[drained] = Some(member(names[drained], 200 + round as u64, true));
            }
        }
        clients.into_iter().map(|(_, moves)| moves).max().unwrap()
    }

    #[test]
    fn a_rolling_restart_moves_nobody_more_than_twice_and_once_with_a_node_more() {
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        for order in orders {
            for started in [[1, 2, 3], [3, 2, 1], [2, 3, 1]] {
                assert!(moves(&order, &started, false) <= 2, "{order:?} {started:?}");
                assert_eq!(moves(&order, &started, true), 1, "{order:?} {started:?}");
            }
        }
    }
}
