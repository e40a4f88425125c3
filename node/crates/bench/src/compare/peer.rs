//! A broker started for one run: its configuration, its process, its addresses.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use url::Url;

use crate::Error;

/// How long a broker may take to accept connections.
const START_MAX: Duration = Duration::from_secs(20);

/// Queues of offline sessions without a practical limit, as the peers have them: a full one drops what the
/// measurement would then call lost.
const WEIR_ENVIRONMENT: [(&str, &str); 2] =
    [("WEIR__STORE__QUEUE_MESSAGES_MAX", "10000000"), ("WEIR__STORE__QUEUE_BYTES_MAX", "1073741824")];

/// Where programs are that are not on everybody's PATH.
const MORE_DIRECTORIES: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

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
pub(super) struct Kind {
    which: Which,
    program: PathBuf,
    /// Name and version, the heading of its column.
    pub(super) title: String,
}

/// A broker that is running. Killed, and its directory removed, when dropped.
pub(super) struct Peer {
    child: Child,
    directory: Directory,
    addresses: Vec<(String, String)>,
}

impl Kind {
    /// Weir itself: `program`, or the one that is running.
    pub(super) fn weir(program: Option<PathBuf>) -> Result<Kind, Error> {
        let program = match program {
            Some(program) => program,
            None => std::env::current_exe()
                .map_err(|source| Error::Files { path: PathBuf::from("/proc/self/exe"), source })?,
        };
        let title = format!("weir {}", env!("CARGO_PKG_VERSION"));
        Ok(Kind { which: Which::Weir, program, title })
    }

    /// The peer's program, if it is installed.
    pub(super) fn find(name: PeerName) -> Option<Kind> {
        let (which, file, arguments) = match name {
            PeerName::Mosquitto => (Which::Mosquitto, "mosquitto", ["-h"]),
            PeerName::Nats => (Which::Nats, "nats-server", ["--version"]),
        };
        let program = on_path(file)?;
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
                command.args(["--http", "127.0.0.1:0", "--https", "off", "--quic", "off"]);
                for (key, value) in WEIR_ENVIRONMENT {
                    command.env(key, value);
                }
                command.args(["--peer", "off", "--admin", "off", "--data-dir"]).arg(directory.join("data"));
            }
            Which::Mosquitto => {
                command.arg("-c").arg(configuration(directory, &mosquitto_configuration(port))?);
            }
            Which::Nats => {
                let other = free_port(directory)?;
                command.arg("-c").arg(configuration(directory, &nats_configuration(directory, port, other))?);
            }
        }
        Ok(command)
    }
}

impl Peer {
    /// Starts a broker on free loopback ports and waits until it takes connections.
    pub(super) fn start(kind: &Kind) -> Result<Peer, Error> {
        let directory = Directory::new()?;
        let port = free_port(&directory.path)?;
        let output = |name: &str| {
            let path = directory.path.join(name);
            std::fs::File::create(&path).map_err(|source| Error::Files { path, source })
        };
        let child = kind
            .command(&directory.path, port)?
            .stdin(Stdio::null())
            .stdout(output("stdout")?)
            .stderr(output("stderr")?)
            .spawn()
            .map_err(|source| Error::Start { program: kind.program.clone(), source })?;
        let mut peer = Peer { child, directory, addresses: Vec::new() };
        if !kind.is_weir() {
            peer.addresses.push(("mqtt".to_owned(), format!("127.0.0.1:{port}")));
        }
        peer.wait_until_up(kind)?;
        Ok(peer)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The address of a listener (`mqtt`, `mqtts`, `http`) as a URL clients understand.
    pub(super) fn url(&self, listener: &str) -> Option<Url> {
        let (_, address) = self.addresses.iter().find(|(name, _)| name == listener)?;
        let url = match listener {
            "http" => format!("ws://{address}/mqtt"),
            scheme => format!("{scheme}://{address}"),
        };
        Url::parse(&url).ok()
    }

    fn wait_until_up(&mut self, kind: &Kind) -> Result<(), Error> {
        let deadline = Instant::now() + START_MAX;
        loop {
            if kind.is_weir() {
                self.addresses = listening(&self.output("stdout"));
            }
            let mqtt = self.addresses.iter().find(|(name, _)| name == "mqtt");
            if mqtt.is_some_and(|(_, address)| TcpStream::connect(address).is_ok()) {
                return Ok(());
            }
            let has_ended = matches!(self.child.try_wait(), Ok(Some(_)) | Err(_));
            if has_ended || Instant::now() > deadline {
                let output = self.output("stderr");
                let output = output.lines().last().unwrap_or("none").to_owned();
                return Err(Error::NotUp { name: kind.title.clone(), seconds: START_MAX.as_secs(), output });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn output(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path.join(name)).unwrap_or_default()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Both fail only when the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines `listening mqtt 127.0.0.1:1883` of weir's output, once `ready` follows them.
fn listening(output: &str) -> Vec<(String, String)> {
    if !output.lines().any(|line| line == "ready") {
        return Vec::new();
    }
    let address = |line: &str| {
        let (name, address) = line.strip_prefix("listening ")?.split_once(' ')?;
        Some((name.to_owned(), address.trim().to_owned()))
    };
    output.lines().filter_map(address).collect()
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

/// A port nobody listens on at this moment.
fn free_port(directory: &Path) -> Result<u16, Error> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|source| Error::Files { path: directory.to_owned(), source })
}

fn on_path(file: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = MORE_DIRECTORIES.iter().map(PathBuf::from);
    std::env::split_paths(&path).chain(more).map(|directory| directory.join(file)).find(|path| path.is_file())
}

/// The first word with a digit and a dot: `2.0.11`, `v2.9.10`.
fn version_in(text: &str) -> Option<&str> {
    let is_version = |word: &&str| {
        let word = word.strip_prefix('v').unwrap_or(word);
        word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.')
    };
    text.split_whitespace().find(is_version)
}

/// A directory of one run, removed when dropped.
struct Directory {
    path: PathBuf,
}

impl Directory {
    fn new() -> Result<Directory, Error> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("weir-bench-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).map_err(|source| Error::Files { path: path.clone(), source })?;
        Ok(Directory { path })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed is left to whoever cleans the temporary directory.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_from_weirs_first_lines_once_it_is_ready() {
        let lines = "listening mqtt 127.0.0.1:4001\nlistening http 127.0.0.1:4002\n";
        assert!(listening(lines).is_empty());
        let ready = listening(&format!("{lines}ready\n"));
        assert_eq!(ready[1], ("http".to_owned(), "127.0.0.1:4002".to_owned()));
    }

    #[test]
    fn versions_are_found_in_what_programs_print() {
        assert_eq!(version_in("mosquitto version 2.0.11\n\nmosquitto is"), Some("2.0.11"));
        assert_eq!(version_in("nats-server: v2.9.10"), Some("v2.9.10"));
        assert_eq!(version_in("no number"), None);
    }
}
