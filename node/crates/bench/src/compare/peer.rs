//! A broker started for one run: its configuration, its process, its addresses.

use std::fmt::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use url::Url;

use crate::Error;
use crate::local::{self, Directory, Program, WEIR_ENVIRONMENT};

/// How long a broker may take to accept connections.
const START_MAX: Duration = Duration::from_secs(20);

/// A broker to compare with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PeerName {
    Mosquitto,
    Nats,
}

/// Which broker a program is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Weir,
    Mosquitto,
    Nats,
}

/// A broker that can be started.
#[derive(Debug, Clone)]
pub(crate) struct Kind {
    which: Which,
    program: PathBuf,
    /// Name and version, the heading of its column.
    pub(crate) title: String,
}

/// A broker that is running.
pub(crate) struct Peer {
    program: Program,
    addresses: Vec<(String, String)>,
}

impl Kind {
    /// Weir itself: `program`, or the one that is running.
    pub(super) fn weir(program: Option<PathBuf>) -> Result<Kind, Error> {
        let program = match program {
            Some(program) => program,
            None => local::this_program()?,
        };
        let title = format!("weir {}", env!("CARGO_PKG_VERSION"));
        Ok(Kind { which: Which::Weir, program, title })
    }

    /// The peer's program, if it is installed.
    pub(crate) fn find(name: PeerName) -> Option<Kind> {
        let (which, file, arguments) = match name {
            PeerName::Mosquitto => (Which::Mosquitto, "mosquitto", ["-h"]),
            PeerName::Nats => (Which::Nats, "nats-server", ["--version"]),
        };
        let program = local::on_path(file)?;
        let output = Command::new(&program).args(arguments).stdin(Stdio::null()).output().ok()?;
        let output = String::from_utf8_lossy(&output.stdout);
        let version = version_in(&output).unwrap_or_default();
        Some(Kind { which, program, title: format!("{file} {version}").trim_end().to_owned() })
    }

    pub(super) fn is_weir(&self) -> bool {
        self.which == Which::Weir
    }

    fn command(&self, directory: &Path, port: u16) -> Result<Command, Error> {
        let mut command = Command::new(&self.program);
        match self.which {
            Which::Weir => {
                command.args(["serve", "--mqtt", "127.0.0.1:0", "--mqtts", "127.0.0.1:0"]);
                command.args(["--http", "127.0.0.1:0", "--https", "off", "--quic", "off", "--admin", "off"]);
                for (key, value) in WEIR_ENVIRONMENT {
                    command.env(key, value);
                }
                command.args(["--peer", "off", "--admin", "off", "--data-dir"]).arg(directory.join("data"));
            }
            Which::Mosquitto => {
                command.arg("-c").arg(configuration(directory, &mosquitto_configuration(port))?);
            }
            Which::Nats => {
                let other = local::free_port()?;
                command.arg("-c").arg(configuration(directory, &nats_configuration(directory, port, other))?);
            }
        }
        Ok(command)
    }
}

impl Peer {
    /// Starts a broker on free loopback ports and waits until it takes connections.
    pub(crate) fn start(kind: &Kind) -> Result<Peer, Error> {
        let directory = Arc::new(Directory::new()?);
        let port = local::free_port()?;
        let command = kind.command(directory.path(), port)?;
        let program = Program::start(&kind.title, command, &directory)?;
        let mut peer = Peer { program, addresses: Vec::new() };
        if !kind.is_weir() {
            peer.addresses.push(("mqtt".to_owned(), format!("127.0.0.1:{port}")));
        }
        peer.wait_until_up(kind)?;
        Ok(peer)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// The address of a listener (`mqtt`, `mqtts`, `http`) as a URL clients understand.
    pub(crate) fn url(&self, listener: &str) -> Option<Url> {
        let (_, address) = self.addresses.iter().find(|(name, _)| name == listener)?;
        let url = match listener {
            "http" => format!("ws://{address}/mqtt"),
            scheme => format!("{scheme}://{address}"),
        };
        Url::parse(&url).ok()
    }

    fn wait_until_up(&mut self, kind: &Kind) -> Result<(), Error> {
        let Peer { program, addresses } = self;
        program.wait(START_MAX, |program| {
            if kind.is_weir() {
                *addresses = local::listening(&program.stdout());
            }
            let mqtt = addresses.iter().find(|(name, _)| name == "mqtt");
            mqtt.is_some_and(|(_, address)| TcpStream::connect(address).is_ok())
        })
    }
}

/// QoS 0 all it can take, no limits on QoS 1: mosquitto at its best.
fn mosquitto_configuration(port: u16) -> String {
    format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\npersistence false\n\
         max_queued_messages 0\nmax_inflight_messages 0\nlog_type error\n"
    )
}

/// MQTT needs JetStream, for its sessions.
fn nats_configuration(directory: &Path, port: u16, client_port: u16) -> String {
    let store = directory.join("jetstream");
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "listen: \"127.0.0.1:{client_port}\"\nserver_name: \"bench\"");
    let _ = writeln!(text, "jetstream {{ store_dir: {store:?} }}");
    let _ = writeln!(text, "mqtt {{ listen: \"127.0.0.1:{port}\", max_ack_pending: 65535 }}");
    text
}

fn configuration(directory: &Path, text: &str) -> Result<PathBuf, Error> {
    let path = directory.join("broker.conf");
    std::fs::write(&path, text).map_err(|source| Error::Files { path: path.clone(), source })?;
    Ok(path)
}

/// The first word with a digit and a dot: `2.0.11`, `v2.9.10`.
fn version_in(text: &str) -> Option<&str> {
    let is_version = |word: &&str| {
        let word = word.strip_prefix('v').unwrap_or(word);
        word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.')
    };
    text.split_whitespace().find(is_version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_print() {
        assert_eq!(version_in("mosquitto version 2.0.11\n\nmosquitto is"), Some("2.0.11"));
        assert_eq!(version_in("nats-server: v2.9.10"), Some("v2.9.10"));
        assert_eq!(version_in("no number"), None);
    }
}
