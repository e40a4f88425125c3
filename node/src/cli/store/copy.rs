//! `weir store copy`: from one store into another, verified by reading it back.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use weir_store::EmbeddedTarget;
use weir_store::copy::{self, CopyError, CopyTarget, Progress};
use weir_store::redis::RedisTarget;

use super::report::Report;
use super::{Config, Failure, Place, Settings, failed, runtime, telemetry, with_prefix};

/// How often a terminal is told how far it is.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// What `weir store copy` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The store to read: `embedded` (the data directory of the configuration), `embedded:DIR`, or the URL of a Redis.
    from: String,
    /// The store to make, which must hold nothing: named in the same way.
    to: String,
    /// Read a Redis on which nodes work: what changes meanwhile may be missing.
    #[arg(long)]
    live: bool,
    /// The key prefix in the Redis that is read, when it is not that of the configuration.
    #[arg(long, value_name = "PREFIX")]
    from_key_prefix: Option<String>,
    /// The key prefix in the Redis that is written, when it is not that of the configuration.
    #[arg(long, value_name = "PREFIX")]
    to_key_prefix: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

/// Copies, and says what and how much.
pub fn run(args: &Args) -> Result<(), Failure> {
    let config = args.settings.load()?;
    let _log = telemetry::install_log(&config.node)?;
    let (from, to) = (Place::parse(&args.from, &config)?, Place::parse(&args.to, &config)?);
    let runtime = runtime()?;
    let source = from.source(&config, args.from_key_prefix.as_deref(), args.live, &runtime);
    let mut source = source.map_err(failed)?;
    let mut target = target(args, &from, &to, &config, &runtime).map_err(failed)?;
    eprintln!("copying {} to {}", from.name(), to.name());
    let mut told = Told::default();
    let copied = copy::run(&mut *source.store, &mut *target, &mut |progress| told.tell(progress));
    told.end();
    let digest = copied.map_err(failed)?;
    let report = Report {
        from: Some(from.name()),
        store: to.name(),
        digest,
        live_nodes: source.nodes,
        over_an_unfinished_copy: told.again,
    };
    let text = if args.json { report.in_json() } else { report.in_lines() };
    std::io::stdout().write_all(text.as_bytes()).context("cannot write to stdout")?;
    Ok(())
}

fn target(
    args: &Args,
    from: &Place,
    to: &Place,
    config: &Config,
    runtime: &tokio::runtime::Runtime,
) -> Result<Box<dyn CopyTarget>, CopyError> {
    let settings = with_prefix(&config.store, args.to_key_prefix.as_deref());
    Ok(match to {
        Place::Embedded(dir) => Box::new(EmbeddedTarget::open(&settings, dir)?),
        Place::Redis(url) => {
            let (id, from) = (&config.cluster.id, from.name());
            Box::new(RedisTarget::open(&settings, url, id, &from, runtime.handle())?)
        }
    })
}

/// What a terminal has been told.
#[derive(Default)]
struct Told {
    again: bool,
    at: Option<Instant>,
}

impl Told {
    fn tell(&mut self, progress: Progress) {
        if let Progress::Begun { again } = progress {
            self.again = again;
            if again {
                eprintln!("over a copy that was not finished: starting over");
            }
            return;
        }
        let is_early = self.at.is_some_and(|at| at.elapsed() < TELL_EVERY);
        if is_early || !std::io::stderr().is_terminal() {
            return;
        }
        self.at = Some(Instant::now());
        match progress {
            Progress::Written { rows } => eprint!("\r\x1b[K{rows} rows written"),
            Progress::Verified { rows } => eprint!("\r\x1b[K{rows} rows verified"),
            Progress::Begun { .. } => {}
        }
    }

    fn end(&self) {
        if self.at.is_some() {
            eprint!("\r\x1b[K");
        }
    }
}
