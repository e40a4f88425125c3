//! `weir serve`: the start lines, and the end.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::Context as _;

use super::Failure;
use super::flags::Flags;
use crate::config::{self, Config};
use crate::memory;
use crate::node::Node;
use crate::shutdown::Signals;
use crate::telemetry;
use crate::worst_case::WorstCase;

/// What `weir serve` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub flags: Flags,
    /// Print every key with its sentence and its present value as TOML, and end.
    #[arg(long)]
    pub print_config: bool,
}

/// Runs a node until it is told to end.
pub fn run(args: &Args) -> Result<(), Failure> {
    let config = args.flags.load()?;
    if args.print_config {
        print!("{}", config::print(&config));
        return Ok(());
    }
    let _log = telemetry::install_log(&config.node)?;
    let open_files = telemetry::raise_open_files();
    tracing::info!(node = config.node.name(), version = env!("CARGO_PKG_VERSION"), ?open_files, "starting");
    WorstCase::of(&config, open_files).report(&config);

    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores)
        .enable_all()
        .on_thread_park(memory::on_park)
        .build()
        .context("no runtime")?;
    runtime.block_on(serve(config))?;
    // What is still running had its grace and was named.
    runtime.shutdown_background();
    Ok(())
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let mut signals = Signals::listen().context("signals cannot be heard")?;
    let grace = Duration::from_secs(config.node.grace_seconds);
    let metrics = telemetry::install_metrics()?;
    let node = tokio::select! {
        node = Node::start(config, metrics) => node?,
        told = signals.next() => std::process::exit(told.exit_code()),
    };
    announce(&node).context("stdout is closed")?;

    let told = signals.next_or(async || node.reload().await).await;
    tracing::info!(signal = ?told, grace_seconds = grace.as_secs(), "stopping");
    tokio::select! {
        () = node.stop(grace) => {}
        again = signals.next() => {
            tracing::warn!(signal = ?again, "told twice: ending at once");
            std::process::exit(again.exit_code());
        }
    }
    tracing::info!("stopped");
    Ok(())
}

/// The start lines that scripts read, then, for people, what to try.
fn announce(node: &Node) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for (name, address) in node.addresses() {
        writeln!(out, "listening {name} {address}")?;
    }
    writeln!(out, "ready")?;
    if std::io::stdout().is_terminal() {
        let url = node.addresses().into_iter().find(|(name, _)| *name == "mqtt");
        let at = match url {
            Some((_, address)) if address.port() != 1883 => format!(" --url mqtt://{address}"),
            _ => String::new(),
        };
        writeln!(out, "\ntry:  weir sub -t 'demo/#'{at}\n      weir pub -t demo/hello -m hi{at}")?;
    }
    out.flush()
}
