//! `weir stream consume`: records as a member of a group, acknowledged when they are printed.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use weir_admin::proto::streams_consume_request::Request as Said;
use weir_admin::proto::streams_consume_response::Response as Heard;
use weir_admin::proto::{ConsumeAck, ConsumeJoin, ConsumeRecord, StreamsConsumeRequest};
use weir_admin::tonic::Streaming;

use super::super::Failure;
use super::super::admin::{refused, text};
use super::{Ask, read};

/// Acknowledgements on their way; each is waited for before more records are asked for.
const WAITING_MAX: usize = 4;

#[derive(Debug, clap::Args)]
pub struct Consume {
    /// The stream.
    stream: String,
    /// The group; it has to be there (`weir stream group create`).
    group: String,
    /// What this member is called; another one under the name at the same node is ended.
    #[arg(long = "as", value_name = "NAME", default_value = "")]
    name: String,
    /// End after so many records; left out, go on until it is ended.
    #[arg(long, short = 'C', value_name = "COUNT")]
    count: Option<u64>,
    /// End after so many seconds; with --count, fewer records are a failure (exit code 5).
    #[arg(long, short = 'W', value_name = "SECONDS")]
    wait: Option<u64>,
    /// Records to have at a time.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    in_flight: u32,
    /// Acknowledge nothing: what is printed is given to others when this ends.
    #[arg(long)]
    no_ack: bool,
    /// Print partition, position and topic before each payload.
    #[arg(long, short = 'v')]
    verbose: bool,
    #[command(flatten)]
    ask: Ask,
}

/// Prints and acknowledges until the count or the time ends it; signals end the process.
pub async fn consume(args: &Consume) -> Result<(), Failure> {
    let (say, said) = mpsc::channel(WAITING_MAX);
    let most = args.count.and_then(|count| u32::try_from(count).ok()).unwrap_or(u32::MAX);
    let join = ConsumeJoin {
        realm: args.ask.realm.clone(),
        stream: args.stream.clone(),
        group: args.group.clone(),
        name: args.name.clone(),
        // No more than are printed are taken from others.
        in_flight_max: args.in_flight.clamp(1, most.max(1)),
        in_flight_bytes_max: 0,
    };
    let send = |said| StreamsConsumeRequest { request: Some(said) };
    say.send(send(Said::Join(join))).await.context("the call ended")?;
    let mut streams = args.ask.server.connect_without_end().await?.streams();
    let mut heard = streams.consume(ReceiverStream::new(said)).await.map_err(refused)?.into_inner();
    let mut printed = 0;
    let working = async {
        while args.count.is_none_or(|count| printed < count) {
            let Some(records) = next(&mut heard).await? else { break };
            let left =
                args.count.map_or(usize::MAX, |count| usize::try_from(count - printed).unwrap_or(usize::MAX));
            let mut receipts = Vec::new();
            for one in records.into_iter().take(left) {
                read::print(&one.record.unwrap_or_default(), args.ask.json, args.verbose)?;
                receipts.push(one.receipt);
                printed += 1;
            }
            std::io::stdout().flush().context("cannot write to stdout")?;
            if !args.no_ack {
                let ack = ConsumeAck { receipts, tag: 1, sync: true };
                say.send(send(Said::Ack(ack))).await.context("the call ended")?;
            }
        }
        Ok::<_, Failure>(())
    };
    let over = match args.wait {
        Some(seconds) => tokio::time::timeout(Duration::from_secs(seconds), working).await,
        None => Ok(working.await),
    };
    // What was acknowledged is stored when the call ends.
    drop(say);
    let is_late = over.is_err();
    over.unwrap_or(Ok(()))?;
    while next(&mut heard).await?.is_some() {}
    match args.count {
        Some(count) if is_late && printed < count => Err(Failure::TimedOut(format!(
            "{printed} of {count} records in {} seconds",
            args.wait.unwrap_or(0)
        ))),
        _ => Ok(()),
    }
}

/// The next records; `None` = the call has ended.
async fn next(
    heard: &mut Streaming<weir_admin::proto::StreamsConsumeResponse>,
) -> Result<Option<Vec<ConsumeRecord>>, Failure> {
    while let Some(answer) = heard.message().await.map_err(refused)? {
        match answer.response {
            Some(Heard::Records(records)) => return Ok(Some(records.records)),
            Some(Heard::Answer(answer)) => {
                for one in answer.refused {
                    eprintln!("weir: an acknowledgement had no effect: {}", text(&one.message));
                }
            }
            Some(Heard::Taken(taken)) => {
                eprintln!("weir: {} records were taken back", taken.receipts.len());
            }
            Some(Heard::Joined(_)) | None => {}
        }
    }
    Ok(None)
}
