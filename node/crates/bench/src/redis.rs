//! A redis-server of its own for each run, and redis-benchmark against it.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::Error;
use crate::local::{self, Directory, Program};

const SERVER: &str = "redis-server";
const BENCHMARK: &str = "redis-benchmark";

/// How long it may take to answer.
const START_MAX: Duration = Duration::from_secs(20);

/// Commands that redis-benchmark sends before it reads answers.
const PIPELINE: &str = "128";

/// A redis-server with an append-only file, synced every second. Killed when dropped.
pub(crate) struct Redis {
    address: SocketAddr,
    _server: Program,
}

impl Redis {
    pub(crate) fn start() -> Result<Redis, Error> {
        let program = installed(SERVER)?;
        let directory = Arc::new(Directory::new()?);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, local::free_port()?));
        let mut command = Command::new(program);
        command.args(["--bind", "127.0.0.1", "--port", &address.port().to_string(), "--save", ""]);
        command.args([
            "--appendonly",
            "yes",
            "--appendfsync",
            "everysec",
            "--maxmemory-policy",
            "noeviction",
        ]);
        // Rewriting the file meanwhile would be measured with whoever is on at that moment.
        command.args(["--auto-aof-rewrite-percentage", "0", "--dir"]).arg(directory.path());
        let mut server = Program::start(SERVER, command, &directory)?;
        server.wait(START_MAX, |_| answers(address).unwrap_or(false))?;
        Ok(Redis { address, _server: server })
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Entries a second that redis-benchmark appends to one stream, `size` bytes in one field each.
    pub(crate) fn xadd_rate(&self, size: usize, entries: u32) -> Result<f64, Error> {
        let mut command = Command::new(installed(BENCHMARK)?);
        command.args(["-h", "127.0.0.1", "-p", &self.address.port().to_string(), "-P", PIPELINE]);
        command.args(["-n", &entries.to_string(), "--csv", "XADD", "bench", "*", "payload"]);
        let told = local::output(command.arg("x".repeat(size)))?;
        self.forget("bench")?;
        requests_per_second(&told).ok_or(Error::NoFigure { program: BENCHMARK, field: "requests a second" })
    }

    /// Entries a second of a stream that redis-benchmark reads as one consumer of a group made for it, `count` at once.
    pub(crate) fn xreadgroup_rate(&self, key: &str, entries: u64, count: u64) -> Result<f64, Error> {
        self.ask(&format!("XGROUP CREATE {key} bare 0"))?;
        let mut command = Command::new(installed(BENCHMARK)?);
        command.args(["-h", "127.0.0.1", "-p", &self.address.port().to_string(), "-c", "1", "--csv"]);
        command.args(["-n", &(entries / count).max(1).to_string(), "XREADGROUP", "GROUP", "bare", "one"]);
        let told = local::output(command.args(["COUNT", &count.to_string(), "STREAMS", key, ">"]))?;
        self.ask(&format!("XGROUP DESTROY {key} bare"))?;
        let reads = requests_per_second(&told);
        let reads = reads.ok_or(Error::NoFigure { program: BENCHMARK, field: "requests a second" })?;
        Ok(reads * count as f64)
    }

    fn forget(&self, key: &str) -> Result<(), Error> {
        self.ask(&format!("DEL {key}"))
    }

    /// A command whose answer is a word or a number.
    fn ask(&self, command: &str) -> Result<(), Error> {
        let ask = || {
            let mut stream = TcpStream::connect(self.address)?;
            write!(stream, "{command}\r\n")?;
            stream.read_exact(&mut [0; 4])
        };
        ask().map_err(|source| Error::Metrics { node: SERVER.to_owned(), source })
    }
}

fn installed(program: &'static str) -> Result<PathBuf, Error> {
    local::on_path(program).ok_or(Error::NotInstalled { program })
}

fn answers(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(START_MAX))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer)?;
    Ok(&answer == b"+PONG")
}

/// The second column of the last line.
fn requests_per_second(csv: &str) -> Option<f64> {
    let line = csv.lines().rfind(|line| line.starts_with('"'))?;
    line.split("\",\"").nth(1)?.trim_matches('"').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_the_second_column_of_what_redis_benchmark_prints() {
        let csv = "\"test\",\"rps\",\"avg_latency_ms\"\n\"XADD bench * payload xx\",\"645161.31\",\"9.2\"\n";
        assert_eq!(requests_per_second(csv), Some(645_161.31));
        assert_eq!(requests_per_second("\"test\",\"rps\"\n"), None);
        assert_eq!(requests_per_second(""), None);
    }
}
