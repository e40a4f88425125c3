//! The machine put together: what is started in which order, and stopped in the reverse.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use weir_access::Access;
use weir_broker::Broker;
use weir_gateway::Gateway;
use weir_store::Store;

use crate::config::Config;
use crate::memory;
use crate::telemetry::Render;

/// A running node.
pub struct Node {
    store: Arc<dyn Store>,
    broker: Broker,
    gateway: Gateway,
}

impl Node {
    /// Opens the store, restores the broker from it, and only then lets clients in.
    ///
    /// # Errors
    /// The store cannot be used, or a listener cannot be opened.
    pub async fn start(config: Config, metrics: Render) -> anyhow::Result<Self> {
        let store = open_store(config.store, config.node.data_dir.clone()).await?;
        let access = open_access(config.access).await?;
        let broker = Broker::start(config.broker, Arc::clone(&store), access, weir_gateway::FORMS)
            .await
            .context("the broker cannot start")?;
        broker.pressure().on_pressure(memory::give_back);
        let listen = weir_gateway::Listen {
            mqtt: config.listen.mqtt.socket(),
            mqtts: config.listen.mqtts.socket(),
            http: config.listen.http.socket(),
            https: config.listen.https.socket(),
            quic: config.listen.quic.socket(),
            certificate_dir: config.node.data_dir,
        };
        let gateway =
            Gateway::start(broker.clone(), config.gateway, config.net, listen, measured(&broker, metrics))
                .await
                .context("clients cannot be let in")?;
        Ok(Self { store, broker, gateway })
    }

    /// Every open listener by its name, with the port it really has.
    #[must_use]
    pub fn addresses(&self) -> Vec<(&'static str, SocketAddr)> {
        self.gateway.addresses()
    }

    /// Reads keys, accounts, policies and certificates again now. What cannot be used is said, and the
    /// old stays.
    pub async fn reload(&self) {
        if let Err(error) = self.broker.access().reload().await {
            tracing::error!(%error, "told to read the access settings again: the old ones stay");
        }
        if let Err(error) = self.gateway.reload_tls().await {
            tracing::error!(%error, "told to read the certificates again: the old ones stay");
        }
    }

    /// Lets nobody in any more, says goodbye to those who are in, and closes the store. What is not done within
    /// the grace is named and left.
    pub async fn stop(self, grace: Duration) {
        let end = Instant::now() + grace;
        let left = || end.saturating_duration_since(Instant::now());
        // Clients that take their time leave a quarter for the broker and the store.
        if !self.gateway.shutdown(grace * 3 / 4).await {
            tracing::warn!(part = "gateway", "clients did not go within the grace period");
        }
        within(left(), "broker", self.broker.shutdown()).await;
        within(left(), "store", self.store.close()).await;
    }
}

/// Reads keys, accounts and policies, and from then on again whenever they change. What is fetched
/// meanwhile may block.
async fn open_access(config: weir_access::Config) -> anyhow::Result<Arc<Access>> {
    let loaded = tokio::task::spawn_blocking(move || Access::load(&config, Path::new("")));
    let access = loaded.await.context("reading the access settings panicked")??;
    tokio::spawn(Arc::clone(&access).watch());
    Ok(access)
}

/// Metrics as they are when somebody looks, not up to a second old.
fn measured(broker: &Broker, metrics: Render) -> Render {
    let broker = broker.clone();
    Arc::new(move || {
        broker.gauge();
        metrics()
    })
}

/// Opening reads back what was kept, which may take long and blocks.
async fn open_store(
    config: weir_store::Config,
    data_dir: std::path::PathBuf,
) -> anyhow::Result<Arc<dyn Store>> {
    let (store, recovery) = tokio::task::spawn_blocking(move || weir_store::open(&config, &data_dir))
        .await
        .context("opening the store panicked")??;
    tracing::info!(sequence = recovery.sequence, replayed = recovery.replayed, level = ?store.level(), "store open");
    Ok(store)
}

async fn within(grace: Duration, part: &'static str, ended: impl Future<Output = ()>) {
    if tokio::time::timeout(grace, ended).await.is_err() {
        tracing::warn!(part, "did not stop within the grace period");
    }
}
