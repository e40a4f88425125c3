//! Weir and its peers on this machine, row by row in turn, as the table of `node/docs/performance.md`.

mod peer;
mod row;
mod table;

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::Args as ClapArgs;
use serde::Serialize;

use crate::Error;
use crate::report::{Measurement, median};
use crate::scenario;

pub(crate) use peer::{Kind, Peer, PeerName};

use row::{Row, RowName};

/// Arguments of `compare`.
#[derive(Debug, Clone, ClapArgs)]
pub struct CompareArgs {
    /// Brokers to compare with; those not installed are left out
    #[arg(long, value_delimiter = ',', default_value = "mosquitto,nats")]
    pub peers: Vec<PeerName>,
    /// Rows to measure; all when not given
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<RowName>,
    /// Runs of each row and broker, of which the medians are reported
    #[arg(long, default_value = "5")]
    pub runs: NonZeroU32,
    /// One short run of each: shows that it works, not how fast it is
    #[arg(long)]
    pub quick: bool,
    /// The weir program to measure; by default this one
    #[arg(long)]
    pub weir: Option<PathBuf>,
    /// Leave weir out
    #[arg(long)]
    pub peers_only: bool,
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub json: bool,
}

/// The whole table.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// In the order of the columns.
    pub brokers: Vec<String>,
    pub runs: u32,
    pub rows: Vec<ComparedRow>,
}

/// One row: the same load on every broker.
#[derive(Debug, Clone, Serialize)]
pub struct ComparedRow {
    pub name: RowName,
    pub title: String,
    /// One for each broker; `None` when it does not have what the row needs.
    pub cells: Vec<Option<Cell>>,
}

/// What one broker reached in one row.
#[derive(Debug, Clone, Serialize)]
pub struct Cell {
    pub median: Measurement,
    pub runs: Vec<Measurement>,
    /// Runs that could not be made, and why the last of them could not.
    pub failures: u32,
    pub last_failure: Option<String>,
}

/// Runs the rows asked for. Progress goes to stderr.
///
/// Every run has a fresh process of the broker, which is alone with the generator.
pub(crate) fn run(args: &CompareArgs) -> Result<Comparison, Error> {
    let mut kinds: Vec<Kind> = Vec::new();
    if !args.peers_only {
        kinds.push(Kind::weir(args.weir.clone())?);
    }
    kinds.extend(args.peers.iter().filter_map(|name| Kind::find(*name)));
    if kinds.is_empty() {
        return Err(Error::NoPeers);
    }
    let runs = if args.quick { 1 } else { args.runs.get() };
    let rows =
        row::all(args.quick).into_iter().filter(|row| args.only.is_empty() || args.only.contains(&row.name));
    let rows = rows.map(|row| compare_row(&row, &kinds, runs)).collect();
    Ok(Comparison { brokers: kinds.iter().map(|kind| kind.title.clone()).collect(), runs, rows })
}

fn compare_row(row: &Row, kinds: &[Kind], runs: u32) -> ComparedRow {
    let mut cells: Vec<Cell> = kinds.iter().map(|_| Cell::empty()).collect();
    for at in 1..=runs {
        for (kind, cell) in kinds.iter().zip(&mut cells).filter(|(kind, _)| row.is_for(kind)) {
            eprintln!("{} {at}/{runs}: {}", row.name, kind.title);
            match measure(row, kind) {
                Ok(measured) => cell.runs.push(measured),
                Err(error) => {
                    eprintln!("  {error}");
                    cell.failures += 1;
                    cell.last_failure = Some(error.to_string());
                }
            }
        }
    }
    let finish = |(kind, mut cell): (&Kind, Cell)| {
        cell.median = median(&cell.runs);
        row.is_for(kind).then_some(cell)
    };
    let cells = kinds.iter().zip(cells).map(finish).collect();
    ComparedRow { name: row.name, title: row.title.clone(), cells }
}

fn measure(row: &Row, kind: &Kind) -> Result<Measurement, Error> {
    let peer = Peer::start(kind)?;
    let Some(scenario) = row.scenario(&peer) else { return Err(Error::NoPeers) };
    scenario::once(&scenario)
}

impl Cell {
    fn empty() -> Cell {
        Cell { median: Measurement::default(), runs: Vec::new(), failures: 0, last_failure: None }
    }
}
