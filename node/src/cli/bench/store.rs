//! `weir bench store`: how many records a second the store takes, with no broker before it.

use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::json;
use weir_store::Level;

use super::Failure;

mod append;
mod streams;

/// Records in one group commit, and in one submit.
const COMMIT_RECORDS: usize = 256;
const SUBMIT_RECORDS: usize = 16;

#[derive(Debug, clap::Args)]
pub struct StoreArgs {
    /// The store to append to through the contract (redis://host:port, embedded, memory), instead of the bare
    /// disk; what is written is removed again
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// What is measured
    #[arg(long, value_enum, default_value_t = Case::Append, requires_ifs = [("capture", "url"), ("consume", "url")])]
    case: Case,
    /// Where to write; what is written is removed again
    #[arg(long, value_name = "DIR", default_value = ".")]
    data_dir: PathBuf,
    /// Do not wait for the disk (level `stored`)
    #[arg(long, conflicts_with = "url")]
    no_fsync: bool,
    /// Records in one group commit [default: 256], or with --url in one submit [default: 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: Option<u32>,
    /// Callers that append to the one queue, each waiting for its answer
    #[arg(long, value_name = "N", default_value_t = 256, requires = "url",
        value_parser = clap::value_parser!(u32).range(1..=65_536))]
    callers: u32,
    /// Bytes of each record's payload
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    size: usize,
    /// Seconds measured
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = seconds)]
    duration: f64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What of the store is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Case {
    /// Messages put in one queue
    Append,
    /// Records appended to one partition of a stream
    Capture,
    /// Records read from one partition of a stream, 500 at a time
    Consume,
}

/// What was measured.
#[derive(Debug)]
struct Measured {
    records_per_second: f64,
    level: Level,
    /// Records that were answered with a refusal.
    refused: u64,
    /// Records for each second of this process's CPU time.
    records_per_cpu_second: Option<f64>,
    /// What the same machine does when nothing is decided or answered, in records per second, measured beside it.
    bare: Option<f64>,
}

/// Measures and prints.
pub fn run(args: &StoreArgs) -> Result<(), Failure> {
    let directory = args.data_dir.join(format!(".weir-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let measured = match &args.url {
        None => raw(args, &directory),
        Some(url) if args.case == Case::Append => append::run(url, args, &directory),
        Some(url) => streams::run(url, args, &directory),
    };
    std::fs::remove_dir_all(&directory).with_context(|| format!("cannot remove {}", directory.display()))?;
    args.print(&measured.context("the store cannot be measured")?);
    Ok(())
}

fn raw(args: &StoreArgs, directory: &std::path::Path) -> anyhow::Result<Measured> {
    let level = if args.no_fsync { Level::Stored } else { Level::Fsynced };
    let rate = weir_store::raw_append_rate(directory, level, args.batch(), args.size, args.duration)?;
    Ok(Measured { records_per_second: rate, level, refused: 0, records_per_cpu_second: None, bare: None })
}

impl StoreArgs {
    fn batch(&self) -> usize {
        let default = if self.url.is_some() { SUBMIT_RECORDS } else { COMMIT_RECORDS };
        self.batch.map_or(default, |records| records as usize)
    }

    fn print(&self, measured: &Measured) {
        let Measured { records_per_second, level, refused, records_per_cpu_second, bare } = measured;
        let ratio = bare.map(|bare| records_per_second / bare);
        if self.json {
            let report = json!({
                "records_per_second": records_per_second,
                "refused": refused,
                "records_per_cpu_second": records_per_cpu_second,
                "bare_records_per_second": bare,
                "ratio": ratio,
                "level": level,
                "batch": self.batch(),
                "payload_bytes": self.size,
            });
            println!("{report}");
            return;
        }
        let manner = match &self.url {
            None => format!("{} in a commit", self.batch()),
            Some(_) if self.case == Case::Consume => "500 in a page".to_owned(),
            Some(_) => format!("{} callers, {} in a submit, {refused} refused", self.callers, self.batch()),
        };
        println!("{records_per_second:.0} records/s, {level}, {manner}, {} bytes each", self.size);
        if let Some(rate) = records_per_cpu_second {
            println!("{rate:.0} records for each second of CPU time");
        }
        if let (Some(bare), Some(ratio)) = (bare, ratio) {
            println!("bare: {bare:.0} records/s, ratio {ratio:.2}");
        }
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|seconds| (0.0..=86_400.0).contains(seconds));
    value.ok_or_else(|| "allowed are seconds from 0 to 86400, such as 5 or 0.5".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        args: StoreArgs,
    }

    fn parse(line: &str) -> Result<StoreArgs, clap::Error> {
        Program::try_parse_from(line.split_whitespace()).map(|program| program.args)
    }

    #[test]
    fn a_commit_and_a_submit_have_a_size_of_their_own() {
        assert_eq!(parse("store").expect("bare").batch(), COMMIT_RECORDS);
        assert_eq!(parse("store --url redis://h").expect("a Redis").batch(), SUBMIT_RECORDS);
        assert_eq!(parse("store --url redis://h --batch 7").expect("a size").batch(), 7);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for line in [
            "store --callers 3",
            "store --url redis://h --no-fsync",
            "store --batch 0",
            "store --duration -1",
            "store --case capture",
            "store --case consume",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
