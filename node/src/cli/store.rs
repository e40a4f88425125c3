//! `weir store`: copies a store into another, and says what one holds, while no node works on it.

use std::path::PathBuf;

use clap::Subcommand;
use weir_store::copy::{CopyError, CopySource, Digest};
use weir_store::redis::{ConnectError, RedisSource};
use weir_store::{Config as StoreConfig, EmbeddedSource, OpenError};

use super::Failure;
use crate::config::{self, Config, Sources};
use crate::telemetry;

mod copy;
mod info;
mod report;

/// What `weir store` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Copy everything from one store into another that is empty: from one node to a cluster, as a backup, as a restore.
    Copy(copy::Args),
    /// Count what a store holds, with the checksums that a copy of it has.
    Info(info::Args),
}

/// Where the settings of stores come from: how to log in to a Redis, the cluster's id, the number of shards.
#[derive(Debug, clap::Args)]
struct Settings {
    /// The TOML file of the node.
    #[arg(long, env = "WEIR_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

/// A store as it is named on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// The data directory of a node.
    Embedded(PathBuf),
    Redis(String),
}

/// Does it.
pub fn run(args: &Args) -> Result<(), Failure> {
    match &args.action {
        Action::Copy(args) => copy::run(args),
        Action::Info(args) => info::run(args),
    }
}

impl Settings {
    fn load(&self) -> Result<Config, Failure> {
        let environment = std::env::vars_os().collect();
        let sources = Sources { file: self.config.as_deref(), environment, flags: Vec::new() };
        Ok(config::load(sources)?)
    }
}

impl Place {
    fn parse(text: &str, config: &Config) -> Result<Place, Failure> {
        match text.split_once(':') {
            None if text == "embedded" => Ok(Place::Embedded(config.node.data_dir.clone())),
            Some(("embedded", "")) => Err(Failure::Usage("`embedded:` wants a data directory".to_owned())),
            Some(("embedded", dir)) => Ok(Place::Embedded(dir.into())),
            Some((scheme, _)) if scheme.starts_with("redis") => Ok(Place::Redis(text.to_owned())),
            _ if text == "memory" => {
                Err(Failure::Usage("what a node keeps in `memory` no other process can read".to_owned()))
            }
            _ => Err(Failure::Usage(format!(
                "`{text}` is no store: `embedded` (the data directory of the configuration), `embedded:DIR` and \
                 `redis://host:port` are"
            ))),
        }
    }

    fn name(&self) -> String {
        match self {
            Place::Embedded(dir) => format!("embedded:{}", dir.display()),
            Place::Redis(url) => url.clone(),
        }
    }

    /// Opened to be read.
    fn source(
        &self,
        config: &Config,
        key_prefix: Option<&str>,
        live: bool,
        runtime: &tokio::runtime::Runtime,
    ) -> Result<Source, CopyError> {
        let settings = with_prefix(&config.store, key_prefix);
        match self {
            Place::Embedded(dir) => {
                let source = EmbeddedSource::open(&settings, dir)?;
                Ok(Source { store: Box::new(source), nodes: Vec::new() })
            }
            Place::Redis(url) => {
                let source = RedisSource::open(&settings, url, &config.cluster.id, live, runtime.handle())?;
                let nodes = source.nodes().to_vec();
                Ok(Source { store: Box::new(source), nodes })
            }
        }
    }
}

/// A store that is read.
struct Source {
    store: Box<dyn CopySource>,
    /// Nodes that work on it meanwhile.
    nodes: Vec<String>,
}

fn with_prefix(config: &StoreConfig, key_prefix: Option<&str>) -> StoreConfig {
    let mut config = config.clone();
    if let Some(prefix) = key_prefix {
        config.redis.key_prefix = prefix.to_owned();
    }
    config
}

/// Where the connections of a Redis live.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(|error| Failure::Failed(anyhow::Error::new(error).context("no runtime")))
}

/// Whose turn it is says the exit code.
fn failed(error: CopyError) -> Failure {
    let text = error.to_string();
    match error {
        CopyError::NotEmpty { .. }
        | CopyError::InUse { .. }
        | CopyError::OtherCopy { .. }
        | CopyError::Unfinished { .. }
        | CopyError::Superseded { .. }
        | CopyError::Enrol { .. }
        | CopyError::Open(OpenError::Locked { .. } | OpenError::Unfinished { .. }) => Failure::Refused(text),
        CopyError::Away { .. }
        | CopyError::Connect(
            ConnectError::Unreachable { .. } | ConnectError::Replica { .. } | ConnectError::Lost(_),
        ) => Failure::Unreachable(text),
        CopyError::Connect(_) => Failure::Usage(text),
        error => Failure::Failed(error.into()),
    }
}

/// Counts everything.
fn digest(source: &mut dyn CopySource) -> Result<Digest, CopyError> {
    let mut digest = Digest::default();
    source.read(&mut |rows| {
        rows.iter().for_each(|row| digest.add(row));
        Ok(())
    })?;
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_named_by_url_or_directory() {
        let config = Config::default();
        let parse = |text| Place::parse(text, &config);
        assert_eq!(parse("embedded").unwrap(), Place::Embedded(config.node.data_dir.clone()));
        assert_eq!(parse("embedded:/a:b").unwrap(), Place::Embedded("/a:b".into()));
        let cluster = "redis+cluster://a:1,b:2";
        assert_eq!(parse(cluster).unwrap(), Place::Redis(cluster.to_owned()));
        for text in ["memory", "embedded:", "/var/lib/weir", "http://a"] {
            assert!(matches!(parse(text), Err(Failure::Usage(_))), "{text}");
        }
    }
}
