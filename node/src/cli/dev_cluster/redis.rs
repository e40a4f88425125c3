//! The Redis of a development cluster, when none is given.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::child::Child;

const START_PATIENCE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Starts redis-server on a free port of loopback, with an append-only file in `dir`; returns it with its URL.
///
/// # Errors
/// There is none, or it does not answer.
pub async fn start(dir: &Path) -> anyhow::Result<(Child, String)> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port for redis-server")?;
    let address = free.local_addr().context("no port for redis-server")?;
    drop(free);
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &address.port().to_string(), "--save", ""]);
    command.args(["--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction"]);
    command.arg("--dir").arg(dir).arg("--logfile").arg(dir.join("redis.log"));
    let mut server = Child::start(command, "redis")
        .context("install redis-server, or name a Redis that runs with --redis URL")?;
    let deadline = Instant::now() + START_PATIENCE;
    while !answers(address) {
        if !server.is_running() || Instant::now() > deadline {
            bail!("redis-server does not answer: see {}", dir.join("redis.log").display());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok((server, format!("redis://{address}")))
}

fn answers(address: SocketAddr) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect_timeout(&address, LOOK_AGAIN)?;
        stream.set_read_timeout(Some(START_PATIENCE))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    ask().is_ok_and(|answer| &answer == b"+PONG")
}
