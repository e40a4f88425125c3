//! Nodes of a cluster and the Redis they share, on this machine, as the table of `node/docs/performance.md`.

mod failover;
mod flow;
mod interest;
mod life;
mod metrics;
mod nodes;
mod row;

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::Args as ClapArgs;

use crate::figures::{self, Figure, Figures, Unit};
use crate::{Error, local};

pub use row::RowName;

/// Arguments of `cluster`.
#[derive(Debug, Clone, ClapArgs)]
pub struct ClusterArgs {
    /// Rows to measure; all when not given
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<RowName>,
    /// Runs of each row, of which the medians are reported
    #[arg(long, default_value = "5")]
    pub runs: NonZeroU32,
    /// One short run of each, with few clients and subscriptions: shows that it works, not how fast it is
    #[arg(long)]
    pub quick: bool,
    /// The weir program to measure; by default this one
    #[arg(long)]
    pub weir: Option<PathBuf>,
    /// Payload size in bytes
    #[arg(long, default_value_t = 64)]
    pub size: usize,
    /// Offline sessions, and as many publishers, of the row `offline`
    #[arg(long, default_value = "100")]
    pub sessions: NonZeroU32,
    /// Clients of the node that is killed in the row `failover`
    #[arg(long, default_value = "500")]
    pub clients: NonZeroU32,
    /// Subscriptions of the row `interest`
    #[arg(long, default_value = "1000000")]
    pub subscriptions: NonZeroU32,
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub json: bool,
}

/// How much of everything a run has.
#[derive(Debug, Clone)]
struct Setup {
    program: PathBuf,
    is_quick: bool,
    size: usize,
    sessions: NonZeroU32,
    clients: usize,
    subscriptions: usize,
}

impl Setup {
    fn of(args: &ClusterArgs) -> Result<Setup, Error> {
        let few = |count: NonZeroU32, few: usize| {
            if args.quick { few.min(count.get() as usize) } else { count.get() as usize }
        };
        Ok(Setup {
            program: args.weir.clone().map_or_else(local::this_program, Ok)?,
            is_quick: args.quick,
            size: args.size,
            sessions: args.sessions,
            clients: few(args.clients, 50),
            subscriptions: few(args.subscriptions, 20_000),
        })
    }
}

/// Runs the rows asked for. Progress goes to stderr.
///
/// Every run has fresh processes, which are alone with the generator.
pub(crate) fn run(args: &ClusterArgs) -> Result<Figures, Error> {
    let setup = Setup::of(args)?;
    let runs = if args.quick { 1 } else { args.runs.get() };
    let rows = row::all().filter(|row| args.only.is_empty() || args.only.contains(row));
    let rows = rows.map(|row| figures::measure(row, row.title(), runs, || row.run(&setup))).collect();
    Ok(Figures { runs, rows })
}
