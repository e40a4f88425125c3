//! Opens the store that the configuration names, for this start of this node.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use weir_cluster::{StoreKind, next_incarnation};
use weir_store::redis::{ConnectError, EnrolError, RedisOpenError, RedisStore};
use weir_store::{NodeRef, OpenError, Store};

use crate::config::Config;

/// How often a Redis that is away is asked again.
const TRY_AGAIN: Duration = Duration::from_millis(250);

/// An open store, and what this start of the node is called in it.
pub struct Opened {
    pub store: Arc<dyn Store>,
    pub kind: StoreKind,
    /// Which one, if nodes can share it; empty otherwise.
    pub id: String,
    pub incarnation: u64,
}

/// Opens it; reading back what was kept may take long.
///
/// # Errors
/// It cannot be used; the message names what to change.
pub async fn open(config: &Config) -> anyhow::Result<Opened> {
    let incarnation = next_incarnation(&config.node.data_dir)?;
    let kind = config.store_kind();
    let (store, id) = match kind {
        StoreKind::Redis => open_redis(config, incarnation).await?,
        StoreKind::Embedded | StoreKind::Memory => (open_own(config).await?, String::new()),
    };
    // A shared store has the last word: it knows every start there was.
    let incarnation = store.node().map_or(incarnation, |node| node.incarnation);
    Ok(Opened { store, kind, id, incarnation })
}

async fn open_own(config: &Config) -> anyhow::Result<Arc<dyn Store>> {
    let (settings, data_dir) = (config.store.clone(), config.node.data_dir.clone());
    let (store, recovery) = tokio::task::spawn_blocking(move || weir_store::open(&settings, &data_dir))
        .await
        .context("opening the store panicked")??;
    tracing::info!(sequence = recovery.sequence, replayed = recovery.replayed, level = ?store.level(), "store open");
    Ok(store)
}

/// Waits for a Redis that is away; one that refuses is an error at once.
async fn open_redis(config: &Config, incarnation: u64) -> anyhow::Result<(Arc<dyn Store>, String)> {
    let (settings, cluster) = (&config.store, &config.cluster.id);
    let mut was_told = false;
    let store = loop {
        let node = NodeRef { node_id: config.node.name().into(), incarnation };
        match RedisStore::open(settings, &settings.url, cluster, node).await {
            Ok(store) => break store,
            Err(error) if is_away(&error) => {
                if !std::mem::replace(&mut was_told, true) {
                    tracing::warn!(%error, "waiting for the store");
                }
                tokio::time::sleep(TRY_AGAIN).await;
            }
            Err(error) => return Err(error.into()),
        }
    };
    tracing::info!(level = %store.level(), "store open");
    let id = store.store_id().unwrap_or_default().to_owned();
    Ok((store, id))
}

/// Whether it may be there in a while.
fn is_away(error: &OpenError) -> bool {
    let OpenError::Redis(error) = error else { return false };
    match error {
        RedisOpenError::Connect(error) => {
            matches!(
                error,
                ConnectError::Unreachable { .. } | ConnectError::Replica { .. } | ConnectError::Lost(_)
            )
        }
        RedisOpenError::Enrol(error) => matches!(error, EnrolError::Away(_) | EnrolError::Redis(_)),
        RedisOpenError::Shard { .. } => true,
        RedisOpenError::Shards { .. } | RedisOpenError::Threads { .. } => false,
    }
}
