//! NATS JetStream: a server started for one run, and as much of its protocol as a publisher and a consumer need
//! (docs.nats.io, client protocol and JetStream wire API).

mod client;
mod frame;
mod server;

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use client::Client;
use frame::Frame;

use super::{STREAM, Setup, per_second};
use crate::Error;

pub(super) use server::{Server, Sync};

/// What every publisher captures to, and what each publishes to below it.
const SUBJECTS: &str = "bench.*";

/// Records asked for at once, and how many such questions are open.
const PULL_RECORDS: u64 = 500;
const PULLS_OPEN: u64 = 4;

/// How long a thread naps that has nothing to do, as publishers of MQTT do.
const NAP: Duration = Duration::from_micros(50);

/// Nothing more is expected after this long without anything.
const QUIET: Duration = Duration::from_secs(10);

/// Makes the stream and a consumer of it that acknowledges every record by itself.
pub(super) fn create(server: &Server) -> Result<(), Error> {
    runtime()?.block_on(async {
        let mut client = Client::connect(server.address()).await?;
        let stream = format!(
            "{{\"name\":\"{STREAM}\",\"subjects\":[\"{SUBJECTS}\"],\"storage\":\"file\",\
             \"retention\":\"limits\",\"num_replicas\":1}}"
        );
        client.ask(&format!("$JS.API.STREAM.CREATE.{STREAM}"), &stream).await?;
        let consumer = format!(
            "{{\"stream_name\":\"{STREAM}\",\"config\":{{\"durable_name\":\"one\",\"deliver_policy\":\"all\",\
             \"ack_policy\":\"explicit\",\"max_ack_pending\":10000,\"max_waiting\":64}}}}"
        );
        client.ask(&format!("$JS.API.CONSUMER.DURABLE.CREATE.{STREAM}.one"), &consumer).await
    })
}

/// Acknowledged publishes a second, and all there were, of as many publishers as MQTT has, with the same window.
pub(super) fn publish(server: &Server, setup: &Setup) -> Result<(f64, u64), Error> {
    let load = setup.load();
    let (counted, is_over) = (Rc::new(Cell::new(0_u64)), Rc::new(Cell::new(false)));
    let runtime = runtime()?;
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, async {
        let mut publishers = Vec::new();
        for at in 0..setup.publishers {
            let client = Client::connect(server.address()).await?;
            let (counted, is_over) = (Rc::clone(&counted), Rc::clone(&is_over));
            let (size, window) = (setup.size, usize::from(load.window));
            publishers.push(tokio::task::spawn_local(async move {
                publish_one(client, at, size, window, &counted, &is_over).await
            }));
        }
        tokio::time::sleep(load.warmup).await;
        let (before, begun) = (counted.get(), Instant::now());
        tokio::time::sleep(load.duration).await;
        let rate = per_second(counted.get() - before, begun.elapsed());
        is_over.set(true);
        for publisher in publishers {
            publisher.await.map_err(|_| Error::ThreadDied)??;
        }
        Ok((rate, counted.get()))
    })
}

/// One publisher: as many under way as the window allows.
async fn publish_one(
    mut client: Client,
    at: usize,
    size: usize,
    window: usize,
    counted: &Cell<u64>,
    is_over: &Cell<bool>,
) -> Result<(), Error> {
    let inbox = client.inbox().await?;
    let frame = format!("PUB bench.{at} {inbox} {size}\r\n{}\r\n", "x".repeat(size)).into_bytes();
    let batch = frame.repeat(window);
    let mut under_way = 0;
    while !is_over.get() || under_way > 0 {
        if !is_over.get() {
            client.write(&batch[..(window - under_way) * frame.len()]).await?;
            under_way = window;
        }
        let mut acknowledged = 0;
        client
            .read(QUIET, |frame| {
                let Frame::Message { payload, .. } = frame else { return Ok(()) };
                acknowledged += 1;
                refusal(payload).map_or(Ok(()), Err)
            })
            .await?;
        under_way = under_way.saturating_sub(acknowledged);
        counted.set(counted.get() + acknowledged as u64);
    }
    Ok(())
}

/// Records a second that one consumer pulls and acknowledges one by one.
pub(super) fn consume(server: &Server, records: u64) -> Result<f64, Error> {
    runtime()?.block_on(async {
        let mut client = Client::connect(server.address()).await?;
        let inbox = client.inbox().await?;
        let question = format!("{{\"batch\":{PULL_RECORDS}}}");
        let pull = format!(
            "PUB $JS.API.CONSUMER.MSG.NEXT.{STREAM}.one {inbox} {}\r\n{question}\r\n",
            question.len()
        );
        let begun = Instant::now();
        let (mut seen, mut asked) = (0, 0);
        let mut out = Vec::new();
        while seen < records {
            while asked < seen + PULLS_OPEN * PULL_RECORDS {
                out.extend_from_slice(pull.as_bytes());
                asked += PULL_RECORDS;
            }
            client.write(&out).await?;
            out.clear();
            client
                .read(QUIET, |frame| {
                    let Frame::Message { reply, .. } = frame else { return Ok(()) };
                    // What comes without a place to answer to is no record but says why there is none.
                    if !reply.is_empty() {
                        seen += 1;
                        out.extend_from_slice(b"PUB ");
                        out.extend_from_slice(reply);
                        out.extend_from_slice(b" 4\r\n+ACK\r\n");
                    }
                    Ok(())
                })
                .await?;
        }
        client.write(&out).await?;
        Ok(per_second(seen, begun.elapsed()))
    })
}

/// What JetStream says against a publish, or a question.
fn refusal(payload: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(payload);
    text.contains("\"error\"").then(|| text.into_owned())
}

fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().on_thread_park(|| std::thread::sleep(NAP));
    builder.build().map_err(|source| Error::Thread { source })
}

fn failed(address: SocketAddr, reason: impl ToString) -> Error {
    Error::Nats { address, reason: reason.to_string() }
}
