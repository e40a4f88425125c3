//! `cargo xtask`: the tasks of this house that are more than one cargo command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod command;
mod count;
mod fuzz;
mod handlers;
mod soak;
mod test;
mod tools;

#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Bring the foreign clients the tests need, run every test, fuzz shortly, and count.
    Test,
    /// Bring the foreign clients only, and say where they are (WEIR_TOOLS).
    Tools {
        /// Those that `weir bench wamp` measures Weir against, too.
        #[arg(long)]
        bench: bool,
    },
    /// Build the example handlers as WASM, and say where they are (WEIR_HANDLERS).
    Handlers {
        /// Those in Rust this way only, instead of the first one that works.
        #[arg(long)]
        way: Option<handlers::Way>,
    },
    /// Keep a release node under changing load for this long; it must neither fall nor refuse to end. Or a cluster
    /// under traffic while nodes and Redis fail at random: no promise may be broken.
    Soak {
        #[arg(default_value_t = 600)]
        seconds: u64,
        /// Instead of seconds.
        #[arg(long)]
        minutes: Option<u64>,
        /// Three nodes on a Redis, their failures, and a report in `target/soak-cluster.md`.
        #[arg(long)]
        cluster: bool,
        /// What the failures of the first round are drawn from; each round has the next.
        #[arg(long, requires = "cluster")]
        seed: Option<u64>,
    },
    /// Measure a release build beside its peers and print the table, medians of so many runs.
    Bench {
        #[arg(default_value_t = 5)]
        runs: u32,
    },
    /// Fuzz each decoder for this long.
    Fuzz {
        #[arg(default_value_t = 60)]
        seconds: u64,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Test => test::run(),
        Task::Tools { bench } => tools::task(bench),
        Task::Handlers { way } => handlers::task(way),
        Task::Soak { seconds, minutes, cluster, seed } => {
            let seconds = minutes.map_or(seconds, |minutes| 60 * minutes);
            if cluster { soak::cluster(seconds, seed) } else { soak::run(seconds) }
        }
        Task::Bench { runs } => bench::run(runs),
        Task::Fuzz { seconds } => fuzz::task(seconds),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
