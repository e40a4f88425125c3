//! The flags that set configuration, with their fixed names.

use std::path::PathBuf;

use super::Failure;
use crate::config::{self, Config, Setting, Sources};

/// The flags of a node. Each wins over the environment (WEIR__SECTION__KEY), that over the file.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Read this TOML file (`--print-config` writes one to start from).
    #[arg(long, env = "WEIR_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The name of this node.
    #[arg(long, value_name = "ID")]
    pub node_id: Option<String>,
    /// The directory of everything kept.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// `embedded` keeps on disk, `memory` only as long as the node runs, `redis://host:port` (`rediss`,
    /// `redis+sentinel`, `redis+cluster`) in a Redis that the nodes of a cluster share.
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,
    /// MQTT over TCP: an address, a port (on loopback, 0 takes a free one), or `off`.
    #[arg(long, value_name = "ADDR")]
    pub mqtt: Option<String>,
    /// MQTT over TLS.
    #[arg(long, value_name = "ADDR")]
    pub mqtts: Option<String>,
    /// HTTP: WebSocket, metrics, health.
    #[arg(long, value_name = "ADDR")]
    pub http: Option<String>,
    /// The same over TLS.
    #[arg(long, value_name = "ADDR")]
    pub https: Option<String>,
    /// MQTT and WAMP over QUIC.
    #[arg(long, value_name = "ADDR")]
    pub quic: Option<String>,
    /// WAMP over RawSocket; off unless said.
    #[arg(long, value_name = "ADDR")]
    pub wamp: Option<String>,
    /// The same over TLS; off unless said.
    #[arg(long, value_name = "ADDR")]
    pub wamps: Option<String>,
    /// Hyper, fox-wamp's own protocol; off unless said.
    #[arg(long, value_name = "ADDR")]
    pub hyper: Option<String>,
    /// Gossip and links between nodes (UDP); 7946 on loopback when there is somebody to join.
    #[arg(long, value_name = "ADDR")]
    pub peer: Option<String>,
    /// gRPC: administration, health and reflection.
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<String>,
    /// The peer listener of a node to join; may be said several times, one that answers is enough.
    #[arg(long, value_name = "HOST:PORT")]
    pub join: Vec<String>,
    /// What is logged: error, warn, info, debug, trace, off, or directives.
    #[arg(long, value_name = "LEVEL")]
    pub log: Option<String>,
    /// Start with what can still be read of a damaged store, and say what was lost.
    #[arg(long)]
    pub accept_loss: bool,
}

impl Flags {
    /// The configuration of defaults, file, environment and these flags.
    ///
    /// # Errors
    /// A key or a value is refused.
    pub fn load(&self) -> Result<Config, Failure> {
        Ok(config::load(Sources {
            file: self.config.as_deref(),
            environment: std::env::vars_os().collect(),
            flags: self.settings(),
        })?)
    }

    fn settings(&self) -> Vec<Setting> {
        let flags = [
            ("node.id", "--node-id", &self.node_id),
            ("node.data_dir", "--data-dir", &self.data_dir),
            ("node.log", "--log", &self.log),
            ("store.url", "--store", &self.store),
            ("listen.mqtt", "--mqtt", &self.mqtt),
            ("listen.mqtts", "--mqtts", &self.mqtts),
            ("listen.http", "--http", &self.http),
            ("listen.https", "--https", &self.https),
            ("listen.quic", "--quic", &self.quic),
            ("listen.wamp", "--wamp", &self.wamp),
            ("listen.wamps", "--wamps", &self.wamps),
            ("listen.hyper", "--hyper", &self.hyper),
            ("listen.peer", "--peer", &self.peer),
            ("listen.admin", "--admin", &self.admin),
        ];
        let said = flags.into_iter().filter_map(|(key, flag, value)| {
            let value = toml::Value::String(value.clone()?);
            Some(Setting { key: key.to_owned(), value, place: flag.to_owned() })
        });
        let loss = self.accept_loss.then(|| Setting {
            key: "store.accept_loss".to_owned(),
            value: toml::Value::Boolean(true),
            place: "--accept-loss".to_owned(),
        });
        let join = (!self.join.is_empty()).then(|| Setting {
            key: "cluster.join".to_owned(),
            value: toml::Value::Array(self.join.iter().cloned().map(toml::Value::String).collect()),
            place: "--join".to_owned(),
        });
        said.chain(loss).chain(join).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::Cli;
    use super::*;

    fn flags(line: &str) -> Flags {
        Cli::try_parse_from(line.split_whitespace()).unwrap().serve.flags
    }

    #[test]
    fn flags_become_settings_with_their_own_names_as_place() {
        let settings = flags("weir --mqtt 0 --http off --accept-loss").settings();
        let said: Vec<_> = settings.iter().map(|s| (s.key.as_str(), s.place.as_str())).collect();
        assert_eq!(
            said,
            [("listen.mqtt", "--mqtt"), ("listen.http", "--http"), ("store.accept_loss", "--accept-loss")]
        );
    }

    #[test]
    fn every_node_to_join_becomes_one_entry_of_the_list() {
        let settings = flags("weir --join a:7946 --peer 7946 --join b:7946").settings();
        let join = settings.iter().find(|setting| setting.key == "cluster.join").unwrap();
        assert_eq!(join.value, toml::Value::Array(vec!["a:7946".into(), "b:7946".into()]));
        assert!(settings.iter().any(|setting| setting.key == "listen.peer"));
    }

    #[test]
    fn serve_and_no_command_take_the_same_flags() {
        assert!(Cli::try_parse_from(["weir", "serve", "--mqtt", "0"]).is_ok());
        assert!(Cli::try_parse_from(["weir", "--mqtt", "0", "serve"]).is_err());
    }
}
