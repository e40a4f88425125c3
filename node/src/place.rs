//! This node's place in a cluster: its peer listener, gossip over it, and a link to every other node.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use weir_broker::Broker;
use weir_broker::peers::inbox::Inbox;
use weir_cluster::{Cluster, LinkLocal, Links, Local, Members, StoreKind};
use weir_gateway::Elsewhere;
use weir_net::peer::{NodeId, Renewal};
use weir_store::Store;

use crate::config::Config;

mod certificates;
mod elsewhere;
mod marks;
mod view;

/// How often a starting node looks whether it has caught up, and a leaving one whether all has arrived.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How long a node that nobody's lease tells of others waits for one that it was told to join.
const FIRST_PEER: Duration = Duration::from_millis(800);
/// Rounds of gossip after which a fact has come to all nodes, as a rule.
const ROUNDS_TO_ALL: u32 = 5;
/// How long a leaving node waits for its peers to confirm what it has sent them.
const ARRIVAL: Duration = Duration::from_millis(1500);

/// What the node is to its peers, as long as it has any.
pub struct Place {
    cluster: Cluster,
    links: Arc<Links>,
    store: Arc<dyn Store>,
    incarnation: u64,
    joins: bool,
    gossip_interval: Duration,
    /// The host of server references; `None` = as listened at.
    client_host: Option<String>,
    /// The certificates for peers.
    renewal: Arc<Renewal>,
    /// What tells and hears which nodes were acknowledged, and what looks at the files of the certificates.
    tasks: Vec<AbortHandle>,
}

/// The store that a node brings along.
pub struct Shared<'a> {
    pub store: &'a Arc<dyn Store>,
    /// Which one; nodes of another one are refused.
    pub id: String,
    pub kind: StoreKind,
}

/// What a node sees of the others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sight {
    /// At least half of the last known members, itself counted.
    pub sees_half: bool,
    /// Nodes that died and did not come back.
    pub lost: Vec<String>,
    /// Nodes that are alive, and there is no link to them, or it does not know yet what they want.
    pub unlinked: Vec<String>,
}

impl Place {
    /// Opens the peer listener, begins to gossip, and links the broker with every node that is found.
    ///
    /// # Errors
    /// The listener cannot be opened, or the certificates cannot be used.
    pub async fn take(
        config: &Config,
        listen: SocketAddr,
        shared: Shared<'_>,
        incarnation: u64,
        broker: &Broker,
    ) -> anyhow::Result<Self> {
        let name = config.node.name();
        let node_id: NodeId = name.parse().context("`node.id`")?;
        let files = certificates::files(&config.cluster, &node_id, &config.node.data_dir)?;
        let tls = files.read().context("the certificates of the cluster cannot be used")?;
        let release = env!("CARGO_PKG_VERSION");
        let local = Local {
            node_id: node_id.clone(),
            incarnation,
            listen,
            release: release.to_owned(),
            store: shared.kind,
            store_id: shared.id.clone(),
            // Told once they are open.
            listeners: BTreeMap::new(),
        };
        let cluster = Cluster::start(&config.cluster, local, tls).await?;
        let renewal = Renewal::new(cluster.endpoint().clone(), files);
        let ends = LinkLocal {
            node_id,
            incarnation,
            cluster_id: config.cluster.id.as_str().into(),
            store_id: shared.id.as_str().into(),
            version: release.into(),
        };
        let inbox = Arc::new(Inbox(broker.clone()));
        let links = Links::start(cluster.endpoint().clone(), ends, inbox, config.cluster.link.clone());
        broker.join(links.clone());
        links.follow(cluster.members());
        let (store, data_dir) = (Arc::clone(shared.store), config.node.data_dir.clone());
        let marks = tokio::spawn(marks::keep(store, cluster.clone(), cluster.members(), data_dir));
        let mut tasks = vec![marks.abort_handle()];
        let look_every = Duration::from_secs(config.cluster.reload_seconds);
        if !look_every.is_zero() {
            tasks.push(tokio::spawn(renewal.clone().watch(look_every)).abort_handle());
        }
        Ok(Self {
            cluster,
            links,
            store: Arc::clone(shared.store),
            incarnation,
            joins: !config.cluster.join.is_empty(),
            gossip_interval: Duration::from_millis(config.cluster.gossip_interval_ms),
            client_host: config.cluster.client_host.clone(),
            renewal,
            tasks,
        })
    }

    /// Reads the certificates for peers again now.
    ///
    /// # Errors
    /// They cannot be used; the old stay.
    pub async fn reload(&self) -> anyhow::Result<()> {
        let renewal = self.renewal.clone();
        tokio::task::spawn_blocking(move || renewal.reload()).await??;
        Ok(())
    }

    /// The address peers are told.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.cluster.endpoint().local_addr().unwrap_or_else(|_| self.cluster.advertised())
    }

    /// Waits until every live node is linked, this one knows what all of them want, and its mirror has what was
    /// written before; what is not so within `patience` is named, and the node goes on without it.
    pub async fn catch_up(&self, patience: Duration) {
        let caught_up = async {
            if self.joins && !self.store.is_shared() {
                let _ = tokio::time::timeout(FIRST_PEER, self.has_peer()).await;
            }
            while !self.sight().unlinked.is_empty() {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            while let Err(error) = self.store.caught_up().await {
                tracing::debug!(%error, "the mirror is behind");
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        if tokio::time::timeout(patience, caught_up).await.is_err() {
            let unlinked = self.sight().unlinked.join(", ");
            tracing::warn!(unlinked, "has not caught up with all other nodes, and serves all the same");
        }
    }

    async fn has_peer(&self) {
        let mut members = self.members();
        while members.borrow_and_update().count() < 2 {
            if members.changed().await.is_err() {
                return;
            }
        }
    }

    /// Tells the other nodes where clients reach this one, and that it lets them in.
    pub async fn serves(&self, addresses: &[(&'static str, SocketAddr)]) {
        let at = |address: &SocketAddr| {
            client_address(self.client_host.as_deref(), self.cluster.advertised(), *address)
        };
        let listeners = addresses.iter().map(|(name, address)| ((*name).to_owned(), at(address))).collect();
        let told = match self.cluster.set_listeners(&listeners).await {
            Ok(()) => self.cluster.set_fact(elsewhere::FACT_SERVES, "1").await,
            Err(error) => Err(error),
        };
        if let Err(error) = told {
            tracing::warn!(%error, "other nodes are not told where clients reach this one");
        }
    }

    /// Tells the other nodes to send nobody here any more, and waits until everybody should have heard what was told
    /// before: of a node that has just become ready, too.
    pub async fn serves_no_more(&self) {
        self.cluster.remove_fact(elsewhere::FACT_SERVES).await;
        tokio::time::sleep(self.gossip_interval * ROUNDS_TO_ALL).await;
    }

    /// Where clients of a listener go when this node drains.
    #[must_use]
    pub fn elsewhere(&self) -> Elsewhere {
        let members = self.members();
        Arc::new(move |listener| elsewhere::reference(&members.borrow(), listener))
    }

    /// What this node sees of the others at this moment.
    #[must_use]
    pub fn sight(&self) -> Sight {
        let members = self.members().borrow().clone();
        let leased = self.store.nodes();
        let leased = leased.iter().map(|node| (node.node_id.to_string(), node.incarnation));
        let live = members.peers().map(|member| (member.node_id.to_string(), member.incarnation));
        let others: BTreeMap<u64, String> =
            leased.chain(live).map(|(name, incarnation)| (incarnation, name)).collect();
        let links = self.links.all();
        let is_linked = |incarnation: u64| {
            let mut to_it = links.iter().filter(|link| link.incarnation() == incarnation);
            to_it.any(|link| link.is_up() && link.is_in_sync())
        };
        let unlinked = others.into_iter().filter(|(node, _)| *node != self.incarnation && !is_linked(*node));
        Sight {
            sees_half: members.sees_half(),
            lost: members.lost().iter().map(ToString::to_string).collect(),
            unlinked: unlinked.map(|(_, name)| name).collect(),
        }
    }

    /// Waits until this node cannot go on as a member, and says why.
    pub async fn is_over(&self) -> String {
        let mut members = self.members();
        let superseded = async {
            while !members.borrow_and_update().superseded() {
                if members.changed().await.is_err() {
                    return std::future::pending().await;
                }
            }
        };
        tokio::select! {
            () = superseded => "a newer process has this node's name".to_owned(),
            Err(error) = self.cluster.ended() => format!("gossip has ended: {error}"),
        }
    }

    /// Waits until the peers have what was sent to them, says goodbye and ends the links.
    pub async fn leave(&self) {
        let has_arrived = async {
            while self.links.all().iter().any(|link| link.is_up() && link.counts().waiting() > 0) {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let _ = tokio::time::timeout(ARRIVAL, has_arrived).await;
        self.tasks.iter().for_each(AbortHandle::abort);
        self.cluster.leave().await;
        self.links.stop().await;
    }

    fn members(&self) -> watch::Receiver<Members> {
        self.cluster.members()
    }
}

/// Where clients reach a listener: at the host given, else where it is bound, else where peers reach the node.
fn client_address(host: Option<&str>, advertised: SocketAddr, bound: SocketAddr) -> String {
    let port = bound.port();
    match host {
        Some(host) if host.contains(':') && !host.starts_with('[') => format!("[{host}]:{port}"),
        Some(host) => format!("{host}:{port}"),
        None if bound.ip().is_unspecified() => SocketAddr::new(advertised.ip(), port).to_string(),
        None => bound.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_the_host_given_else_an_address_that_is_one() {
        let advertised = "10.0.0.7:7946".parse().unwrap();
        let at = |host, bound: &str| client_address(host, advertised, bound.parse().unwrap());
        assert_eq!(at(Some("a.example"), "0.0.0.0:1883"), "a.example:1883");
        assert_eq!(at(Some("fd00::1"), "0.0.0.0:1883"), "[fd00::1]:1883");
        assert_eq!(at(None, "0.0.0.0:1883"), "10.0.0.7:1883");
        assert_eq!(at(None, "127.0.0.1:1883"), "127.0.0.1:1883");
    }
}
