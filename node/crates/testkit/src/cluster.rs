//! Several real nodes as one cluster: certificates of one authority, each told of all the others.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;

use crate::node::{self, Node};
use crate::{Metrics, eventually, http};

/// The port of peers: each node has a loopback address of its own.
const PEER_PORT: u16 = 7946;

/// What a cluster is made of; listens for `mqtt`, `http` and `peer` at every node.
pub struct Builder {
    program: PathBuf,
    nodes: usize,
    store: String,
    set_up: Arc<dyn Fn(usize, node::Builder) -> node::Builder>,
}

/// Running nodes, counted from 0, and those that are down for a while. Each is `node-<number>`.
pub struct Cluster {
    builder: Builder,
    certificates: Certificates,
    /// The peer addresses of all nodes there ever were.
    peers: Vec<String>,
    nodes: Vec<Place>,
}

/// The authority of a cluster, and what it has issued.
#[derive(Debug)]
pub struct Certificates {
    program: PathBuf,
    own: TempDir,
}

enum Place {
    Up(Box<Node>),
    /// Killed or ended; its process is gone, its builder is not.
    Down(Box<Node>),
    /// Only while a node is being replaced.
    Empty,
}

impl Builder {
    /// How many nodes; 3 unless told.
    #[must_use]
    pub fn nodes(mut self, nodes: usize) -> Builder {
        self.nodes = nodes;
        self
    }

    /// Changes how each node is started, given its number.
    #[must_use]
    pub fn each(mut self, set_up: impl Fn(usize, node::Builder) -> node::Builder + 'static) -> Builder {
        self.set_up = Arc::new(set_up);
        self
    }

    /// Starts them and waits until all see all.
    ///
    /// # Panics
    /// They do not get ready, or do not find each other.
    #[must_use]
    pub fn start(self) -> Cluster {
        let certificates = Certificates::make(&self.program);
        let (count, program) = (self.nodes, self.program.clone());
        let mut cluster = Cluster { builder: self, certificates, peers: Vec::new(), nodes: Vec::new() };
        let bare: Vec<node::Builder> = (0..count).map(|_| Node::of(&program).on_own_address()).collect();
        cluster.peers = bare.iter().map(|node| format!("{}:{PEER_PORT}", node.host())).collect();
        let ready: Vec<node::Builder> =
            bare.into_iter().enumerate().map(|(number, node)| cluster.prepared(number, node)).collect();
        // At the same time, as they would be in earnest.
        let starting = ready.into_iter().map(|node| std::thread::spawn(move || Box::new(node.start())));
        let starting: Vec<_> = starting.collect();
        let started =
            starting.into_iter().map(|node| node.join().unwrap_or_else(|_| panic!("a node did not start")));
        cluster.nodes = started.map(Place::Up).collect();
        cluster.wait_until_whole();
        cluster
    }
}

impl Cluster {
    /// Nodes of this binary on this store (`memory` or the URL of a Redis):
    /// `Cluster::of(env!("CARGO_BIN_EXE_weir"), &redis.url())`.
    #[must_use]
    pub fn of(program: impl Into<PathBuf>, store: &str) -> Builder {
        let set_up = Arc::new(|_, node: node::Builder| node);
        Builder { program: program.into(), nodes: 3, store: store.to_owned(), set_up }
    }

    /// A running node.
    ///
    /// # Panics
    /// It is down.
    #[must_use]
    pub fn node(&self, number: usize) -> &Node {
        match &self.nodes[number] {
            Place::Up(node) => node,
            _ => panic!("node {number} is down"),
        }
    }

    /// The same, to wait for its end.
    ///
    /// # Panics
    /// It is down.
    pub fn node_mut(&mut self, number: usize) -> &mut Node {
        match &mut self.nodes[number] {
            Place::Up(node) => node,
            _ => panic!("node {number} is down"),
        }
    }

    /// The running nodes.
    pub fn running(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter_map(|place| match place {
            Place::Up(node) => Some(&**node),
            _ => None,
        })
    }

    /// The authority, for nodes of one's own.
    #[must_use]
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// Where a node listens for peers.
    #[must_use]
    pub fn peer_address(&self, number: usize) -> &str {
        &self.peers[number]
    }

    /// SIGKILL; waits until the process is gone, not until the others have noticed.
    pub fn kill9(&mut self, number: usize) {
        self.node_mut(number).kill9();
        self.has_ended(number);
    }

    /// SIGTERM, and waits for its end.
    ///
    /// # Panics
    /// It does not end with 0.
    pub fn end(&mut self, number: usize) {
        let status = self.node_mut(number).sigterm_and_wait();
        assert!(status.success(), "node {number} ended with {status}");
        self.has_ended(number);
    }

    /// Waits until a node has ended by itself, with 0.
    ///
    /// # Panics
    /// It does not, or not with 0.
    pub fn wait_for_end(&mut self, number: usize) {
        let status = self.node_mut(number).wait();
        assert!(status.success(), "node {number} ended with {status}");
        self.has_ended(number);
    }

    /// Stops it in its tracks (SIGSTOP), as a suspended machine.
    pub fn stop(&self, number: usize) {
        self.node(number).sigstop();
    }

    /// Lets it go on (SIGCONT).
    pub fn cont(&self, number: usize) {
        self.node(number).sigcont();
    }

    /// Starts a node anew, that was running or is down, and waits until it is ready.
    ///
    /// # Panics
    /// It does not get ready.
    pub fn restart(&mut self, number: usize) {
        let node = match std::mem::replace(&mut self.nodes[number], Place::Empty) {
            Place::Up(node) | Place::Down(node) => node,
            Place::Empty => panic!("node {number} did not start before"),
        };
        self.nodes[number] = Place::Up(Box::new(node.restart()));
    }

    /// Starts one more node, which joins the others, and waits until it is ready; returns its number.
    ///
    /// # Panics
    /// It does not get ready.
    pub fn add(&mut self) -> usize {
        let number = self.nodes.len();
        let node = Node::of(&self.builder.program).on_own_address();
        self.peers.push(format!("{}:{PEER_PORT}", node.host()));
        let node = self.prepared(number, node).start();
        self.nodes.push(Place::Up(Box::new(node)));
        number
    }

    /// Waits until every running node is ready, sees all running ones, and has a link to each.
    ///
    /// # Panics
    /// They never do.
    pub fn wait_until_whole(&self) {
        let count = self.running().count() as f64;
        for node in self.running() {
            // A node that starts anew by itself does not answer for a moment.
            let asked = |path| http::try_get(node.address("http"), path).ok();
            eventually("every node to see all the others", || {
                let members = Metrics::read(&asked("/metrics")?.body).value("weir_cluster_members");
                let ready = asked("/health/ready")?;
                (members == count && ready.status == 200 && !ready.body.contains("no link")).then_some(())
            });
        }
    }

    fn has_ended(&mut self, number: usize) {
        if let Place::Up(node) = std::mem::replace(&mut self.nodes[number], Place::Empty) {
            self.nodes[number] = Place::Down(node);
        }
    }

    fn prepared(&self, number: usize, node: node::Builder) -> node::Builder {
        let name = format!("node-{number}");
        let node = node.listen("http").listen_at("peer", &self.peers[number]).store(&self.builder.store);
        let others = self.peers.iter().enumerate().filter(|(other, _)| *other != number);
        let node = others.fold(node, |node, (_, peer)| node.arg("--join").arg(peer));
        (self.builder.set_up)(number, self.certificates.given_to(&name, node))
    }
}

impl Certificates {
    /// A new authority, by the `weir` command.
    ///
    /// # Panics
    /// The command fails.
    #[must_use]
    pub fn make(program: &Path) -> Certificates {
        let own =
            tempfile::Builder::new().prefix("weir-tls-").tempdir().expect("a directory for certificates");
        Certificates { program: program.to_owned(), own }
    }

    /// The node gets this name, and a certificate for it.
    ///
    /// # Panics
    /// There is none to be had.
    #[must_use]
    pub fn given_to(&self, name: &str, node: node::Builder) -> node::Builder {
        let home = self.own.path().join(name);
        if !home.exists() {
            let mut command = Command::new(&self.program);
            command.args(["cluster", "init", "--node", name, "--dir"]).arg(self.own.path());
            let made = command.output().expect("`weir cluster init` can be started");
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        }
        let file = |name: &str| home.join(name).display().to_string();
        node.arg("--node-id")
            .arg(name)
            .set("cluster.ca", file("cluster-ca.pem"))
            .set("cluster.certificate", file("node.pem"))
            .set("cluster.key", file("node.key"))
    }
}
