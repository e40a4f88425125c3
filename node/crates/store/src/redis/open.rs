//! Opening the store on a Redis: entering it as a node of a cluster, with the library and the accounts read.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::ConnectError;
use super::account::{Accounts, ShardRow};
use super::layout::{Layout, SHARDS_MAX};
use super::lease::{EnrolError, enrol};
use super::library::{self, Function};
use super::mirror::Feed;
use super::read::ask;
use super::rollback::Rollbacks;
use super::runtime::Runtime;
use super::servers::Servers;
use super::shard::Shard;
use super::store::{Context, RedisStore};
use super::submit::Room;
use super::witness::Witnesses;
use crate::config::Config;
use crate::counters::Counters;
use crate::state::Rules;
use crate::{NodeRef, OpenError, Store};

/// Entries that a stream of changes keeps, about: a mirror that is further behind loads everything again.
const CHANGES_MAX: u64 = 10_000;

/// Why the store on a Redis cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum RedisOpenError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("`store.redis.shards` = {shards} is more than {SHARDS_MAX}")]
    Shards { shards: u16 },
    #[error("no threads for the store: {source}")]
    Threads { source: std::io::Error },
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    #[error("cannot read shard {shard}: {cause}")]
    Shard { shard: Shard, cause: String },
}

impl RedisStore {
    /// Connects, enters the store as a node of this cluster, and reads the accounts. `node` says who this is; its
    /// incarnation is raised above all that the store has seen. The lease stands after [`Store::restore`]. It runs on
    /// threads of its own: what keeps the caller's busy does not keep the lease from being renewed.
    pub async fn open(
        config: &Config,
        url: &str,
        cluster_id: &str,
        node: NodeRef,
    ) -> Result<Arc<dyn Store>, OpenError> {
        let shards = config.redis.shards;
        if shards > SHARDS_MAX {
            return Err(RedisOpenError::Shards { shards }.into());
        }
        let runtime = Runtime::start().map_err(|source| RedisOpenError::Threads { source })?;
        let (config, url, cluster_id) = (config.clone(), url.to_owned(), cluster_id.to_owned());
        let room = Room::new(&config);
        let entering = async move { RedisStore::enter(&config, &url, &cluster_id, node).await };
        let entered = runtime.handle().spawn(entering).await;
        let context =
            entered.map_err(|ended| RedisOpenError::Threads { source: std::io::Error::other(ended) })??;
        Ok(Arc::new(RedisStore::start(context, room, runtime)))
    }

    async fn enter(
        config: &Config,
        url: &str,
        cluster_id: &str,
        node: NodeRef,
    ) -> Result<Arc<Context>, RedisOpenError> {
        let shards = config.redis.shards;
        let servers = Servers::connect(url, config.level, &config.redis).await?;
        let layout = Layout { prefix: config.redis.key_prefix.as_str().into(), shards };
        let node = enrol(&servers, &layout, cluster_id, &node).await?;
        load_library(&servers).await?;
        let store_id = store_id(&servers, &layout, &node).await?;
        let accounts = Arc::new(Accounts::new(&layout));
        read_accounts(&servers, &layout, &accounts).await?;
        let feed = Feed::new(servers.clone(), layout.clone(), node.incarnation);
        let context = Arc::new(Context {
            rules: Rules::from(config),
            claim_ms: config.claim_ms,
            changes_max: CHANGES_MAX,
            batch_bytes_max: config.commit_bytes_max,
            unknown_wait: Duration::from_millis(config.redis.unknown_wait_ms.max(1)),
            counters: Counters::new(accounts.sum()),
            servers,
            layout,
            node,
            store_id,
            accounts,
            feed,
            rollbacks: Rollbacks::default(),
            witnesses: Witnesses::default(),
            lease: OnceLock::new(),
        });
        context.rollbacks.start(&context);
        Ok(context)
    }
}

/// The name that the first node to enter gave the store.
async fn store_id(servers: &Servers, layout: &Layout, node: &NodeRef) -> Result<String, RedisOpenError> {
    let shard = Shard::Nodes;
    let failed = |cause: String| RedisOpenError::Shard { shard, cause };
    let mut connection = servers.commands(shard).await.map_err(|away| failed(away.to_string()))?;
    let key = layout.key(shard, "meta");
    let proposed = format!("{:x}-{:x}", node.incarnation, RandomState::new().hash_one(&node.node_id));
    let mut asking = redis::pipe();
    asking.cmd("HSETNX").arg(&key).arg("store_id").arg(proposed).ignore();
    asking.cmd("HGET").arg(&key).arg("store_id");
    let (id,): (String,) =
        asking.query_async(&mut connection).await.map_err(|error| failed(error.to_string()))?;
    Ok(id)
}

/// Puts the library onto the primaries that have another version of it, or none.
async fn load_library(servers: &Servers) -> Result<(), RedisOpenError> {
    for shard in servers.groups().into_iter().filter_map(|shards| shards.first().copied()) {
        let failed = |cause: String| RedisOpenError::Shard { shard, cause };
        let mut connection = servers.commands(shard).await.map_err(|away| failed(away.to_string()))?;
        if !library::is_current(&mut connection).await.map_err(|error| failed(error.to_string()))? {
            library::load(&mut connection).await.map_err(|error| failed(error.to_string()))?;
        }
    }
    Ok(())
}

/// Reads the accounts of all shards.
pub(super) async fn read_accounts(
    servers: &Servers,
    layout: &Layout,
    accounts: &Accounts,
) -> Result<(), RedisOpenError> {
    for shard in layout.all() {
        let failed = |cause: String| RedisOpenError::Shard { shard, cause };
        let mut connection = servers.commands(shard).await.map_err(|away| failed(away.to_string()))?;
        let packed = ask(&mut connection, Function::Account, &layout.tag(shard), &[]).await;
        let packed = packed.map_err(|error| failed(error.to_string()))?;
        accounts.note(shard, ShardRow::of(&packed).map_err(|error| failed(error.to_string()))?);
    }
    Ok(())
}
