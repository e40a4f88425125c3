//! One real node: the binary under test as a child process, killed when dropped.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

mod output;

use crate::http::{self, Metrics};
use crate::{LOOK_AGAIN, PATIENCE, eventually};
use output::Output;

/// The listeners a node can open, as `weir serve` names them.
const LISTENERS: [&str; 10] =
    ["mqtt", "mqtts", "http", "https", "quic", "peer", "admin", "wamp", "wamps", "hyper"];

/// What a node is started with. Listens for `mqtt` on a free port of loopback, and for nothing else unless told.
#[derive(Debug, Clone)]
pub struct Builder {
    program: PathBuf,
    arguments: Vec<OsString>,
    log: &'static str,
    environment: BTreeMap<OsString, OsString>,
    host: Ipv4Addr,
    listen: BTreeMap<&'static str, String>,
    data: Data,
}

#[derive(Debug, Clone)]
enum Data {
    /// Made by the first start, removed with the last node that uses it.
    Own(Arc<TempDir>),
    Given(PathBuf),
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    builder: Builder,
    child: Child,
    output: Output,
    addresses: BTreeMap<String, SocketAddr>,
}

/// The node did not get ready.
#[derive(Debug, thiserror::Error)]
#[error("the node did not get ready ({status:?}); it said:\n{said}")]
pub struct StartError {
    /// How it ended; `None` = it had not when patience did.
    pub status: Option<ExitStatus>,
    /// Its stderr.
    pub said: String,
    /// To try again.
    pub builder: Box<Builder>,
}

impl Builder {
    /// The loopback address it listens at.
    #[must_use]
    pub fn host(&self) -> Ipv4Addr {
        self.host
    }

    /// Opens this listener too, on a free port of loopback.
    #[must_use]
    pub fn listen(self, name: &'static str) -> Builder {
        let address = format!("{}:0", self.host);
        self.listen_at(name, &address)
    }

    /// Listens on a loopback address of its own instead of 127.0.0.1: for nodes that are down for a while, whose
    /// port nobody else may take meanwhile. To be said before [`Builder::listen`].
    #[must_use]
    pub fn on_own_address(mut self) -> Builder {
        static NODES: AtomicU8 = AtomicU8::new(1);
        let [.., high, low] = std::process::id().to_be_bytes();
        self.host = Ipv4Addr::new(127, high.max(1), low, NODES.fetch_add(1, Ordering::Relaxed).max(1));
        self.listen("mqtt")
    }

    /// Opens, or closes (`off`), a listener at an address of the caller's choice.
    #[must_use]
    pub fn listen_at(mut self, name: &'static str, address: &str) -> Builder {
        assert!(LISTENERS.contains(&name), "there is no listener {name}");
        self.listen.insert(name, address.to_owned());
        self
    }

    /// One more argument of `weir serve`.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Builder {
        self.arguments.push(argument.into());
        self
    }

    /// A variable of the node's environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Builder {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// Without a variable set before, for the next start.
    #[must_use]
    pub fn without_env(mut self, name: impl AsRef<OsStr>) -> Builder {
        self.environment.remove(name.as_ref());
        self
    }

    /// A key of the configuration, `section.key`.
    #[must_use]
    pub fn set(self, key: &str, value: impl ToString) -> Builder {
        let name = format!("WEIR__{}", key.replace('.', "__").to_uppercase());
        self.env(name, value.to_string())
    }

    /// How much it logs; `info` unless told.
    #[must_use]
    pub fn log(mut self, level: &'static str) -> Builder {
        self.log = level;
        self
    }

    /// `memory`, a `redis://..`, or `embedded`, which is the default.
    #[must_use]
    pub fn store(self, url: &str) -> Builder {
        self.arg("--store").arg(url)
    }

    /// Keeps its data here instead of in a directory of its own. The caller removes it.
    #[must_use]
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Builder {
        self.data = Data::Given(path.into());
        self
    }

    /// Starts the node and waits until it is ready.
    ///
    /// # Panics
    /// It did not get ready.
    pub fn start(self) -> Node {
        self.try_start().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts the node and waits until it is ready, or has ended instead.
    pub fn try_start(self) -> Result<Node, StartError> {
        self.spawn().ready()
    }

    /// Starts the node and does not wait: [`Node::ready`] is due before anything is asked of its listeners.
    ///
    /// # Panics
    /// The binary cannot be started.
    #[must_use]
    pub fn spawn(self) -> Node {
        let mut child = self.command().spawn().expect("the node's binary can be started");
        let output = Output::of(&mut child);
        Node { builder: self, child, output, addresses: BTreeMap::new() }
    }

    fn data_path(&self) -> &Path {
        match &self.data {
            Data::Own(own) => own.path(),
            Data::Given(path) => path,
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["serve", "--log", self.log, "--data-dir"]).arg(self.data_path());
        for name in LISTENERS {
            let address = self.listen.get(name).map_or("off", String::as_str);
            command.args([&format!("--{name}"), address]);
        }
        let configured = |name: &OsString| name.to_string_lossy().starts_with("WEIR");
        for (name, _) in std::env::vars_os().filter(|(name, _)| configured(name)) {
            command.env_remove(name);
        }
        command.args(&self.arguments).envs(&self.environment);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

impl Node {
    /// A node of this binary: `Node::of(env!("CARGO_BIN_EXE_weir"))`.
    #[must_use]
    pub fn of(program: impl Into<PathBuf>) -> Builder {
        let own = tempfile::Builder::new().prefix("weir-test-").tempdir().expect("a directory for the node");
        Builder {
            program: program.into(),
            arguments: Vec::new(),
            log: "info",
            environment: BTreeMap::new(),
            host: Ipv4Addr::LOCALHOST,
            listen: BTreeMap::new(),
            data: Data::Own(Arc::new(own)),
        }
        .listen("mqtt")
    }

    /// Waits until it is ready, or has ended instead.
    pub fn ready(mut self) -> Result<Node, StartError> {
        if !self.output.wait_for_line("ready", Instant::now() + PATIENCE) {
            let status = self.output.is_over().then(|| self.wait());
            return Err(StartError { status, said: self.stderr(), builder: Box::new(self.builder.clone()) });
        }
        self.addresses = self.output.addresses();
        Ok(self)
    }

    /// Where a listener really is.
    ///
    /// # Panics
    /// It was not asked for with [`Builder::listen`].
    #[must_use]
    pub fn address(&self, listener: &str) -> SocketAddr {
        let address = self.addresses.get(listener);
        *address.unwrap_or_else(|| panic!("the node does not listen on {listener}: {:?}", self.addresses))
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.builder.data_path()
    }

    /// What it logged until now.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.output.stderr()
    }

    /// SIGKILL, and waits until it is dead.
    pub fn kill9(&mut self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    /// Ends what is left of it and starts it again: same data, same ports, same configuration.
    pub fn restart(self) -> Node {
        self.restart_with(|builder| builder)
    }

    /// The same, with other arguments or environment.
    ///
    /// # Panics
    /// It did not get ready.
    pub fn restart_with(self, change: impl FnOnce(Builder) -> Builder) -> Node {
        self.try_restart_with(change).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same, for nodes that may refuse to start.
    pub fn try_restart_with(mut self, change: impl FnOnce(Builder) -> Builder) -> Result<Node, StartError> {
        let _ = self.child.kill();
        self.wait();
        let mut builder = self.builder.clone();
        for (name, address) in &self.addresses {
            let name = LISTENERS.into_iter().find(|known| known == name).expect("a known listener");
            builder.listen.insert(name, address.to_string());
        }
        drop(self);
        change(builder).try_start()
    }

    /// Lets the node die when it reaches a fault point the `count`th time (`WEIR_FAULT`). Returns one that lives, on the
    /// same data and ports.
    ///
    /// # Panics
    /// It ended otherwise, or the next one did not get ready.
    pub fn die_at(self, point: &str, count: u32) -> Node {
        let told = format!("{point}:{count}");
        let (status, node) = match self.try_restart_with(|builder| builder.env("WEIR_FAULT", told)) {
            Ok(mut doomed) => {
                (Some(doomed.wait()), doomed.restart_with(|builder| builder.without_env("WEIR_FAULT")))
            }
            // Some points are passed before the node is ready.
            Err(error) => (error.status, error.builder.without_env("WEIR_FAULT").start()),
        };
        let signal = status.and_then(|status| status.signal());
        assert_eq!(signal, Some(Signal::ABORT.as_raw()), "{point}: {status:?}");
        node
    }

    /// SIGTERM, and how it ended.
    pub fn sigterm_and_wait(&mut self) -> ExitStatus {
        self.sigterm();
        self.wait()
    }

    pub fn sigterm(&self) {
        self.signal(Signal::TERM);
    }

    /// Stops it in its tracks, as a suspended machine.
    pub fn sigstop(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn sigcont(&self) {
        self.signal(Signal::CONT);
    }

    /// Whether it has not ended by itself.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it has ended by itself or by a signal sent before.
    ///
    /// # Panics
    /// It did not end.
    pub fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let status = eventually("the node's end", || child.try_wait().expect("a child can be waited for"));
        self.output.join();
        status
    }

    /// What it counts and measures now. Needs the `http` listener.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let answer = http::get(self.address("http"), "/metrics");
        assert_eq!(answer.status, 200, "{}", answer.body);
        Metrics::read(&answer.body)
    }

    /// Waits until nothing moves any more and the ledger balances. Needs the `http` listener.
    ///
    /// # Panics
    /// It does not balance: every message and copy the node has counted is named.
    pub fn balanced(&self) {
        const IMBALANCE: &str = "weir_broker_ledger_imbalance_messages";
        let deadline = Instant::now() + PATIENCE;
        let mut before = BTreeMap::new();
        loop {
            let metrics = self.metrics();
            let terms: BTreeMap<String, u64> = metrics
                .iter()
                .filter(|(series, _)| {
                    series.starts_with("weir_broker_messages_") || series.starts_with("weir_broker_copies_")
                })
                .map(|(series, value)| (series.to_owned(), value as u64))
                .collect();
            let imbalance = metrics.iter().find(|(series, _)| *series == IMBALANCE).map(|(_, value)| value);
            if imbalance == Some(0.0) && terms == before {
                return;
            }
            assert!(Instant::now() < deadline, "the ledger does not balance: {imbalance:?} of {terms:#?}");
            before = terms;
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Resident memory in bytes.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a live node");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        let kib: u64 = line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number");
        kib * 1024
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        // It may have ended by itself meanwhile: whoever waits for it sees how.
        let _ = kill_process(pid, signal);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the node's stderr:\n{}", self.stderr());
        }
    }
}
