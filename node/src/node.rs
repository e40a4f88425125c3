//! The machine put together: what is started in which order, and stopped in the reverse.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::task::AbortHandle;
use weir_access::Access;
use weir_admin::Machine as _;
use weir_broker::Broker;
use weir_broker::admin::EventKind;
use weir_cluster::StoreKind;
use weir_gateway::{Gateway, LookAfter};
use weir_store::{LeaseEnded, Store};

use crate::administered::{Administered, Whole};
use crate::config::Config;
use crate::health::Watch;
use crate::memory;
use crate::occupant::Occupant;
use crate::place::{Place, Shared};
use crate::store;
use crate::telemetry::Render;

/// How often a draining node looks whether its clients are gone.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How long calls of administration that are being answered may take when the node stops.
const ADMIN_GRACE: Duration = Duration::from_secs(1);

/// A running node.
pub struct Node {
    store: Arc<dyn Store>,
    kind: StoreKind,
    broker: Broker,
    gateway: Gateway,
    place: Option<Arc<Place>>,
    watch: Arc<Watch>,
    drain_per_second: u32,
    /// Reads the access settings again when they change.
    access: AbortHandle,
    administered: Arc<Administered>,
    admin: Option<weir_admin::Server>,
    /// Tells who watches of nodes that come and go, and who asks for its health how this one is.
    tells: Vec<AbortHandle>,
    /// Kept until the store is closed.
    _occupant: Occupant,
}

/// Why a node has to stop that nobody told to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Over {
    /// The process has to end.
    ForGood(String),
    /// It can start anew, as another incarnation.
    AsItWas(String),
}

impl Node {
    /// Opens the listener of administration, which says that the node is not ready; opens the store, restores the
    /// broker from it, takes its place among the other nodes, and only then, with everything heard that they know,
    /// lets clients in.
    ///
    /// # Errors
    /// The store cannot be used, a listener cannot be opened, or the node cannot be one of its cluster.
    pub async fn start(config: Config, metrics: Render) -> anyhow::Result<Self> {
        let occupant = Occupant::take(&config.node.data_dir)?;
        let admin = open_admin(&config).await?;
        let opened = store::open(&config).await?;
        let store = Arc::clone(&opened.store);
        let access = open_access(config.access.clone()).await?;
        let watching = tokio::spawn(Arc::clone(&access).watch()).abort_handle();
        let broker = Broker::start(config.broker.clone(), Arc::clone(&store), access, weir_gateway::FORMS)
            .await
            .context("the broker cannot start")?;
        broker.pressure().on_pressure(memory::give_back);
        broker.run_handlers(config.runtime.clone(), Some(config.node.data_dir.join("handlers")));
        let place = take_place(&config, &opened, &broker).await?;
        let watch = Arc::new(Watch::new(Arc::clone(&store), place.clone()));
        let listen = weir_gateway::Listen {
            mqtt: config.listen.mqtt.socket(),
            mqtts: config.listen.mqtts.socket(),
            http: config.listen.http.socket(),
            https: config.listen.https.socket(),
            quic: config.listen.quic.socket(),
            wamp: config.listen.wamp.socket(),
            wamps: config.listen.wamps.socket(),
            hyper: config.listen.hyper.socket(),
            certificate_dir: config.node.data_dir.clone(),
        };
        let (render, health) = (measured(&broker, &watch, metrics), looked_after(&watch));
        let (of_clients, net) = (config.gateway.clone(), config.net.clone());
        let gateway = Gateway::start(broker.clone(), of_clients, net, listen, render.clone(), health)
            .await
            .context("clients cannot be let in")?;
        let administered = Administered::new(Whole {
            config: config.clone(),
            broker: broker.clone(),
            place: place.clone(),
            kind: opened.kind,
            metrics: render,
            tls: gateway.tls(),
        });
        administered.listens(gateway.addresses());
        let admin = admin.map(|opening| opening.serve(broker.clone(), administered.clone())).transpose()?;
        if let Some(place) = &place {
            place.serves(&gateway.addresses()).await;
        }
        let (kind, drain_per_second) = (opened.kind, config.cluster.drain_per_second);
        let mut tells = vec![tokio::spawn(administered.clone().tell_health(watch.clone())).abort_handle()];
        let members = place.clone().map(|place| place.tell_members(broker.clone()));
        tells.extend(members.map(|members| tokio::spawn(members).abort_handle()));
        Ok(Self {
            store,
            kind,
            broker,
            gateway,
            place,
            watch,
            drain_per_second,
            access: watching,
            administered,
            admin,
            tells,
            _occupant: occupant,
        })
    }

    /// Every open listener by its name, with the port it really has.
    #[must_use]
    pub fn addresses(&self) -> Vec<(&'static str, SocketAddr)> {
        let peer = self.place.as_ref().map(|place| ("peer", place.address()));
        let admin = self.admin.as_ref().map(|admin| ("admin", admin.address()));
        self.gateway.addresses().into_iter().chain(peer).chain(admin).collect()
    }

    /// What whoever starts the node should know, if it is less than it seems.
    #[must_use]
    pub fn caution(&self) -> Option<&'static str> {
        let is_qos0 = self.place.is_some() && self.kind == StoreKind::Memory;
        is_qos0.then_some(
            "a QoS 0 cluster: nodes with `memory` stores share messages and keep nothing of each other",
        )
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
        if let Some(place) = &self.place
            && let Err(error) = place.reload().await
        {
            tracing::error!(%error, "told to read the certificates for peers again: the old ones stay");
        }
        for problem in self.admin.iter().flat_map(weir_admin::Server::reload) {
            tracing::error!(problem, "told to read the settings of administration again: the old ones stay");
        }
    }

    /// Waits until an administrator wants the node to drain.
    pub async fn is_to_drain(&self) {
        self.administered.is_to_drain().await;
    }

    /// Waits until the node cannot go on as who it is.
    pub async fn is_over(&self) -> Over {
        let misplaced = async {
            match &self.place {
                Some(place) => place.is_over().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            why = misplaced => Over::ForGood(why),
            ended = self.store.lease_ended() => match ended {
                LeaseEnded::Buried => Over::AsItWas(ended.to_string()),
                LeaseEnded::Superseded { .. } => Over::ForGood(ended.to_string()),
            },
        }
    }

    /// Lets nobody in any more and sends the clients to other nodes, some every second. Returns when they are gone,
    /// or `grace` after the last was told; [`Node::stop`] is due then.
    pub async fn drain(&self, grace: Duration) {
        self.watch.drains();
        self.administered.drain();
        self.broker.admin().events.tell(|| EventKind::Draining);
        match &self.place {
            Some(place) => {
                self.gateway.close_doors(place.elsewhere());
                place.serves_no_more().await;
            }
            None => self.gateway.close_doors(Arc::new(|_| None)),
        }
        self.gateway.send_away(self.drain_per_second).await;
        let gone = async {
            while self.broker.sessions().census().connected > 0 {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        within(grace, "gateway", gone).await;
    }

    /// Lets nobody in any more, says goodbye to those who are in, leaves the other nodes, and closes the store. What is
    /// not done within the grace is named and left.
    pub async fn stop(self, grace: Duration) {
        let end = Instant::now() + grace;
        let left = || end.saturating_duration_since(Instant::now());
        self.tells.iter().for_each(AbortHandle::abort);
        if let Some(admin) = self.admin {
            admin.stop(ADMIN_GRACE.min(left())).await;
        }
        // Clients that take their time leave a quarter for the broker and the store.
        if !self.gateway.shutdown(grace * 3 / 4).await {
            tracing::warn!(part = "gateway", "clients did not go within the grace period");
        }
        within(left(), "broker", self.broker.shutdown()).await;
        if let Some(place) = &self.place {
            within(left(), "cluster", place.leave()).await;
        }
        within(left(), "store", async {
            self.store.leave().await;
            self.store.close().await;
        })
        .await;
        self.access.abort();
    }
}

/// Opens the listener of administration, if there is to be one: health is asked for before the node is there.
async fn open_admin(config: &Config) -> anyhow::Result<Option<weir_admin::server::Opening>> {
    let Some(address) = config.listen.admin.socket() else { return Ok(None) };
    let listen = weir_admin::server::Listen { address, net: &config.net, data_dir: &config.node.data_dir };
    let opened = weir_admin::Server::open(config.admin.clone(), listen).await;
    Ok(Some(opened.context("the node cannot be administered")?))
}

/// Takes the node's place among others, if it is to have one, and catches up with them.
async fn take_place(
    config: &Config,
    opened: &store::Opened,
    broker: &Broker,
) -> anyhow::Result<Option<Arc<Place>>> {
    let Some(listen) = config.peer_address() else { return Ok(None) };
    let shared = Shared { store: &opened.store, id: opened.id.clone(), kind: opened.kind };
    let place = Place::take(config, listen, shared, opened.incarnation, broker).await;
    let place = place.context("this node cannot be one of a cluster")?;
    place.catch_up(Duration::from_secs(config.cluster.start_wait_seconds)).await;
    Ok(Some(Arc::new(place)))
}

/// Reads keys, accounts and policies. What is fetched meanwhile may block.
async fn open_access(config: weir_access::Config) -> anyhow::Result<Arc<Access>> {
    let loaded = tokio::task::spawn_blocking(move || Access::load(&config, Path::new("")));
    Ok(loaded.await.context("reading the access settings panicked")??)
}

/// Metrics as they are when somebody looks, not up to a second old.
fn measured(broker: &Broker, watch: &Arc<Watch>, metrics: Render) -> Render {
    let (broker, watch) = (broker.clone(), Arc::clone(watch));
    Arc::new(move || {
        broker.gauge();
        watch.measure();
        metrics()
    })
}

fn looked_after(watch: &Arc<Watch>) -> LookAfter {
    let watch = Arc::clone(watch);
    Arc::new(move || watch.look())
}

async fn within(grace: Duration, part: &'static str, ended: impl Future<Output = ()>) {
    if tokio::time::timeout(grace, ended).await.is_err() {
        tracing::warn!(part, "did not stop within the grace period");
    }
}
