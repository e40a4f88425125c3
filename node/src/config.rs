//! The one configuration: every crate's section, read from defaults, file, environment and flags.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_access::Anonymous;
use weir_cluster::StoreKind;

mod address;
mod catalog;
mod layers;
mod log_filter;
mod print;

pub use address::ListenAddr;
pub use catalog::{Catalog, Key, Kind};
pub use layers::Setting;
pub use log_filter::LogFilter;

/// All that can be set. Each section belongs to the crate of its name.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// This node: its name, its directory, what it logs and how long it takes to stop.
    pub node: Node,
    /// Where clients come in.
    pub listen: Listen,
    /// Moving bytes: handshakes, HTTP, WebSocket, QUIC and certificates.
    pub net: weir_net::Config,
    /// What is kept, and how safely.
    pub store: weir_store::Config,
    /// Who may come in and do what.
    pub access: weir_access::Config,
    /// Sessions, outboxes and routes.
    pub broker: weir_broker::Config,
    /// Handlers: what an upload may be, and what all handlers of the node share.
    pub runtime: weir_runtime::Config,
    /// The protocols and their limits.
    pub gateway: weir_gateway::Config,
    /// The other nodes: how they are found, who may be one, and the links to them.
    pub cluster: weir_cluster::Config,
    /// Administration by gRPC: who may do what, and what a call may cost.
    pub admin: weir_admin::Config,
    /// What environment and flags have said: it wins over any file that is compared with this.
    #[serde(skip)]
    pub overrides: Vec<Setting>,
}

/// This node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// The name of this node in logs and `$SYS`; left out, the name of the host.
    pub id: Option<String>,
    /// The directory of everything this node keeps; it is made when it is missing.
    pub data_dir: PathBuf,
    /// Seconds a stopping node gives its clients and its store before it ends regardless.
    pub grace_seconds: u64,
    /// What is logged: error, warn, info, debug, trace or off, or directives such as `info,weir_store=debug`.
    pub log: LogFilter,
    /// The file that audit events (refusals, takeovers, changes of accounts and policies) are appended to as
    /// lines of JSON, beside the log; it is made readable to its owner alone, and opened anew when it was moved.
    pub audit_file: Option<PathBuf>,
    /// Most audit events logged per second; more are left out and counted. 0 = no limit.
    pub audit_per_second_max: u32,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            id: None,
            data_dir: PathBuf::from("weir-data"),
            grace_seconds: 10,
            log: LogFilter::default(),
            audit_file: None,
            audit_per_second_max: 100,
        }
    }
}

impl Node {
    /// The configured name, else the name of the host.
    #[must_use]
    pub fn name(&self) -> String {
        self.id.clone().unwrap_or_else(|| {
            let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            if name.trim().is_empty() { "weir".to_owned() } else { name.trim().to_owned() }
        })
    }
}

/// The listeners. Each is an address, a port alone (on loopback), or `off`; port 0 takes a free one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// MQTT over TCP.
    pub mqtt: ListenAddr,
    /// MQTT over TLS.
    pub mqtts: ListenAddr,
    /// HTTP: WebSocket, metrics and health.
    pub http: ListenAddr,
    /// The same over TLS.
    pub https: ListenAddr,
    /// MQTT and WAMP over QUIC (UDP), chosen by ALPN.
    pub quic: ListenAddr,
    /// WAMP over RawSocket; off unless set.
    pub wamp: ListenAddr,
    /// The same over TLS; off unless set.
    pub wamps: ListenAddr,
    /// Hyper, fox-wamp's own protocol; off unless set, its clients know port 1735.
    pub hyper: ListenAddr,
    /// Gossip and links between nodes (UDP), both sides proven by certificates; left out, port 7946 on loopback
    /// when `cluster.join` or the files of `cluster` are set, else off.
    pub peer: Option<ListenAddr>,
    /// gRPC: administration, health and reflection.
    pub admin: ListenAddr,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            mqtt: ListenAddr::loopback(1883),
            mqtts: ListenAddr::loopback(8883),
            http: ListenAddr::loopback(8080),
            https: ListenAddr::loopback(8443),
            quic: ListenAddr::loopback(14567),
            wamp: ListenAddr::Off,
            wamps: ListenAddr::Off,
            hyper: ListenAddr::Off,
            peer: None,
            admin: ListenAddr::loopback(50051),
        }
    }
}

impl Listen {
    /// Every listener for clients by its name, open or not.
    #[must_use]
    pub fn all(&self) -> [(&'static str, ListenAddr); 8] {
        [
            ("mqtt", self.mqtt),
            ("mqtts", self.mqtts),
            ("http", self.http),
            ("https", self.https),
            ("quic", self.quic),
            ("wamp", self.wamp),
            ("wamps", self.wamps),
            ("hyper", self.hyper),
        ]
    }
}

/// Where peers are listened for unless told otherwise.
const PEER_PORT: u16 = 7946;

impl Config {
    /// Where this node listens for its peers; `None` = it has none.
    #[must_use]
    pub fn peer_address(&self) -> Option<SocketAddr> {
        let cluster = &self.cluster;
        let files = [&cluster.ca, &cluster.certificate, &cluster.key];
        let is_wanted = !cluster.join.is_empty() || files.iter().any(|file| file.is_some());
        let default = if is_wanted { ListenAddr::loopback(PEER_PORT) } else { ListenAddr::Off };
        self.listen.peer.unwrap_or(default).socket()
    }

    /// For a start anew: the listeners get the ports that they had.
    pub fn listen_at(&mut self, addresses: &[(String, SocketAddr)]) {
        for (name, address) in addresses {
            let at = ListenAddr::At(*address);
            match name.as_str() {
                "mqtt" => self.listen.mqtt = at,
                "mqtts" => self.listen.mqtts = at,
                "http" => self.listen.http = at,
                "https" => self.listen.https = at,
                "quic" => self.listen.quic = at,
                "wamp" => self.listen.wamp = at,
                "wamps" => self.listen.wamps = at,
                "hyper" => self.listen.hyper = at,
                "peer" => self.listen.peer = Some(at),
                "admin" => self.listen.admin = at,
                _ => {}
            }
        }
    }

    /// What `store.url` names.
    #[must_use]
    pub fn store_kind(&self) -> StoreKind {
        match self.store.url.as_str() {
            "memory" => StoreKind::Memory,
            url if url.starts_with("redis") => StoreKind::Redis,
            _ => StoreKind::Embedded,
        }
    }
}

/// Why the configuration was refused. Every one names what to change and where.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{place}: there is no key `{key}`{}", nearest.as_ref().map_or(String::new(), |near| format!("; did you mean `{near}`?")))]
    UnknownKey { key: String, place: String, nearest: Option<String> },
    #[error("{place}: `{key}` cannot be {value}: {problem}; allowed is {allowed}")]
    BadValue { key: String, place: String, value: String, problem: String, allowed: String },
    #[error("{place}: this is not TOML: {problem}")]
    Syntax { place: String, problem: String },
    #[error("cannot read the configuration {}: {cause}", path.display())]
    Unreadable { path: PathBuf, cause: std::io::Error },
    #[error("the environment variable {name} is not UTF-8")]
    NotText { name: String },
    #[error("the values do not fit together: {problem}")]
    Together { problem: String },
    #[error(
        "{place}: `listen.{listener}` = {address} can be reached from other machines, and nobody is asked who they are; \
         listen on 127.0.0.1, set an authenticator (`access.jwt`, `access.accounts` or `access.certificates`), \
         or let everybody in by name with `access.anonymous` = \"anywhere\" (WEIR__ACCESS__ANONYMOUS=anywhere)"
    )]
    OpenToAll { listener: &'static str, address: ListenAddr, place: String },
    #[error(
        "{place}: a node with an embedded store cannot join others: two stores would be two truths; \
         set `store.url` to a Redis that all nodes share, or to `memory` for a cluster that keeps nothing"
    )]
    EmbeddedJoins { place: String },
    #[error("{place}: `cluster.join` needs the peer listener, and `listen.peer` is off")]
    JoinsUnheard { place: String },
}

/// Where the values come from; later ones win over earlier ones.
#[derive(Debug, Default)]
pub struct Sources<'a> {
    pub file: Option<&'a Path>,
    /// The whole environment; only `WEIR__SECTION__KEY` counts.
    pub environment: Vec<(std::ffi::OsString, std::ffi::OsString)>,
    pub flags: Vec<Setting>,
}

/// Reads all sources, checks every key and value, and puts the later over the earlier.
///
/// # Errors
/// The first key or value that cannot be, with its place.
pub fn load(sources: Sources<'_>) -> Result<Config, Error> {
    let catalog = Catalog::new();
    let file = match sources.file {
        Some(path) => layers::from_file(path, &catalog)?,
        None => Vec::new(),
    };
    let mut overrides = layers::from_environment(sources.environment, &catalog)?;
    overrides.extend(sources.flags);
    combine(file, overrides, &catalog)
}

/// The same with a text in the place of the file, and what environment and flags have said before.
///
/// # Errors
/// As for [`load`].
pub fn load_text(text: &str, overrides: Vec<Setting>) -> Result<Config, Error> {
    let catalog = Catalog::new();
    combine(layers::from_text(text, "line", &catalog)?, overrides, &catalog)
}

fn combine(file: Vec<Setting>, overrides: Vec<Setting>, catalog: &Catalog) -> Result<Config, Error> {
    let mut places = BTreeMap::new();
    let mut merged = toml::Table::new();
    for setting in file.into_iter().chain(overrides.iter().cloned()) {
        check(&setting, catalog)?;
        places.insert(setting.key.clone(), setting.place.clone());
        layers::put(&mut merged, &setting.key, setting.value);
    }
    let mut config: Config = toml::Value::Table(merged)
        .try_into()
        .map_err(|error: toml::de::Error| Error::Together { problem: error.message().to_owned() })?;
    config.overrides = overrides;
    refuse_open_doors(&config, &places)?;
    refuse_to_join(&config, &places)?;
    Ok(config)
}

/// The configuration as TOML: every key with its sentence and its present value.
#[must_use]
pub fn print(config: &Config) -> String {
    print::as_toml(config, &Catalog::new())
}

/// A setting is good when its key is known and it alone, beside the defaults, makes a configuration.
fn check(setting: &Setting, catalog: &Catalog) -> Result<(), Error> {
    let Some(key) = catalog.key(&setting.key) else {
        return Err(Error::UnknownKey {
            key: setting.key.clone(),
            place: setting.place.clone(),
            nearest: catalog.nearest(&setting.key),
        });
    };
    let mut alone = toml::Table::new();
    layers::put(&mut alone, &setting.key, setting.value.clone());
    match toml::Value::Table(alone).try_into::<Config>() {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::BadValue {
            key: setting.key.clone(),
            place: setting.place.clone(),
            value: if key.secret { "***".to_owned() } else { setting.value.to_string() },
            problem: if key.secret { "it is of another kind".to_owned() } else { error.message().to_owned() },
            allowed: key.allowed.clone(),
        }),
    }
}

/// Without an authenticator only loopback is listened on, unless that was asked for by name.
fn refuse_open_doors(config: &Config, places: &BTreeMap<String, String>) -> Result<(), Error> {
    if config.access.anonymous == Anonymous::Anywhere || config.access.has_authenticator() {
        return Ok(());
    }
    for (listener, address) in config.listen.all() {
        if address.socket().is_some_and(|socket| !socket.ip().is_loopback()) {
            let place = places.get(&format!("listen.{listener}")).cloned().unwrap_or_default();
            return Err(Error::OpenToAll { listener, address, place });
        }
    }
    Ok(())
}

/// Nodes that join work on one store, or keep nothing.
fn refuse_to_join(config: &Config, places: &BTreeMap<String, String>) -> Result<(), Error> {
    if config.cluster.join.is_empty() {
        return Ok(());
    }
    let place = places.get("cluster.join").cloned().unwrap_or_default();
    if config.store_kind() == StoreKind::Embedded {
        return Err(Error::EmbeddedJoins { place });
    }
    if config.peer_address().is_none() {
        return Err(Error::JoinsUnheard { place });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
