//! `weir bench`: measure any MQTT broker, a cluster of our own, or a store.

mod routes;
mod store;

use anyhow::Context as _;
use clap::Subcommand;
use weir_bench::Report;

use super::Failure;

/// What `weir bench` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    #[command(flatten)]
    Broker(weir_bench::Scenario),
    /// How many records a second the store takes, with no broker before it
    Store(store::StoreArgs),
    /// How long a match takes among many subscriptions, with no socket before it
    Routes(routes::RoutesArgs),
}

/// Measures and prints. A run that lost too much to be a result is a failure.
pub fn run(args: Args) -> Result<(), Failure> {
    match args.scenario {
        Scenario::Broker(scenario) => broker(scenario),
        Scenario::Store(args) => store::run(&args),
        Scenario::Routes(args) => routes::run(&args),
    }
}

fn broker(scenario: weir_bench::Scenario) -> Result<(), Failure> {
    let args = weir_bench::Args { scenario };
    let json = args.json();
    let report = weir_bench::run(args).map_err(|error| match error {
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
        Report::Figures(figures) if figures.rows.iter().any(|row| row.figures.is_empty()) => {
            Err(Failure::Said)
        }
        _ => Ok(()),
    }
}
