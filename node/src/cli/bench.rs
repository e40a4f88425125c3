//! `weir bench`: measure any MQTT broker, or this machine's store.

mod routes;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Subcommand;
use serde_json::json;
use weir_bench::Report;
use weir_store::Level;

use super::Failure;

/// What `weir bench` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one of it in a process")]
enum Scenario {
    #[command(flatten)]
    Broker(weir_bench::Scenario),
    /// How many records a second the embedded store takes, with no broker before it
    Store(StoreArgs),
    /// How long a match takes among many subscriptions, with no socket before it
    Routes(routes::RoutesArgs),
}

#[derive(Debug, clap::Args)]
struct StoreArgs {
    /// Where to write; what is written is removed again
    #[arg(long, value_name = "DIR", default_value = ".")]
    data_dir: PathBuf,
    /// Do not wait for the disk (level `stored`)
    #[arg(long)]
    no_fsync: bool,
    /// Records in one group commit
    #[arg(long, value_name = "N", default_value_t = 256)]
    batch: usize,
    /// Bytes of each record's payload
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    size: usize,
    /// Seconds measured
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    duration: f64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Measures and prints. A run that lost too much to be a result is a failure.
pub fn run(args: Args) -> Result<(), Failure> {
    match args.scenario {
        Scenario::Broker(scenario) => broker(scenario),
        Scenario::Store(args) => store(&args),
        Scenario::Routes(args) => routes::run(&args),
    }
}

fn broker(scenario: weir_bench::Scenario) -> Result<(), Failure> {
    let json = wants_json(&scenario);
    let report = weir_bench::run(weir_bench::Args { scenario }).map_err(|error| match error {
        weir_bench::Error::Client(error) => super::client::failure(error),
        other => Failure::Failed(other.into()),
    })?;
    if json {
        println!("{}", serde_json::to_string(&report).context("the report is no JSON")?);
    } else {
        println!("{report}");
    }
    match report {
        Report::Load(load) if !load.median.is_result => Err(Failure::Said),
        _ => Ok(()),
    }
}

fn wants_json(scenario: &weir_bench::Scenario) -> bool {
    use weir_bench::Scenario::{Compare, Connect, Durable, Fanin, Fanout, Idle, P2p};
    match scenario {
        Connect(args) => args.target.json,
        Idle(args) => args.target.json,
        P2p(args) => args.target.json,
        Fanout(args) => args.target.json,
        Fanin(args) => args.target.json,
        Durable(args) => args.target.json,
        Compare(args) => args.json,
    }
}

fn store(args: &StoreArgs) -> Result<(), Failure> {
    let level = if args.no_fsync { Level::Stored } else { Level::Fsynced };
    let directory = args.data_dir.join(format!(".weir-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let rate = weir_store::raw_append_rate(&directory, level, args.batch, args.size, args.duration);
    std::fs::remove_dir_all(&directory).with_context(|| format!("cannot remove {}", directory.display()))?;
    let rate = rate.context("the store cannot be measured")?;
    if args.json {
        let report = json!({
            "records_per_second": rate,
            "level": level,
            "batch": args.batch,
            "payload_bytes": args.size,
        });
        println!("{report}");
    } else {
        println!("{rate:.0} records/s, {level:?}, {} in a commit, {} bytes each", args.batch, args.size);
    }
    Ok(())
}
