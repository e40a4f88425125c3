//! Which primary has which shard.

use std::sync::Arc;

use hashbrown::HashMap;

use super::discover::Found;
use super::primary::Primary;
use super::target::Address;
use crate::redis::config::RedisConfig;
use crate::redis::shard::Shard;

/// One view of where things are; never changed, only replaced.
pub(super) struct Table {
    /// As found, to see whether anything has changed.
    found: Found,
    primaries: Vec<Arc<Primary>>,
    shards: HashMap<Shard, usize>,
}

impl Table {
    /// Keeps the primaries of the table before that are still there, with their connections.
    pub fn new(
        found: &Found,
        before: Option<&Table>,
        config: &RedisConfig,
        mut make: impl FnMut(Address) -> Arc<Primary>,
    ) -> Table {
        let kept = |address: &Address| {
            before.and_then(|before| before.primaries().find(|primary| primary.address == *address)).cloned()
        };
        let mut primary = |address: &Address| kept(address).unwrap_or_else(|| make(address.clone()));
        let primaries = found.primaries.iter().map(|found| primary(&found.address)).collect();
        let home = |shard: Shard| {
            if found.slots.is_empty() {
                return Some((shard, 0));
            }
            let slot = shard.slot(&config.key_prefix);
            let range = found.slots.iter().find(|(first, last, _)| (*first..=*last).contains(&slot));
            range.map(|(_, _, primary)| (shard, *primary))
        };
        let shards = Shard::all(config.shards).filter_map(home).collect();
        Table { found: found.clone(), primaries, shards }
    }

    pub fn primary(&self, shard: Shard) -> Option<&Arc<Primary>> {
        self.shards.get(&shard).and_then(|at| self.primaries.get(*at))
    }

    pub fn primaries(&self) -> impl Iterator<Item = &Arc<Primary>> {
        self.primaries.iter()
    }

    /// The replicas of a primary that could be promoted, as found.
    pub fn replicas_known(&self, address: &Address) -> u32 {
        let found = self.found.primaries.iter().find(|found| found.address == *address);
        found.map_or(0, |found| found.replicas)
    }

    pub fn is_as(&self, found: &Found) -> bool {
        self.found == *found
    }

    /// Primaries that are not in `next`.
    pub fn gone<'a>(&'a self, next: &'a Table) -> impl Iterator<Item = &'a Arc<Primary>> {
        self.primaries().filter(|primary| !next.primaries().any(|kept| Arc::ptr_eq(kept, primary)))
    }

    /// The shards of each primary that has some, in order.
    pub fn groups(&self) -> Vec<Vec<Shard>> {
        let mut groups = vec![Vec::new(); self.primaries.len()];
        for (shard, at) in &self.shards {
            groups[*at].push(*shard);
        }
        groups.retain(|shards| !shards.is_empty());
        groups.iter_mut().for_each(|shards| shards.sort_unstable());
        groups
    }
}
