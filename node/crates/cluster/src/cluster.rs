//! The cluster as a node has it: one endpoint, gossip over it, and the members as they are now.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chitchat::{ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, spawn_chitchat};
use tokio::sync::{Mutex, watch};
use tokio::task::AbortHandle;
use weir_net::peer::{Alpn, NodeId, PeerBindError, PeerConnection, PeerEndpoint, PeerTls, code};

use crate::config::Config;
use crate::facts::{self, Facts, KEY_LEAVING, KEY_READY, SetFactError, StoreKind};
use crate::gossip::GossipTransport;
use crate::join::{Resolve, Seeds, SystemResolver, next_look};
use crate::membership::{Member, Members, Patience, State};

mod advertise;
mod observer;

use observer::Observer;

/// Signs of life that the usual pause is the mean of.
const SAMPLES: usize = 200;
/// A pause longer than this is no pause but an absence, and does not count into the mean.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long a deleted fact is remembered as deleted.
const DELETED_MEMORY: Duration = Duration::from_secs(3600);

/// What a node is to its peers.
#[derive(Clone, Debug)]
pub struct Local {
    /// Its name; the certificate must say the same.
    pub node_id: NodeId,
    /// Which start of the node this is: see [`crate::next_incarnation`].
    pub incarnation: u64,
    /// Where it listens for peers (UDP).
    pub listen: SocketAddr,
    /// The version of the program.
    pub release: String,
    /// What it keeps its messages in.
    pub store: StoreKind,
    /// Which one, if nodes can share it; empty for a store of its own.
    pub store_id: String,
    /// The addresses of its listeners for clients, by the listener's name; peers tell them to clients.
    pub listeners: BTreeMap<String, String>,
}

/// Why a node cannot be part of a cluster.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The peer listener.
    #[error(transparent)]
    Bind(#[from] PeerBindError),
    /// The system does not say what was bound.
    #[error("cannot tell the address of the peer listener: {source}")]
    Address { source: std::io::Error },
    /// The certificate is another node's.
    #[error("this node is {node_id}, but its certificate is for {certificate}")]
    OtherName { node_id: NodeId, certificate: NodeId },
    /// An embedded store has no peers.
    #[error("`cluster.join` is set, and an embedded store cannot be shared: set `store.url` to a redis")]
    EmbeddedStore,
    /// `cluster.advertise` is no address of this moment.
    #[error("`cluster.advertise` = {given:?} is no address that can be resolved: {problem}")]
    Advertise { given: String, problem: String },
    /// What it tells of itself is too long for gossip.
    #[error(transparent)]
    Facts(#[from] SetFactError),
    /// Gossip did not start.
    #[error("gossip did not start: {problem}")]
    Gossip { problem: String },
}

/// This node's place in the cluster. Clones are the same; with the last of them gossip ends without a goodbye,
/// so [`Cluster::leave`] first.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    endpoint: PeerEndpoint,
    gossip: Arc<ChitchatHandle>,
    members: watch::Receiver<Members>,
    local: Local,
    advertised: SocketAddr,
    /// The facts set so far, so that there are never too many.
    told: Mutex<BTreeSet<String>>,
    interval: Duration,
    tasks: Vec<AbortHandle>,
}

impl Cluster {
    /// Binds the peer listener, begins to gossip and to join; within a tokio runtime. Does not wait for peers.
    ///
    /// # Errors
    /// The listener cannot be bound, or what the node is does not allow it to have peers.
    pub async fn start(config: &Config, local: Local, tls: PeerTls) -> Result<Self, StartError> {
        Self::start_with_resolver(config, local, tls, Arc::new(SystemResolver)).await
    }

    /// As [`Self::start`], with another way to turn the names of `cluster.join` into addresses.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with_resolver(
        config: &Config,
        local: Local,
        tls: PeerTls,
        resolver: Arc<dyn Resolve>,
    ) -> Result<Self, StartError> {
        if tls.node_id() != &local.node_id {
            let certificate = tls.node_id().clone();
            return Err(StartError::OtherName { node_id: local.node_id, certificate });
        }
        if local.store == StoreKind::Embedded && !config.join.is_empty() {
            return Err(StartError::EmbeddedStore);
        }
        let facts = local.facts();
        facts.check()?;
        let endpoint = PeerEndpoint::bind(local.listen, tls)?;
        let bound = endpoint.local_addr().map_err(|source| StartError::Address { source })?;
        let advertised = advertise::address(config, bound, &*resolver).await?;
        let gossip = Arc::new(start_gossip(config, &local, advertised, &facts, &endpoint).await?);

        let me = Member {
            node_id: local.node_id.clone(),
            incarnation: local.incarnation,
            address: advertised,
            facts: facts.clone(),
        };
        let interval = Duration::from_millis(config.gossip_interval_ms.max(1));
        let observer = Observer::new(State::new(me, patience(config)), interval);
        let shown = gossip.with_chitchat(|chitchat| chitchat.live_nodes_watcher()).await;
        let (members, observing) = observer.start(shown);
        let mut tasks = vec![observing];
        let seeds = Seeds::new(config.join.clone(), resolver);
        if !seeds.is_empty() {
            let every = Duration::from_millis(config.join_interval_ms.max(100));
            let joining = tokio::spawn(join(gossip.clone(), seeds, members.clone(), every));
            tasks.push(joining.abort_handle());
        }
        let told = Mutex::new(BTreeSet::new());
        let inner = Inner { endpoint, gossip, members, local, advertised, told, interval, tasks };
        tracing::info!(node = %inner.local.node_id, cluster = config.id, %bound, %advertised, "listening for peers");
        Ok(Self(Arc::new(inner)))
    }

    /// The members as they are now, and every change.
    #[must_use]
    pub fn members(&self) -> watch::Receiver<Members> {
        self.0.members.clone()
    }

    /// What this node is to its peers.
    #[must_use]
    pub fn local(&self) -> &Local {
        &self.0.local
    }

    /// The address peers are told.
    #[must_use]
    pub fn advertised(&self) -> SocketAddr {
        self.0.advertised
    }

    /// The endpoint, to dial links with.
    #[must_use]
    pub fn endpoint(&self) -> &PeerEndpoint {
        &self.0.endpoint
    }

    /// Waits for the next link that a peer dialled; `None` once the endpoint is closed. Cancel safe.
    pub async fn accept_link(&self) -> Option<PeerConnection> {
        self.0.endpoint.accept(Alpn::Link).await
    }

    /// Tells all nodes a fact, small and slow: name and value are bounded as [`facts`] says.
    ///
    /// # Errors
    /// It is too long, or there are too many.
    pub async fn set_fact(&self, name: &str, value: &str) -> Result<(), SetFactError> {
        facts::check(name, value)?;
        let mut told = self.0.told.lock().await;
        if !told.contains(name) && told.len() + self.0.local.listeners.len() >= facts::FACTS_MAX {
            return Err(SetFactError::TooMany);
        }
        told.insert(name.to_owned());
        let key = facts::key_of(name);
        self.0.gossip.with_chitchat(|chitchat| chitchat.self_node_state().set(&key, value)).await;
        Ok(())
    }

    /// Tells all nodes where clients reach this one, by the listener's name: for those opened after the start.
    ///
    /// # Errors
    /// A name or an address is too long.
    pub async fn set_listeners(&self, listeners: &BTreeMap<String, String>) -> Result<(), SetFactError> {
        listeners.iter().try_for_each(|(name, address)| facts::check(name, address))?;
        let keys = listeners.iter().map(|(name, address)| (facts::listen_key_of(name), address));
        let keys: Vec<_> = keys.collect();
        let set = |chitchat: &mut chitchat::Chitchat| {
            let state = chitchat.self_node_state();
            keys.iter().for_each(|(key, address)| state.set(key, address));
        };
        self.0.gossip.with_chitchat(set).await;
        Ok(())
    }

    /// Takes a fact back.
    pub async fn remove_fact(&self, name: &str) {
        let mut told = self.0.told.lock().await;
        if told.remove(name) {
            let key = facts::key_of(name);
            self.0.gossip.with_chitchat(|chitchat| chitchat.self_node_state().delete(&key)).await;
        }
    }

    /// Says goodbye: tells every peer at once that this node leaves, gives them two rounds of gossip to hear
    /// it, and closes all peer connections. Nothing can be done with the cluster afterwards.
    pub async fn leave(&self) {
        let inner = &self.0;
        inner.gossip.with_chitchat(|chitchat| chitchat.self_node_state().set(KEY_LEAVING, "1")).await;
        for peer in inner.members.borrow().peers() {
            // An error says that gossip has ended already.
            let _ = inner.gossip.gossip(peer.address);
        }
        tokio::time::sleep(inner.interval * 2).await;
        let _ = inner.gossip.initiate_shutdown();
        inner.endpoint.close(code::LEAVING, "the node leaves");
        inner.endpoint.wait_idle().await;
    }

    /// Waits until gossip has ended, and says why: after [`Self::leave`] with `Ok`.
    ///
    /// # Errors
    /// It failed; without it this node sees nobody come or go, so it must end.
    pub async fn ended(&self) -> Result<(), String> {
        self.0.gossip.termination_watcher().await.map_err(|error| error.to_string())
    }
}

impl Local {
    fn facts(&self) -> Facts {
        Facts {
            protocol: facts::PROTOCOL,
            protocol_min: facts::PROTOCOL_MIN,
            release: self.release.clone(),
            store: self.store,
            store_id: self.store_id.clone(),
            listeners: self.listeners.clone(),
            others: BTreeMap::new(),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.gossip.abort();
    }
}

async fn start_gossip(
    config: &Config,
    local: &Local,
    advertised: SocketAddr,
    facts: &Facts,
    endpoint: &PeerEndpoint,
) -> Result<ChitchatHandle, StartError> {
    let failure_detector_config = FailureDetectorConfig {
        phi_threshold: config.phi_threshold,
        sampling_window_size: SAMPLES,
        max_interval: PAUSE_MAX,
        initial_interval: Duration::from_millis(config.initial_interval_ms.max(1)),
        dead_node_grace_period: Duration::from_secs(config.dead_grace_seconds),
    };
    let settings = ChitchatConfig {
        chitchat_id: ChitchatId::new(local.node_id.as_str(), local.incarnation, advertised),
        cluster_id: config.id.clone(),
        gossip_interval: Duration::from_millis(config.gossip_interval_ms.max(1)),
        listen_addr: advertised,
        // Joining is done here: these names would be resolved once a minute.
        seed_nodes: Vec::new(),
        failure_detector_config,
        marked_for_deletion_grace_period: DELETED_MEMORY,
        catchup_callback: None,
        extra_liveness_predicate: Some(Box::new(|state| state.get(KEY_READY).is_some())),
    };
    let transport = GossipTransport::new(endpoint.clone(), config.id.as_str().into());
    spawn_chitchat(settings, facts.to_keys(), &transport)
        .await
        .map_err(|error| StartError::Gossip { problem: error.to_string() })
}

fn patience(config: &Config) -> Patience {
    Patience {
        suspicion: Duration::from_millis(config.suspicion_ms),
        after_stall: Duration::from_millis(config.suspicion_ms.max(config.gossip_interval_ms * 5)),
        memory: Duration::from_secs(config.dead_grace_seconds),
    }
}

/// Greets whoever is behind the names and no member, as long as there is gossip.
async fn join(
    gossip: Arc<ChitchatHandle>,
    mut seeds: Seeds,
    members: watch::Receiver<Members>,
    every: Duration,
) {
    loop {
        let addresses = seeds.resolve().await;
        let known: BTreeSet<_> = members.borrow().all().map(|member| member.address).collect();
        for address in addresses.difference(&known) {
            if gossip.gossip(*address).is_err() {
                return;
            }
        }
        let alone = known.len() <= 1;
        tokio::time::sleep(next_look(alone, every)).await;
    }
}
