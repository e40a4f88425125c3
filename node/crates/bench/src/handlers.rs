//! Handlers on this machine: what a binding costs a message, live and from a stream, and how soon a program is called, as
//! the table of `node/docs/performance.md`.

mod first;
mod live;
mod node;
mod row;
mod stream;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args as ClapArgs;
use weir_model::Qos;

use crate::args::{Load, Target};
use crate::figures::{self, Figure, Figures, Unit};
use crate::generator::{self, Flow};
use crate::report::Measurement;
use crate::{Error, local};

pub use row::RowName;

/// The name of the handler and of its binding.
const NAME: &str = "forward";
/// The handler whose first answer is measured: about 100 KB, parses JSON and keeps state.
const COMMON: &str = "contacts";
/// First levels of what goes in, and of what the handler makes of it.
const IN: &str = "bench";
const OUT: &str = "copy/bench";

/// Arguments of `handlers`.
#[derive(Debug, Clone, ClapArgs)]
pub struct HandlersArgs {
    /// Rows to measure; all when not given
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<RowName>,
    /// Runs of each row, of which the medians are reported
    #[arg(long, default_value = "3")]
    pub runs: NonZeroU32,
    /// One short run of each: shows that it works, not how fast it is
    #[arg(long)]
    pub quick: bool,
    /// The weir program to measure; by default this one
    #[arg(long)]
    pub weir: Option<PathBuf>,
    /// Where `cargo xtask handlers` has put the handlers
    #[arg(long, default_value = "target/handlers")]
    pub handlers: PathBuf,
    /// Payload size in bytes
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(8..=65_536))]
    pub size: u32,
    /// Publishers, each with a topic of its own
    #[arg(long, default_value = "20")]
    pub publishers: NonZeroU32,
    /// Messages a second of the row `latency`
    #[arg(long, default_value = "2000")]
    pub rate: NonZeroU32,
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub json: bool,
}

/// How much of everything a run has.
#[derive(Debug, Clone)]
struct Setup {
    program: PathBuf,
    /// The handler that is measured: it publishes each message again on another topic.
    handler: Vec<u8>,
    /// [`COMMON`].
    common: Vec<u8>,
    is_quick: bool,
    size: usize,
    publishers: usize,
    rate: NonZeroU32,
}

/// Runs the rows asked for. Progress goes to stderr.
///
/// Every run has fresh processes, which are alone with the generator.
pub(crate) fn run(args: &HandlersArgs) -> Result<Figures, Error> {
    let program = |name: &str| {
        let path = args.handlers.join(format!("{name}.wasm"));
        std::fs::read(&path).map_err(|source| Error::Handler { path, source })
    };
    let setup = Setup {
        program: args.weir.clone().map_or_else(local::this_program, Ok)?,
        handler: program(NAME)?,
        common: program(COMMON)?,
        is_quick: args.quick,
        size: args.size as usize,
        publishers: args.publishers.get() as usize,
        rate: args.rate,
    };
    let runs = if args.quick { 1 } else { args.runs.get() };
    let rows = row::all().filter(|row| args.only.is_empty() || args.only.contains(row));
    let rows = rows.map(|row| figures::measure(row, row.title(), runs, || row.run(&setup))).collect();
    Ok(Figures { runs, rows })
}

impl Setup {
    fn load(&self, qos: Qos) -> Load {
        let (seconds, warmup) = if self.is_quick { (1, 300) } else { (5, 1000) };
        Load {
            qos,
            size: self.size,
            rate: None,
            write_messages: None,
            window: 64,
            duration: Duration::from_secs(seconds),
            warmup: Duration::from_millis(warmup),
            runs: NonZeroU32::MIN,
            topic_prefix: IN.to_owned(),
            threads: 2,
        }
    }

    /// Each publisher to a topic of its own; a subscriber for each below `heard`, or none at all.
    fn flow(&self, target: Target, qos: Qos, said: &str, heard: Option<&str>) -> Flow {
        let topics = |level: &str| (0..self.publishers).map(|at| format!("{level}/{at}")).collect();
        Flow {
            target,
            load: self.load(qos),
            topics: topics(said),
            filters: heard.map_or_else(Vec::new, topics),
            receivers_per_message: u64::from(heard.is_some()),
        }
    }
}

fn run_flow(flow: &Flow) -> Result<Measurement, Error> {
    let run = generator::run(flow)?;
    match run.disconnected + run.refused {
        0 => Ok(run),
        _ => Err(not_a_result(&run)),
    }
}

fn not_a_result(run: &Measurement) -> Error {
    Error::NotAResult { figures: run.to_string().trim().to_owned() }
}

fn rate(run: &Measurement) -> f64 {
    run.delivered_per_second.unwrap_or_default()
}
