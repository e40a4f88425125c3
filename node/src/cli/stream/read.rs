//! `weir stream read`: records from any place, to the end or on and on.

use std::io::Write as _;

use anyhow::Context as _;
use weir_admin::proto::{StreamRecord, StreamStart, StreamsReadRequest};

use super::super::Failure;
use super::super::admin::{refused, say};
use super::{Ask, start, told};

#[derive(Debug, clap::Args)]
pub struct Read {
    /// The name of the stream.
    name: String,
    /// Where to begin: `earliest`, `latest`, a position (EPOCH:MS-SEQ: with what comes after it), or `time:` with
    /// milliseconds since 1970 or 2026-01-31T00:00:00Z.
    #[arg(long, value_name = "PLACE", default_value = "earliest", value_parser = start::parse)]
    from: StreamStart,
    /// Go on with what is appended, until it is ended.
    #[arg(long)]
    follow: bool,
    /// Only records whose topic matches.
    #[arg(long, value_name = "FILTER", default_value = "")]
    filter: String,
    /// Most records; left out, all.
    #[arg(long, short = 'C', value_name = "COUNT", default_value_t = 0, hide_default_value = true)]
    count: u64,
    /// Print partition, position and topic before each payload.
    #[arg(long, short = 'v')]
    verbose: bool,
    #[command(flatten)]
    ask: Ask,
}

/// Prints until the end, the count or the reader of stdout ends it; signals end the process.
pub async fn read(args: &Read) -> Result<(), Failure> {
    let request = StreamsReadRequest {
        realm: args.ask.realm.clone(),
        name: args.name.clone(),
        start: Some(args.from.clone()),
        after: Vec::new(),
        follow: args.follow,
        filter: args.filter.clone(),
        records_max: args.count,
    };
    let mut streams = args.ask.server.connect_without_end().await?.streams();
    let mut answers = streams.read(request).await.map_err(refused)?.into_inner();
    while let Some(answer) = answers.message().await.map_err(refused)? {
        if answer.missed > 0 {
            eprintln!("weir: at least {} records were let go before they were read", answer.missed);
        }
        for record in &answer.records {
            print(record, args.ask.json, args.verbose)?;
        }
        std::io::stdout().flush().context("cannot write to stdout")?;
    }
    Ok(())
}

/// Writes one record: a line of JSON, or its payload.
pub fn print(record: &StreamRecord, json: bool, verbose: bool) -> Result<(), Failure> {
    if json {
        return say(&format!("{}\n", told::record(record)));
    }
    let written = std::io::stdout().write_all(&told::line(record, verbose));
    written.context("cannot write to stdout").map_err(Failure::from)
}
