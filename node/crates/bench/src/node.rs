//! One node on this machine, started for a measurement.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use url::Url;
use weir_admin::client::{Client, Target as Administered};
use weir_wire::mqtt::Version;

use crate::Error;
use crate::args::Target;
use crate::local::{self, Directory, Program, WEIR_ENVIRONMENT};
use crate::process::Process;

/// How long a node may take to be ready, or to answer a call.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(30);

/// A node that is ready.
pub(crate) struct Node {
    process: Program,
    mqtt: Url,
    http: SocketAddr,
    admin: String,
    directory: Arc<Directory>,
}

/// What is started, and with what.
pub(crate) struct Start<'a> {
    pub(crate) program: &'a std::path::Path,
    /// The store's address.
    pub(crate) store: &'a str,
    /// What an acknowledgement promises; `auto` = all that the store proves.
    pub(crate) level: &'a str,
}

impl Node {
    pub(crate) fn start(start: &Start<'_>) -> Result<Node, Error> {
        Node::start_in(start, Arc::new(Directory::new()?))
    }

    /// Ends it and starts it again, with what it has stored.
    pub(crate) fn restart(self, start: &Start<'_>) -> Result<Node, Error> {
        let Node { process, directory, .. } = self;
        drop(process);
        Node::start_in(start, directory)
    }

    fn start_in(start: &Start<'_>, directory: Arc<Directory>) -> Result<Node, Error> {
        let mut command = Command::new(start.program);
        command.args(["serve", "--store", start.store, "--log", "warn", "--mqtt", "127.0.0.1:0"]);
        command.args(["--admin", "127.0.0.1:0", "--http", "127.0.0.1:0", "--mqtts", "off", "--https", "off"]);
        command.args(["--quic", "off", "--peer", "off", "--data-dir"]).arg(directory.path().join("data"));
        command.envs(WEIR_ENVIRONMENT).env("WEIR__STORE__LEVEL", start.level);
        let mut process = Program::start("weir", command, &directory)?;
        let mut addresses = Vec::new();
        process.wait(ANSWER_MAX, |process| {
            addresses = local::listening(&process.stdout());
            !addresses.is_empty()
        })?;
        let address = |listener: &str| {
            let found = addresses.iter().find(|(name, _)| name == listener);
            found.map(|(_, address)| address.clone()).ok_or(Error::NoAddress)
        };
        let mqtt = Url::parse(&format!("mqtt://{}", address("mqtt")?)).map_err(|_| Error::NoAddress)?;
        let http = address("http")?.parse().map_err(|_| Error::NoAddress)?;
        Ok(Node { process, mqtt, http, admin: address("admin")?, directory })
    }

    /// Clients of MQTT 5 with clean sessions.
    pub(crate) fn target(&self) -> Target {
        Target { version: Version::V5, ..Target::of(vec![self.mqtt.clone()], vec![self.process.pid()]) }
    }

    pub(crate) fn process(&self) -> Process {
        Process::of(self.process.pid())
    }

    /// Where WebSockets are taken.
    pub(crate) fn http(&self) -> SocketAddr {
        self.http
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(crate) async fn admin(&self) -> Result<Client, Error> {
        let target =
            Administered { server: self.admin.clone(), timeout: ANSWER_MAX, ..Administered::default() };
        Ok(Client::connect(&target).await?)
    }
}

/// What a call was for, when it is refused.
pub(crate) fn call(doing: &'static str) -> impl FnOnce(weir_admin::tonic::Status) -> Error {
    move |status| Error::Call { doing, reason: status.message().to_owned() }
}

pub(crate) fn runtime() -> Result<Runtime, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|source| Error::Thread { source })
}
