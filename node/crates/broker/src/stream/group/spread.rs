//! Which node serves which partition of a group: rendezvous hashing over the nodes that have members.
//!
//! When a node comes, it takes partitions from all others alike; when one goes, only its partitions move.

use weir_store::{Incarnation, PartitionKey};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The node that serves a partition; `None` without nodes.
pub fn server(nodes: &[Incarnation], key: &PartitionKey) -> Option<Incarnation> {
    nodes.iter().copied().max_by_key(|node| (score(*node, key), *node))
}

fn score(node: Incarnation, key: &PartitionKey) -> u64 {
    let mut name = Vec::with_capacity(key.realm.len() + key.stream.len() + 16);
    name.extend_from_slice(key.realm.as_bytes());
    name.push(b'/');
    name.extend_from_slice(key.stream.as_bytes());
    name.extend_from_slice(&key.generation.to_le_bytes());
    name.extend_from_slice(&key.partition.to_le_bytes());
    xxh3_64_with_seed(&name, node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(partition: u32) -> PartitionKey {
        PartitionKey { realm: "r".into(), stream: "s".into(), generation: 1, partition }
    }

    #[test]
    fn partitions_are_spread_and_only_those_of_a_lost_node_move() {
        let nodes = [17, 1_700_000_000_001, 1_700_000_000_002, 1_700_000_000_003];
        let before: Vec<_> = (0..4000).map(|n| server(&nodes, &key(n)).unwrap()).collect();
        for node in nodes {
            let count = before.iter().filter(|server| **server == node).count();
            assert!((800..1200).contains(&count), "{count} of {node}");
        }
        for (n, server_before) in (0..4000).zip(&before) {
            let after = server(&nodes[1..], &key(n)).unwrap();
            assert!(after == *server_before || *server_before == nodes[0]);
        }
        assert_eq!(server(&[], &key(0)), None);
    }
}
