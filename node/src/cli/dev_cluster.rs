//! `weir dev-cluster`: nodes and a Redis on this machine, in one command and gone with it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use weir_net::peer::{NodeId, PeerAuthority};

use super::Failure;
use crate::shutdown::Signals;

mod child;
mod redis;

use child::Child;

/// Ports between two nodes.
const PORTS_PER_NODE: u16 = 10;
/// How often the nodes are looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// A node that ends is started again no sooner than so long after its last start.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// How long all of them together may take to find each other.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long they may take to end; those that still run are killed.
const END_PATIENCE: Duration = Duration::from_secs(15);

/// What `weir dev-cluster` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many nodes.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=64))]
    nodes: u16,
    /// Node I, counted from 0, listens on this port + 10 I for MQTT, one more for HTTP, QUIC and peers each.
    #[arg(long, value_name = "PORT", default_value_t = 18830)]
    base_port: u16,
    /// The Redis they share; without it redis-server is started, and ended with the nodes.
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// Start a node again that has ended.
    #[arg(long)]
    restart: bool,
    /// Keep everything here instead of in a directory that is removed at the end.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// What the nodes log, on stderr.
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    log: String,
}

/// Runs until ctrl-C.
pub fn run(args: &Args) -> Result<(), Failure> {
    let last = u32::from(args.base_port) + u32::from(PORTS_PER_NODE) * u32::from(args.nodes) - 1;
    if last > u32::from(u16::MAX) {
        return Err(Failure::Usage(format!(
            "--base-port {}: the last node's ports go up to {last}",
            args.base_port
        )));
    }
    // One thread only: children are told to end when the thread that has made them does.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    Ok(runtime.block_on(serve(args))?)
}

async fn serve(args: &Args) -> anyhow::Result<()> {
    let mut signals = Signals::listen().context("signals cannot be heard")?;
    let temporary = tempfile::Builder::new().prefix("weir-dev-cluster-").tempdir().context("no directory")?;
    let base = args.data_dir.clone().unwrap_or_else(|| temporary.path().to_owned());
    let mut running = Running { nodes: Vec::new(), redis: None };
    let ran = tokio::select! {
        ran = live(args, &base, &mut running) => ran,
        _ = signals.next() => Ok(()),
    };
    running.end().await;
    ran
}

/// All processes there are.
struct Running {
    nodes: Vec<Child>,
    redis: Option<Child>,
}

/// Starts everything, says so, and looks after it for ever.
async fn live(args: &Args, base: &Path, running: &mut Running) -> anyhow::Result<()> {
    let url = match &args.redis {
        Some(url) => url.clone(),
        None => {
            let (server, url) = redis::start(&base.join("redis")).await?;
            say(&format!("redis {url} pid {}", server.pid()))?;
            running.redis = Some(server);
            url
        }
    };
    issue_certificates(args, base)?;
    for number in 0..args.nodes {
        let node = start_node(args, base, &url, number)?;
        say(&format!("node {number} pid {}", node.pid()))?;
        running.nodes.push(node);
    }
    wait_until_joined(args, running).await?;
    say("ready")?;
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        for number in 0..args.nodes {
            let node = &mut running.nodes[usize::from(number)];
            if let Some(status) = node.has_ended() {
                eprintln!("node {number} ended: {status}");
            }
            if args.restart && !node.is_running() && node.started().elapsed() >= RESTART_PAUSE {
                *node = start_node(args, base, &url, number)?;
                // Nobody may be listening any more.
                let _ = say(&format!("node {number} pid {}", node.pid()));
            }
        }
    }
}

fn issue_certificates(args: &Args, base: &Path) -> anyhow::Result<()> {
    let directory = base.join("tls");
    let authority = if directory.exists() {
        PeerAuthority::read(&directory)?
    } else {
        let authority = PeerAuthority::generate()?;
        authority.write(&directory)?;
        authority
    };
    for number in 0..args.nodes {
        let (node, home): (NodeId, _) = (name(number).parse()?, directory.join(name(number)));
        if !home.exists() {
            authority.issue_node(&node, &home)?;
        }
    }
    Ok(())
}

fn name(number: u16) -> String {
    format!("node-{number}")
}

fn start_node(args: &Args, base: &Path, redis: &str, number: u16) -> anyhow::Result<Child> {
    let port = |node: u16, listener: u16| args.base_port + PORTS_PER_NODE * node + listener;
    let program = std::env::current_exe().context("this program cannot be found")?;
    let mut command = std::process::Command::new(program);
    command.args(["serve", "--node-id", &name(number), "--store", redis, "--log", &args.log]);
    command.arg("--data-dir").arg(base.join(name(number)));
    for (listener, offset) in [("--mqtt", 0), ("--http", 1), ("--quic", 2), ("--peer", 3), ("--admin", 4)] {
        command.args([listener, &port(number, offset).to_string()]);
    }
    command.args(["--mqtts", "off", "--https", "off"]);
    for other in (0..args.nodes).filter(|other| *other != number) {
        command.args(["--join", &format!("127.0.0.1:{}", port(other, 3))]);
    }
    let tls = base.join("tls").join(name(number));
    let files = [("CA", "cluster-ca.pem"), ("CERTIFICATE", "node.pem"), ("KEY", "node.key")];
    for (key, file) in files {
        command.env(format!("WEIR__CLUSTER__{key}"), tls.join(file));
    }
    Child::start(command, &format!("node {number}"))
}

/// Waits until every node serves and sees all of them.
async fn wait_until_joined(args: &Args, running: &mut Running) -> anyhow::Result<()> {
    let deadline = Instant::now() + START_PATIENCE;
    loop {
        for (number, node) in running.nodes.iter_mut().enumerate() {
            if let Some(status) = node.has_ended() {
                bail!("node {number} ended before all had joined: {status}");
            }
        }
        let http = |number: u16| args.base_port + PORTS_PER_NODE * number + 1;
        let mut numbers = 0..args.nodes;
        if numbers.all(|number| child::members_seen_at(http(number)) == Some(args.nodes.into())) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("the nodes have not found each other within {} s", START_PATIENCE.as_secs());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

impl Running {
    /// Nodes first, while they have their store.
    async fn end(&mut self) {
        for children in [&mut self.nodes, &mut Vec::from_iter(self.redis.take())] {
            children.iter_mut().for_each(Child::tell_to_end);
            let deadline = Instant::now() + END_PATIENCE;
            while children.iter_mut().any(Child::is_running) && Instant::now() < deadline {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            // Dropped, what still runs is killed.
            children.clear();
        }
    }
}

fn say(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}").context("stdout is closed")
}
