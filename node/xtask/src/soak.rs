//! `cargo xtask soak`: one release node under changing load for a long time, or a cluster whose parts fail.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::command::{cargo, command, must, target};

/// Each a run of `weir bench`; they take turns.
const LOADS: [&[&str]; 4] = [
    &["p2p", "--qos", "0"],
    &["p2p", "--qos", "1"],
    &["fanout", "--subscribers", "200"],
    &["durable", "--qos", "1"],
];
const ROUND_SECONDS: &str = "10";

/// Room for what a round leaves for sessions that are away: what falls out of a full queue is lost by
/// design, and would not be a load that is borne.
const QUEUES: [(&str, &str); 2] =
    [("WEIR__STORE__QUEUE_MESSAGES_MAX", "10000000"), ("WEIR__STORE__QUEUE_BYTES_MAX", "1073741824")];

/// The node under load; killed when this ends early.
struct Node {
    process: Child,
    url: String,
}

/// Fails when a load fails, or the node falls, or does not end by itself when told.
pub fn run(seconds: u64) -> Result<()> {
    must(cargo().args(["build", "--release", "--package", "weir"]))?;
    let data = target().join("soak");
    if data.exists() {
        std::fs::remove_dir_all(&data).context("cannot clear the last soak's data")?;
    }
    let mut node = Node::start(&data)?;
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut rounds = 0;
    for load in LOADS.iter().cycle() {
        if Instant::now() >= until {
            break;
        }
        node.bear(load)?;
        rounds += 1;
        println!("round {rounds}: {}, {} KiB resident", load.join(" "), node.resident_kib()?);
    }
    node.end()?;
    println!("{rounds} rounds");
    Ok(())
}

/// The random test of `node/tests/cluster/faults`, round after round; fails when a round does.
pub fn cluster(seconds: u64, seed: Option<u64>) -> Result<()> {
    let report = target().join("soak-cluster.md");
    let mut rounds = cargo();
    rounds.args([
        "test",
        "--release",
        "--package",
        "weir",
        "--test",
        "cluster",
        "--",
        "--ignored",
        "--exact",
    ]);
    rounds.args(["faults::random::nothing_is_lost_for_as_long_as_it_is_told", "--nocapture"]);
    rounds.env("WEIR_SOAK_MINUTES", seconds.div_ceil(60).to_string()).env("WEIR_SOAK_REPORT", &report);
    if let Some(seed) = seed {
        rounds.env("WEIR_SEED", seed.to_string());
    }
    let done = must(&mut rounds);
    println!("report: {}", report.display());
    done
}

impl Node {
    fn start(data: &std::path::Path) -> Result<Self> {
        let mut weir = command(target().join("release/weir"));
        weir.args(["serve", "--mqtt", "127.0.0.1:0", "--mqtts", "off", "--http", "off", "--https", "off"]);
        weir.args(["--quic", "off", "--admin", "off", "--data-dir"]).arg(data).envs(QUEUES);
        let mut process = weir.stdout(Stdio::piped()).spawn().context("cannot start weir")?;
        let lines = process.stdout.take().context("weir has no stdout")?;
        let mut node = Self { process, url: String::new() };
        for line in BufReader::new(lines).lines().map_while(Result::ok) {
            if let Some(address) = line.strip_prefix("listening mqtt ") {
                node.url = format!("mqtt://{address}");
            }
            if line == "ready" {
                return Ok(node);
            }
        }
        bail!("weir ended before it was ready")
    }

    fn bear(&mut self, load: &[&str]) -> Result<()> {
        let pid = self.process.id().to_string();
        let mut bench = command(target().join("release/weir"));
        bench.arg("bench").args(load);
        bench.args(["--url", &self.url, "--pid", &pid, "--duration", ROUND_SECONDS, "--runs", "1"]);
        must(&mut bench)?;
        match self.process.try_wait()? {
            Some(status) => bail!("the node fell under {}: {status}", load.join(" ")),
            None => Ok(()),
        }
    }

    fn resident_kib(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        line.split_whitespace().next().context("no number")?.parse().context("no number")
    }

    fn end(mut self) -> Result<()> {
        must(command("kill").args(["-TERM", &self.process.id().to_string()]))?;
        let status = self.process.wait()?;
        if !status.success() {
            bail!("the node did not end well: {status}");
        }
        Ok(())
    }
}

impl Drop for Node {
    /// Harmless when it has ended.
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
