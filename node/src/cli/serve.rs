//! `weir serve`: the start lines, and the end.

use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;

use super::Failure;
use super::flags::Flags;
use crate::config::{self, Config};
use crate::memory;
use crate::node::{Node, Over};
use crate::shutdown::{Signals, Word};
use crate::telemetry;
use crate::worst_case::WorstCase;

mod anew;

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
    let mut config = args.flags.load()?;
    let before = anew::addresses();
    config.listen_at(before.as_deref().unwrap_or_default());
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
    let end = runtime.block_on(serve(config, before.is_none()))?;
    // What is still running had its grace and was named.
    runtime.shutdown_background();
    match end {
        End::Done => Ok(()),
        End::Anew(addresses) => {
            Err(anyhow::Error::new(anew::start(&addresses)).context("no start anew").into())
        }
    }
}

/// How a node has ended.
enum End {
    Done,
    /// It is to start anew, with its listeners where they were.
    Anew(Vec<(&'static str, SocketAddr)>),
}

async fn serve(config: Config, is_first: bool) -> anyhow::Result<End> {
    let mut signals = Signals::listen().context("signals cannot be heard")?;
    let grace = Duration::from_secs(config.node.grace_seconds);
    let metrics = telemetry::install_metrics()?;
    let node = tokio::select! {
        node = Node::start(config, metrics) => node?,
        told = signals.next() => std::process::exit(told.exit_code()),
    };
    if is_first {
        announce(&node).context("stdout is closed")?;
    }
    let addresses = node.addresses();
    let over = run_until_over(&node, &mut signals, grace).await;
    tracing::info!(grace_seconds = grace.as_secs(), "stopping");
    tokio::select! {
        () = node.stop(grace) => {}
        again = signals.next() => {
            tracing::warn!(signal = ?again, "told twice: ending at once");
            std::process::exit(again.exit_code());
        }
    }
    tracing::info!("stopped");
    match over {
        None => Ok(End::Done),
        Some(Over::ForGood(why)) => anyhow::bail!("the node had to end: {why}"),
        Some(Over::AsItWas(_)) => Ok(End::Anew(addresses)),
    }
}

/// Returns when the node is to stop: told to, drained, or because it cannot go on.
async fn run_until_over(node: &Node, signals: &mut Signals, grace: Duration) -> Option<Over> {
    let word = tokio::select! {
        word = signals.next_or(async || node.reload().await) => word,
        () = node.is_to_drain() => Word::Drain,
        over = node.is_over() => {
            tracing::error!(?over, "the node cannot go on");
            return Some(over);
        }
    };
    tracing::info!(?word, "told");
    if word == Word::Drain {
        tokio::select! {
            () = node.drain(grace) => {}
            told = signals.next() => tracing::warn!(signal = ?told, "told to end while draining"),
        }
    }
    None
}

/// The start lines that scripts read, then, for people, what to try.
fn announce(node: &Node) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for (name, address) in node.addresses() {
        writeln!(out, "listening {name} {address}")?;
    }
    if let Some(caution) = node.caution() {
        writeln!(out, "caution {caution}")?;
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
