//! Nodes of a cluster and the Redis they share, on this machine, as the table of `node/docs/performance.md`.

mod failover;
mod figure;
mod flow;
mod interest;
mod life;
mod metrics;
mod nodes;
mod redis;
mod row;
mod table;

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::Args as ClapArgs;
use serde::Serialize;

use crate::Error;
use crate::local;
use crate::report::middle;

pub use figure::{Reach, Unit};
pub use row::RowName;

use figure::Figure;

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

/// The whole table.
#[derive(Debug, Clone, Serialize)]
pub struct ClusterReport {
    pub runs: u32,
    pub rows: Vec<ClusterRow>,
}

/// One row.
#[derive(Debug, Clone, Serialize)]
pub struct ClusterRow {
    pub name: RowName,
    pub title: &'static str,
    pub figures: Vec<MedianFigure>,
    /// Runs that could not be made, and why the last of them could not.
    pub failures: u32,
    pub last_failure: Option<String>,
}

/// One number of a row.
#[derive(Debug, Clone, Serialize)]
pub struct MedianFigure {
    pub name: &'static str,
    pub unit: Unit,
    pub median: f64,
    pub runs: Vec<f64>,
    /// What is wanted of the median; `None` = it is there to be looked at.
    pub reach: Option<Reach>,
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
pub(crate) fn run(args: &ClusterArgs) -> Result<ClusterReport, Error> {
    let setup = Setup::of(args)?;
    let runs = if args.quick { 1 } else { args.runs.get() };
    let rows = row::all().filter(|row| args.only.is_empty() || args.only.contains(row));
    Ok(ClusterReport { runs, rows: rows.map(|row| measure(row, &setup, runs)).collect() })
}

fn measure(row: RowName, setup: &Setup, runs: u32) -> ClusterRow {
    let (mut measured, mut failures, mut last_failure) = (Vec::new(), 0, None);
    for at in 1..=runs {
        eprintln!("{row} {at}/{runs}");
        match row.run(setup) {
            Ok(figures) => measured.push(figures),
            Err(error) => {
                eprintln!("  {error}");
                failures += 1;
                last_failure = Some(error.to_string());
            }
        }
    }
    ClusterRow { name: row, title: row.title(), figures: medians(&measured), failures, last_failure }
}

/// The medians, figure by figure: each run has the same ones in the same order.
fn medians(runs: &[Vec<Figure>]) -> Vec<MedianFigure> {
    let Some(first) = runs.first() else { return Vec::new() };
    let of = |(at, figure): (usize, &Figure)| {
        let values: Vec<f64> = runs.iter().filter_map(|run| run.get(at)).map(|figure| figure.value).collect();
        MedianFigure {
            name: figure.name,
            unit: figure.unit,
            median: middle(values.iter().copied()),
            runs: values,
            reach: figure.reach,
        }
    };
    first.iter().enumerate().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_has_the_median_of_its_own_runs() {
        let run = |first, second| {
            vec![Figure::new("a", Unit::Seconds, first), Figure::new("b", Unit::Times, second).at_most(1.6)]
        };
        let found = medians(&[run(3.0, 1.0), run(1.0, 2.0), run(2.0, 9.0)]);
        let medians: Vec<f64> = found.iter().map(|figure| figure.median).collect();
        assert_eq!(medians, [2.0, 2.0]);
        assert_eq!((found[1].runs.len(), found[1].reach), (3, Some(Reach::AtMost(1.6))));
        assert!(super::medians(&[]).is_empty());
    }
}
