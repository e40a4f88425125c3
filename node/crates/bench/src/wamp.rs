//! WAMP on this machine: events, calls and idle sessions of Weir, fox-wamp and crossbar in turn, as the table of
//! `node/docs/performance.md`.
//!
//! All three are driven by the same generator: one thread, raw WebSockets, `wamp.2.json`.

mod calls;
mod events;
mod frame;
mod idle;
mod link;
mod load;
mod router;
mod row;
mod speech;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, ValueEnum};

use crate::figures::{self, Figure, Figures, Unit};
use crate::{Error, local};
use load::Times;
use router::Peer;

pub use router::PeerName;
pub use row::RowName;

/// Arguments of `wamp`.
#[derive(Debug, Clone, ClapArgs)]
pub struct WampArgs {
    /// Rows to measure; all when not given
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<RowName>,
    /// Routers to compare with; those that are installed when not given, `none` for none
    #[arg(long = "peer", value_delimiter = ',')]
    pub peers: Vec<Wanted>,
    /// Runs of each row, of which the medians are reported
    #[arg(long, default_value = "3")]
    pub runs: NonZeroU32,
    /// One short run of each: shows that it works, not how fast it is
    #[arg(long)]
    pub quick: bool,
    /// The weir program to measure; by default this one
    #[arg(long)]
    pub weir: Option<PathBuf>,
    /// Where `cargo xtask tools --bench` has put the other routers
    #[arg(long, env = "WEIR_TOOLS", default_value = "target/tools")]
    pub tools: PathBuf,
    /// Bytes of an event's or call's one argument, a text
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(17..=65_536))]
    pub size: u32,
    /// Sessions of the row `idle`
    #[arg(long, default_value = "10000")]
    pub sessions: NonZeroU32,
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub json: bool,
}

/// A peer that is asked for, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Wanted {
    FoxWamp,
    Crossbar,
    None,
}

/// How much of everything a run has.
#[derive(Debug, Clone)]
struct Setup {
    program: PathBuf,
    peers: Vec<Peer>,
    is_quick: bool,
    size: usize,
    sessions: usize,
}

/// Runs the rows asked for. Progress goes to stderr.
///
/// Every run has a fresh process of the router, which is alone with the generator.
pub(crate) fn run(args: &WampArgs) -> Result<Figures, Error> {
    let setup = Setup {
        program: args.weir.clone().map_or_else(local::this_program, Ok)?,
        peers: peers(args)?,
        is_quick: args.quick,
        size: args.size as usize,
        sessions: args.sessions.get() as usize,
    };
    let runs = if args.quick { 1 } else { args.runs.get() };
    let rows = row::all().filter(|row| args.only.is_empty() || args.only.contains(row));
    let rows = rows.map(|row| figures::measure(row, row.title(), runs, || row.run(&setup))).collect();
    Ok(Figures { runs, rows })
}

/// Those asked for, all of which must be installed, or else those that are.
fn peers(args: &WampArgs) -> Result<Vec<Peer>, Error> {
    let named = |wanted: &Wanted| match wanted {
        Wanted::FoxWamp => Some(PeerName::FoxWamp),
        Wanted::Crossbar => Some(PeerName::Crossbar),
        Wanted::None => None,
    };
    if args.peers.is_empty() {
        let found = |name: &PeerName| {
            let found = Peer::find(*name, &args.tools);
            if found.is_none() {
                eprintln!("{name} is not installed; cargo xtask tools --bench brings it");
            }
            found
        };
        return Ok(PeerName::value_variants().iter().filter_map(found).collect());
    }
    let must = |name: PeerName| {
        let program = match name {
            PeerName::FoxWamp => "fox-wamp",
            PeerName::Crossbar => "crossbar",
        };
        Peer::find(name, &args.tools).ok_or(Error::NotInstalled { program })
    };
    args.peers.iter().filter_map(named).map(must).collect()
}

impl Setup {
    fn times(&self) -> Times {
        let (warmup, measured) = if self.is_quick { (100, 400) } else { (500, 2000) };
        Times { warmup: Duration::from_millis(warmup), measured: Duration::from_millis(measured) }
    }
}
