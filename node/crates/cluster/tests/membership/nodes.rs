//! Nodes of one process that can be killed: each has a runtime, an endpoint and a certificate of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use weir_cluster::{Cluster, Config, Local, Members, Resolve, StartError, StoreKind, SystemResolver};
use weir_net::peer::{CA_FILE, NODE_FILE, NODE_KEY_FILE, NodeId, PeerAuthority, PeerTls};

use crate::counted;

/// How long a test waits for what must come; far longer than it takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Grows with every node started, as the clock does.
static INCARNATIONS: AtomicU64 = AtomicU64::new(1);

/// An authority, and the directory of all files it issues.
pub struct Authority {
    authority: PeerAuthority,
    dir: TempDir,
}

/// What a node is started with.
pub struct Options {
    pub config: Config,
    pub store: StoreKind,
    pub store_id: String,
    pub listeners: BTreeMap<String, String>,
    pub resolver: Arc<dyn Resolve>,
}

pub struct Node {
    pub cluster: Cluster,
    runtime: Option<Runtime>,
}

impl Authority {
    pub fn new() -> Self {
        weir_net::tls::install_ring();
        counted::install();
        let authority = PeerAuthority::generate().expect("an authority");
        Self { authority, dir: tempfile::tempdir().expect("a directory") }
    }

    /// What the node of this name uses; issued once.
    pub fn tls(&self, name: &str) -> PeerTls {
        self.tls_believing(name, self)
    }

    /// The certificate is of this authority, and those of another are believed.
    pub fn tls_believing(&self, name: &str, other: &Self) -> PeerTls {
        let (ca, own) = (other.files(name), self.files(name));
        PeerTls::from_pem(&ca.join(CA_FILE), &own.join(NODE_FILE), &own.join(NODE_KEY_FILE))
            .expect("settings")
    }

    fn files(&self, name: &str) -> PathBuf {
        let dir = self.dir.path().join(name);
        if !dir.exists() {
            self.authority.issue_node(&id(name), &dir).expect("files of a node");
        }
        dir
    }

    pub fn start(&self, name: &str, options: Options) -> Node {
        self.try_start(name, options).expect("a node")
    }

    pub fn try_start(&self, name: &str, options: Options) -> Result<Node, StartError> {
        self.start_with(self.tls(name), name, options)
    }

    pub fn start_with(&self, tls: PeerTls, name: &str, options: Options) -> Result<Node, StartError> {
        let runtime = runtime();
        let local = Local {
            node_id: id(name),
            incarnation: INCARNATIONS.fetch_add(1, Ordering::Relaxed),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            release: "test".to_owned(),
            store: options.store,
            store_id: options.store_id,
            listeners: options.listeners,
        };
        let start = Cluster::start_with_resolver(&options.config, local, tls, options.resolver);
        let cluster = runtime.block_on(start)?;
        Ok(Node { cluster, runtime: Some(runtime) })
    }

    /// Nodes `n1`, `n2`, .. that all join by the first, each seeing all.
    pub fn start_many(&self, count: usize) -> Vec<Node> {
        let mut nodes = vec![self.start("n1", Options::alone())];
        for number in 2..=count {
            let options = Options::joining(&nodes[0]);
            nodes.push(self.start(&format!("n{number}"), options));
        }
        for node in &nodes {
            node.wait_until(|members| members.count() == count);
        }
        nodes
    }
}

impl Options {
    pub fn alone() -> Self {
        Self {
            config: Config::default(),
            store: StoreKind::Redis,
            store_id: "store-1".to_owned(),
            listeners: BTreeMap::new(),
            resolver: Arc::new(SystemResolver),
        }
    }

    pub fn joining(peer: &Node) -> Self {
        let mut options = Self::alone();
        options.config.join = vec![peer.address().to_string()];
        options
    }
}

impl Node {
    pub fn address(&self) -> SocketAddr {
        self.cluster.advertised()
    }

    pub fn members(&self) -> Members {
        self.cluster.members().borrow().clone()
    }

    /// Waits until the members are as wished; says how long that took.
    pub fn wait_until(&self, wished: impl Fn(&Members) -> bool) -> Duration {
        let begun = Instant::now();
        let mut members = self.cluster.members();
        let waited = async { tokio::time::timeout(PATIENCE, members.wait_for(wished)).await.map(|_| ()) };
        if self.run(waited).is_err() {
            panic!("{} still sees {:?}", self.cluster.local().node_id, self.members());
        }
        begun.elapsed()
    }

    pub fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.as_ref().expect("a living node").block_on(work)
    }

    /// Ends the node without a word to anybody.
    pub fn kill(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(PATIENCE);
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}

pub fn id(name: &str) -> NodeId {
    name.parse().expect("a name")
}

pub fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}
