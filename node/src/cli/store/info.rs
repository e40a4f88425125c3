//! `weir store info`: what a store holds, counted by reading all of it.

use std::io::Write as _;

use anyhow::Context as _;

use super::report::Report;
use super::{Failure, Place, Settings, digest, failed, runtime, telemetry};

/// What `weir store info` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The store: `embedded` (the data directory of the configuration), `embedded:DIR`, or the URL of a Redis.
    #[arg(default_value = "embedded")]
    store: String,
    /// The key prefix in the Redis, when it is not that of the configuration.
    #[arg(long, value_name = "PREFIX")]
    key_prefix: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

/// Reads everything and says how much there is. Nodes may work on a Redis meanwhile.
pub fn run(args: &Args) -> Result<(), Failure> {
    let config = args.settings.load()?;
    let _log = telemetry::install_log(&config.node)?;
    let place = Place::parse(&args.store, &config)?;
    let runtime = runtime()?;
    let source = place.source(&config, args.key_prefix.as_deref(), true, &runtime);
    let mut source = source.map_err(failed)?;
    let digest = digest(&mut *source.store).map_err(failed)?;
    let store = place.name();
    let nodes = source.nodes;
    let report = Report { from: None, store, digest, live_nodes: nodes, over_an_unfinished_copy: false };
    let text = if args.json { report.in_json() } else { report.in_lines() };
    std::io::stdout().write_all(text.as_bytes()).context("cannot write to stdout")?;
    Ok(())
}
