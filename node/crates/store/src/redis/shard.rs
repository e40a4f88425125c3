//! A shard: one slot family of the Redis layout, named by its hash tag.

use std::fmt;

/// A slot family. All keys of one share a hash tag, so that they lie in one slot of a Redis Cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shard {
    /// Sessions and share groups, `s<n>`.
    Session(u16),
    /// Topics, `t<n>`.
    Topic(u16),
    /// Partitions of streams, `p<n>`.
    Partition(u16),
    /// Leases of the nodes and what the store says of itself, `n`.
    Nodes,
}

impl Shard {
    /// Every shard of a store with so many shards of each kind.
    pub fn all(shards: u16) -> impl Iterator<Item = Shard> {
        let sessions = (0..shards).map(Shard::Session);
        let partitions = (0..shards).map(Shard::Partition);
        sessions.chain((0..shards).map(Shard::Topic)).chain(partitions).chain([Shard::Nodes])
    }

    /// The start of every key of this shard: `{<prefix>:<shard>}`.
    pub fn tag(self, prefix: &str) -> String {
        format!("{{{prefix}:{self}}}")
    }

    /// A key of this shard: `{<prefix>:<shard>}:<name>`.
    pub fn key(self, prefix: &str, name: &str) -> String {
        format!("{{{prefix}:{self}}}:{name}")
    }

    /// The slot of a Redis Cluster that its keys lie in.
    pub fn slot(self, prefix: &str) -> u16 {
        slot(format!("{prefix}:{self}").as_bytes())
    }

    /// A number that tells apart the shards of one kind, to spread them over connections.
    pub(super) fn number(self) -> usize {
        match self {
            Shard::Session(number) | Shard::Topic(number) | Shard::Partition(number) => usize::from(number),
            Shard::Nodes => 0,
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shard::Session(number) => write!(f, "s{number}"),
            Shard::Topic(number) => write!(f, "t{number}"),
            Shard::Partition(number) => write!(f, "p{number}"),
            Shard::Nodes => f.write_str("n"),
        }
    }
}

/// CRC16 (XMODEM) of the text inside the braces of a key, in the 16,384 slots of a Redis Cluster.
fn slot(tag: &[u8]) -> u16 {
    let crc = tag.iter().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    });
    crc % 16_384
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        // `CLUSTER KEYSLOT` of a redis-server 7 says so.
        assert_eq!(slot(b"123456789"), 12_739);
        assert_eq!(slot(b"foo"), 12_182);
    }

    #[test]
    fn keys_of_a_shard_share_its_tag() {
        assert_eq!(Shard::Session(3).key("weir", "timers"), "{weir:s3}:timers");
        assert_eq!(Shard::Nodes.tag("weir"), "{weir:n}");
        assert_eq!(Shard::all(16).count(), 49);
    }
}
