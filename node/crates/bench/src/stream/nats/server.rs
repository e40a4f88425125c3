//! A nats-server with a JetStream file store of its own.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crate::Error;
use crate::local::{self, Directory, Program};

const SERVER: &str = "nats-server";

/// How long it may take to accept connections.
const START_MAX: Duration = Duration::from_secs(20);

/// When JetStream syncs what it has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sync {
    /// As the server does when it is told nothing: every two minutes. An acknowledged record is with the kernel.
    Default,
    /// Before each acknowledgement (`sync_interval: always`, from version 2.10 on).
    Always,
}

/// A running server. Killed when dropped.
pub(crate) struct Server {
    address: SocketAddr,
    _process: Program,
}

impl Server {
    /// Starts it; `None` when this version of it cannot sync so.
    pub(crate) fn start(sync: Sync) -> Result<Option<Server>, Error> {
        let program = local::on_path(SERVER).ok_or(Error::NotInstalled { program: SERVER })?;
        let directory = Arc::new(Directory::new()?);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, local::free_port()?));
        let path = configure(directory.path(), address, sync)?;
        let mut check = Command::new(&program);
        check.arg("-t").arg("-c").arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if !check.status().map_err(|source| Error::Start { program: program.clone(), source })?.success() {
            return Ok(None);
        }
        let mut command = Command::new(program);
        command.arg("-c").arg(path);
        let mut process = Program::start(SERVER, command, &directory)?;
        process.wait(START_MAX, |_| TcpStream::connect(address).is_ok())?;
        Ok(Some(Server { address, _process: process }))
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

fn configure(directory: &Path, address: SocketAddr, sync: Sync) -> Result<PathBuf, Error> {
    let (store, path) = (directory.join("jetstream"), directory.join("nats.conf"));
    let interval = match sync {
        Sync::Default => "",
        Sync::Always => ", sync_interval: always",
    };
    let text = format!(
        "listen: \"{address}\"\nserver_name: \"bench\"\njetstream {{ store_dir: {store:?}{interval} }}\n"
    );
    std::fs::write(&path, text).map_err(|source| Error::Files { path: path.clone(), source })?;
    Ok(path)
}
