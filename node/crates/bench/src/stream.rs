//! Streams on this machine: capture, consume, latency, and NATS JetStream beside it, as the table of
//! `node/docs/performance.md`.

mod consumer;
mod jetstream;
mod latency;
mod nats;
mod node;
mod on_redis;
mod row;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args as ClapArgs;
use weir_model::Qos;

use crate::args::{Load, Target};
use crate::figures::{self, Figure, Figures, Unit};
use crate::generator::{self, Flow, Tap};
use crate::report::Measurement;
use crate::{Error, local};

pub use row::RowName;

/// The stream that captures everything that is published, in one partition.
const STREAM: &str = "bench";
const FILTER: &str = "bench/#";

/// Where MQTT clients read it.
const STREAM_FILTER: &str = "$stream/bench";

/// Arguments of `stream`.
#[derive(Debug, Clone, ClapArgs)]
pub struct StreamArgs {
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
    /// Payload size in bytes
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(8..=65_536))]
    pub size: u32,
    /// Publishers, each with a topic of its own
    #[arg(long, default_value = "100")]
    pub publishers: NonZeroU32,
    /// Messages a second of the rows `latency` and `latency-redis`, of 10 publishers together
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
    is_quick: bool,
    size: usize,
    publishers: usize,
    rate: NonZeroU32,
}

/// Runs the rows asked for. Progress goes to stderr.
///
/// Every run has fresh processes, which are alone with the generator.
pub(crate) fn run(args: &StreamArgs) -> Result<Figures, Error> {
    let setup = Setup {
        program: args.weir.clone().map_or_else(local::this_program, Ok)?,
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
    fn load(&self) -> Load {
        let (seconds, warmup) = if self.is_quick { (1, 300) } else { (5, 1000) };
        Load {
            qos: Qos::AtLeastOnce,
            size: self.size,
            rate: None,
            write_messages: None,
            window: 64,
            duration: Duration::from_secs(seconds),
            warmup: Duration::from_millis(warmup),
            runs: NonZeroU32::MIN,
            topic_prefix: STREAM.to_owned(),
            threads: 2,
        }
    }

    fn flow(&self, target: Target, publishers: usize) -> Flow {
        Flow {
            target,
            load: self.load(),
            topics: (0..publishers).map(|at| format!("{STREAM}/{at}")).collect(),
            filters: Vec::new(),
            receivers_per_message: 0,
        }
    }

    /// Publishes flat out with QoS 1; the rate is that of acknowledgements.
    fn publish(&self, target: Target) -> Result<Measurement, Error> {
        let run = generator::run(&self.flow(target, self.publishers))?;
        match run.disconnected + run.refused {
            0 => Ok(run),
            _ => Err(Error::NotAResult { figures: run.to_string().trim().to_owned() }),
        }
    }
}

fn rate(run: &Measurement) -> f64 {
    run.delivered_per_second.unwrap_or_default()
}

fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(f64::EPSILON)
}
