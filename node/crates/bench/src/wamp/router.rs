//! A WAMP router started for one run: Weir itself, fox-wamp or crossbar.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use rustix::process::{Pid, Signal, kill_process};

use super::Setup;
use super::link::Place;
use crate::Error;
use crate::local::{self, Directory, Program};
use crate::node::{Node, Start};
use crate::process::{self, Processes};

/// How long a router may take to accept connections.
const START_MAX: Duration = Duration::from_secs(60);

/// A router to compare with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PeerName {
    FoxWamp,
    Crossbar,
}

/// A router that is installed.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) name: PeerName,
    program: PathBuf,
    /// Where it finds what belongs to it.
    home: PathBuf,
}

/// A running router. Killed when dropped.
pub(super) struct Router {
    pub(super) wamp: Place,
    /// MQTT over WebSockets, which Weir has.
    pub(super) mqtt: Place,
    pub(super) realm: &'static str,
    pub(super) processes: Processes,
    _running: Running,
}

enum Running {
    Node { _node: Node },
    Program { _program: Program, _children: Children },
}

/// Processes that a program has started. Killed when dropped, behind it.
struct Children(Vec<u32>);

impl Drop for Children {
    fn drop(&mut self) {
        for pid in self.0.iter().filter_map(|pid| Pid::from_raw(i32::try_from(*pid).ok()?)) {
            // Fails only when the process has ended already.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PeerName::FoxWamp => "fox-wamp",
            PeerName::Crossbar => "crossbar",
        })
    }
}

impl Peer {
    /// The peer where `cargo xtask tools --bench` has put it.
    pub(super) fn find(name: PeerName, tools: &Path) -> Option<Peer> {
        let home = std::path::absolute(tools.join(name.to_string())).ok()?;
        let (program, needs) = match name {
            PeerName::FoxWamp => (local::on_path("node")?, home.join("node_modules/fox-wamp")),
            PeerName::Crossbar => (home.join("bin/crossbar"), home.join("bin/crossbar")),
        };
        needs.exists().then_some(Peer { name, program, home })
    }

    fn command(&self, directory: &Path, port: u16) -> Result<Command, Error> {
        let mut command = Command::new(&self.program);
        match self.name {
            PeerName::FoxWamp => {
                let script = format!(
                    "const Router = require('fox-wamp'); \
                     new Router().listenWAMP({{ host: '127.0.0.1', port: {port} }})"
                );
                command.current_dir(&self.home).args(["-e", &script]);
            }
            PeerName::Crossbar => {
                let path = directory.join("config.json");
                std::fs::write(&path, crossbar_configuration(port))
                    .map_err(|source| Error::Files { path: path.clone(), source })?;
                command.args(["start", "--loglevel", "error", "--cbdir"]).arg(directory);
                command.arg("--config").arg(path);
            }
        }
        Ok(command)
    }

    /// Starts it on a free port and waits until it takes connections.
    pub(super) fn start(&self) -> Result<Router, Error> {
        let directory = Arc::new(Directory::new()?);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, local::free_port()?));
        let command = self.command(directory.path(), address.port())?;
        let mut program = Program::start(&self.name.to_string(), command, &directory)?;
        program.wait(START_MAX, |_| TcpStream::connect(address).is_ok())?;
        let children = Children(process::children(program.pid()));
        let processes = Processes::of(&[&[program.pid()], children.0.as_slice()].concat());
        let place = Place { address, path: "/" };
        let _running = Running::Program { _program: program, _children: children };
        Ok(Router { wamp: place.clone(), mqtt: place, realm: "realm1", processes, _running })
    }
}

impl Router {
    pub(super) fn weir(setup: &Setup) -> Result<Router, Error> {
        let start = Start { program: &setup.program, store: "embedded", level: "auto" };
        let node = Node::start(&start)?;
        let address = node.http();
        let (wamp, mqtt) = (Place { address, path: "/wamp" }, Place { address, path: "/mqtt" });
        let processes = Processes::of(&[node.pid()]);
        Ok(Router { wamp, mqtt, realm: "default", processes, _running: Running::Node { _node: node } })
    }
}

/// One worker, one realm, everybody may do everything, JSON.
fn crossbar_configuration(port: u16) -> String {
    format!(
        r#"{{"version": 2, "controller": {{}}, "workers": [{{"type": "router",
            "realms": [{{"name": "realm1", "roles": [{{"name": "anonymous", "permissions": [{{
                "uri": "", "match": "prefix", "cache": true,
                "allow": {{"call": true, "register": true, "publish": true, "subscribe": true}},
                "disclose": {{"caller": false, "publisher": false}}}}]}}]}}],
            "transports": [{{"type": "websocket", "serializers": ["json"],
                "endpoint": {{"type": "tcp", "interface": "127.0.0.1", "port": {port}}},
                "auth": {{"anonymous": {{"type": "static", "role": "anonymous"}}}}}}]}}]}}"#
    )
}
