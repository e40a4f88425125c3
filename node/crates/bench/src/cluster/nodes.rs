//! The nodes of a cluster, each a process of `weir serve` with a certificate of the same authority.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use url::Url;

use super::{Setup, metrics};
use crate::Error;
use crate::local::{self, Directory, Program, WEIR_ENVIRONMENT};
use crate::redis::Redis;

/// How long a node may take to be ready, and nodes to see each other.
const START_MAX: Duration = Duration::from_secs(60);

/// Certificate files by the configuration key that takes them.
const CERTIFICATES: [(&str, &str); 3] = [
    ("WEIR__CLUSTER__CA", "cluster-ca.pem"),
    ("WEIR__CLUSTER__CERTIFICATE", "node.pem"),
    ("WEIR__CLUSTER__KEY", "node.key"),
];

/// A cluster on one Redis.
pub(super) struct Nodes {
    program: PathBuf,
    directory: Arc<Directory>,
    store: String,
    started: usize,
    all: Vec<Node>,
}

/// One node that is ready.
pub(super) struct Node {
    name: String,
    process: Program,
    ready: Instant,
    mqtt: SocketAddr,
    http: SocketAddr,
    peer: SocketAddr,
}

impl Nodes {
    /// So many nodes that see each other.
    pub(super) fn start(setup: &Setup, redis: &Redis, count: usize) -> Result<Nodes, Error> {
        let directory = Arc::new(Directory::new()?);
        let program = setup.program.clone();
        let mut nodes = Nodes { program, directory, store: redis.url(), started: 0, all: Vec::new() };
        for _ in 0..count {
            let node = nodes.start_one()?;
            nodes.all.push(node);
        }
        nodes.wait_until_all_see_each_other()?;
        Ok(nodes)
    }

    /// One more, ready, that joins those there are. It is the caller's until it is dropped, which kills it.
    pub(super) fn start_one(&mut self) -> Result<Node, Error> {
        let name = format!("bench-{}", self.started);
        self.started += 1;
        let tls = self.directory.path().join("tls");
        let mut init = Command::new(&self.program);
        local::output(init.args(["cluster", "init", "--node", &name, "--dir"]).arg(&tls))?;
        let mut command = Command::new(&self.program);
        command.args(["serve", "--node-id", &name, "--store", &self.store, "--log", "warn"]);
        for listener in ["--mqtt", "--http", "--peer"] {
            command.args([listener, "127.0.0.1:0"]);
        }
        command.args(["--mqtts", "off", "--https", "off", "--quic", "off", "--admin", "off", "--data-dir"]);
        command.arg(self.directory.path().join(&name)).envs(WEIR_ENVIRONMENT);
        command.envs(CERTIFICATES.map(|(key, file)| (key, tls.join(&name).join(file))));
        for other in &self.all {
            command.args(["--join", &other.peer.to_string()]);
        }
        Node::start(name, command, &self.directory)
    }

    pub(super) fn get(&self, at: usize) -> Result<&Node, Error> {
        self.all.get(at).ok_or(Error::NoAddress)
    }

    pub(super) fn all(&self) -> Vec<&Node> {
        self.all.iter().collect()
    }

    pub(super) fn urls(&self) -> Result<Vec<Url>, Error> {
        self.all.iter().map(Node::url).collect()
    }

    pub(super) fn pids(&self) -> Vec<u32> {
        self.all.iter().map(Node::pid).collect()
    }

    /// Takes the last one out, so that it can be ended.
    pub(super) fn take_last(&mut self) -> Result<Node, Error> {
        self.all.pop().ok_or(Error::NoAddress)
    }

    fn wait_until_all_see_each_other(&self) -> Result<(), Error> {
        let count = self.all.len() as f64;
        let what = "that all nodes see each other";
        metrics::wait(&self.all(), metrics::MEMBERS, |members| members == count, what, START_MAX).map(drop)
    }
}

impl Node {
    fn start(name: String, command: Command, directory: &Arc<Directory>) -> Result<Node, Error> {
        let mut process = Program::start(&name, command, directory)?;
        let mut addresses = Vec::new();
        process.wait(START_MAX, |process| {
            addresses = local::listening(&process.stdout());
            !addresses.is_empty()
        })?;
        let ready = Instant::now();
        let address = |listener: &str| {
            let address = addresses.iter().find(|(name, _)| name == listener);
            address.and_then(|(_, address)| address.parse().ok()).ok_or(Error::NoAddress)
        };
        let (mqtt, http, peer) = (address("mqtt")?, address("http")?, address("peer")?);
        Ok(Node { name, process, ready, mqtt, http, peer })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(super) fn http(&self) -> SocketAddr {
        self.http
    }

    pub(super) fn url(&self) -> Result<Url, Error> {
        Url::parse(&format!("mqtt://{}", self.mqtt)).map_err(|_| Error::NoAddress)
    }

    /// From the start of its process until it lets clients in.
    pub(super) fn start_time(&self) -> Duration {
        self.ready - self.process.started()
    }

    /// When its process was started.
    pub(super) fn started(&self) -> Instant {
        self.process.started()
    }

    /// kill -9; it is dead when this returns.
    pub(super) fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGTERM; does not wait.
    pub(super) fn tell_to_end(&mut self) {
        self.process.tell_to_end();
    }
}
