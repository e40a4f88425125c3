//! All links of a node: made and ended with the peers' life, and what concerns all of them at once.

mod barrier;
mod life;
mod table;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};
use weir_net::peer::{NodeId, PeerEndpoint};

use crate::interest::Interest;
use crate::link::metrics::Meters;
use crate::link::{Config, Ends, Inbox, Link};
use crate::membership::Members;
pub use barrier::{Barrier, BarrierResult};
use table::Table;

/// Who this node is, as its peers must find it.
#[derive(Debug, Clone)]
pub struct LinkLocal {
    pub node_id: NodeId,
    pub incarnation: u64,
    /// Nodes of different clusters never link.
    pub cluster_id: Arc<str>,
    /// Which store it works on; nodes of different stores never link.
    pub store_id: Arc<str>,
    /// The version of the program, for people.
    pub version: Arc<str>,
}

/// A live member to have a link with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkPeer {
    pub node_id: NodeId,
    pub incarnation: u64,
    pub address: SocketAddr,
}

/// The links of a node. Dropped without [`Links::stop`], their tasks end as they are.
pub struct Links {
    shared: Arc<Shared>,
    listening: Mutex<Vec<AbortHandle>>,
}

/// What the tasks of all links know.
struct Shared {
    endpoint: PeerEndpoint,
    ends: Ends,
    config: Config,
    meters: Arc<Meters>,
    table: Mutex<Table>,
    /// The life of each link; those that are over are forgotten with the next update.
    lives: Mutex<Vec<JoinHandle<()>>>,
    /// The last barrier of each kind.
    barriers: [AtomicU64; 2],
}

impl Links {
    /// Starts without peers, which [`Links::update`] or [`Links::follow`] name, and takes all connections
    /// with the link's protocol that `endpoint` accepts; within a tokio runtime.
    pub fn start(
        endpoint: PeerEndpoint,
        local: LinkLocal,
        inbox: Arc<dyn Inbox>,
        config: Config,
    ) -> Arc<Links> {
        let interest = Arc::new(Interest::new(config.interest_changes_max));
        let shared = Arc::new(Shared {
            endpoint,
            ends: Ends { local, interest, inbox },
            config,
            meters: Arc::new(Meters::new()),
            table: Mutex::default(),
            lives: Mutex::default(),
            barriers: Default::default(),
        });
        let listening = tokio::spawn(life::listen(shared.clone())).abort_handle();
        Arc::new(Links { shared, listening: Mutex::new(vec![listening]) })
    }

    /// Keeps a link with every live member from now on.
    pub fn follow(&self, mut members: watch::Receiver<Members>) {
        let shared = self.shared.clone();
        let following = tokio::spawn(async move {
            loop {
                let peers: Vec<_> = members
                    .borrow_and_update()
                    .peers()
                    .map(|member| LinkPeer {
                        node_id: member.node_id.clone(),
                        incarnation: member.incarnation,
                        address: member.address,
                    })
                    .collect();
                shared.update(&peers);
                if members.changed().await.is_err() {
                    return;
                }
            }
        });
        self.listening.lock().push(following.abort_handle());
    }

    /// The live members as of now, this node among them or not: new ones get a link, those not named any
    /// more lose theirs.
    pub fn update(&self, peers: &[LinkPeer]) {
        self.shared.update(peers);
    }

    /// Which start of this node its peers know it as.
    pub fn incarnation(&self) -> u64 {
        self.shared.ends.local.incarnation
    }

    /// What this node wants of its peers.
    pub fn interest(&self) -> &Arc<Interest> {
        &self.shared.ends.interest
    }

    /// The links there are, connected or not.
    pub fn all(&self) -> Vec<Arc<Link>> {
        self.shared.table.lock().all()
    }

    /// The link with that slot.
    pub fn get(&self, slot: u8) -> Option<Arc<Link>> {
        self.shared.table.lock().of_slot(slot)
    }

    /// Whether every peer's interest is known here: what is published reaches all it should.
    pub fn is_in_sync(&self) -> bool {
        self.all().iter().all(|link| link.is_in_sync())
    }

    /// The bounds the links were started with.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Ends all links and waits for their tasks.
    pub async fn stop(&self) {
        for task in self.listening.lock().drain(..) {
            task.abort();
        }
        self.shared.update(&[]);
        let lives = std::mem::take(&mut *self.shared.lives.lock());
        for life in lives {
            // An error says that it was aborted.
            let _ = life.await;
        }
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        for task in self.listening.lock().drain(..) {
            task.abort();
        }
        for life in self.shared.lives.lock().drain(..) {
            life.abort();
        }
    }
}
