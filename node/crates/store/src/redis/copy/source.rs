//! Reading a Redis out: its shards one after the other, while no node works on it.

use tokio::runtime::Handle;

use super::meta::{self, Seen};
use super::{Place, read};
use crate::config::Config;
use crate::copy::{CopyError, CopySource, Marks, Pages, Sink};
use crate::redis::EnrolError;
use crate::redis::lease::LAYOUT_VERSION;
use crate::redis::shard::Shard;

/// A store in a Redis, read out as it stands.
pub struct RedisSource {
    place: Place,
    /// The newest incarnation when the copy began: another one says that a node has started.
    incarnation: String,
    nodes: Vec<String>,
}

impl RedisSource {
    /// Looks at the store of this cluster in a Redis. With `live`, nodes may work on it: what changes meanwhile may be
    /// missing. To be called outside of the runtime it uses.
    ///
    /// # Errors
    /// There is none, it is another cluster's or of a newer layout, or nodes work on it.
    pub fn open(
        config: &Config,
        url: &str,
        cluster_id: &str,
        live: bool,
        runtime: &Handle,
    ) -> Result<RedisSource, CopyError> {
        let mut place = Place::connect(config, url, config.redis.shards, runtime)?;
        let seen = place.look()?;
        let store = place.name.clone();
        let Some(found) = seen.cluster.clone() else { return Err(CopyError::Missing { store }) };
        if let Some(from) = seen.copying {
            return Err(CopyError::Unfinished { store, from });
        }
        place.check(cluster_id, &found, seen.newer_layout())?;
        if !live && !seen.live.is_empty() {
            let by = seen.live.join(", ");
            return Err(CopyError::InUse { store, by: format!("the nodes {by}"), may_be_live: true });
        }
        let shards = seen.shards.unwrap_or(config.redis.shards);
        if shards != config.redis.shards {
            place = Place::connect(config, url, shards, runtime)?;
        }
        place.live = live;
        Ok(RedisSource { place, incarnation: seen.incarnation, nodes: seen.live })
    }

    /// Nodes that work on it.
    pub fn nodes(&self) -> &[String] {
        &self.nodes
    }
}

impl CopySource for RedisSource {
    fn marks(&mut self) -> Result<Marks, CopyError> {
        self.place.marks()
    }

    fn read(&mut self, sink: Sink<'_>) -> Result<(), CopyError> {
        let mut pages = Pages::new(sink);
        read::everything(&self.place, &mut pages)?;
        pages.finish()
    }

    fn settle(&mut self) -> Result<(), CopyError> {
        let seen = self.place.look()?;
        let has_changed = seen.incarnation != self.incarnation || !seen.live.is_empty();
        if has_changed && !self.place.live {
            return Err(CopyError::Changed { store: self.place.name.clone() });
        }
        Ok(())
    }
}

impl Place {
    /// What the store says of itself now.
    pub(super) fn look(&self) -> Result<Seen, CopyError> {
        let look = meta::look(&self.layout);
        self.with(Shard::Nodes, async |connection| look.query_async(connection).await)
    }

    /// Refuses a store that is another cluster's or of a layout that this version does not know.
    pub(super) fn check(&self, own: &str, found: &str, newer: Option<String>) -> Result<(), CopyError> {
        let refused = |cause| Err(CopyError::Enrol { store: self.name.clone(), cause });
        if found != own {
            let (prefix, found) = (self.layout.prefix.to_string(), found.to_owned());
            return refused(EnrolError::OtherCluster { prefix, found, own: own.to_owned() });
        }
        match newer {
            Some(found) => refused(EnrolError::NewerLayout { found, known: LAYOUT_VERSION }),
            None => Ok(()),
        }
    }
}
