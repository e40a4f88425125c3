//! Consumers of the stream: members of a group and readers, by gRPC; readers by MQTT.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use weir_admin::proto::streams_consume_request::Request as Said;
use weir_admin::proto::streams_consume_response::Response as Heard;
use weir_admin::proto::{ConsumeAck, ConsumeJoin, ConsumeRecord, StreamsConsumeRequest, StreamsReadRequest};
use weir_model::Qos;

use super::node::{Node, call, runtime};
use super::{Figure, STREAM, STREAM_FILTER, Setup, Unit, per_second};
use crate::{Error, generator};

/// Acknowledgements under way; beyond, records wait.
const SAID_MAX: usize = 64;

/// Records with the member at a time.
const IN_FLIGHT_MAX: u32 = 10_000;

/// What was consumed, and what it cost the node.
pub(super) struct Consumed {
    pub(super) per_second: f64,
    pub(super) cpu_us_per_message: f64,
}

/// The records that publishers have left in the embedded store, by each of the ways there are.
pub(super) fn run(setup: &Setup) -> Result<Vec<Figure>, Error> {
    let node = Node::start(setup, "embedded", "auto")?;
    setup.publish(node.target())?;
    let (records, _) = node.records()?;
    let (read, group) = (read(&node, records)?, consume(&node, records)?);
    let mqtt = [by_mqtt(&node, Qos::AtMostOnce, records)?, by_mqtt(&node, Qos::AtLeastOnce, records)?];
    let cpu = |of: &Consumed| Figure::new("CPU", Unit::MicrosecondsPerMessage, of.cpu_us_per_message);
    let rate = |name, of: &Consumed| Figure::new(name, Unit::MessagesPerSecond, of.per_second);
    Ok(vec![
        rate("gRPC Read", &read),
        cpu(&read),
        rate("gRPC Consume, acknowledged", &group),
        cpu(&group),
        rate("MQTT QoS 0", &mqtt[0]),
        cpu(&mqtt[0]),
        rate("MQTT QoS 1", &mqtt[1]),
        cpu(&mqtt[1]),
    ])
}

/// `Read` from the first record to the end.
pub(super) fn read(node: &Node, records: u64) -> Result<Consumed, Error> {
    measured(node, records, || {
        runtime()?.block_on(async {
            let request = StreamsReadRequest { name: STREAM.to_owned(), ..Default::default() };
            let mut streams = node.streams().await?;
            let begun = Instant::now();
            let mut heard = streams.read(request).await.map_err(call("reading"))?.into_inner();
            let mut read = 0;
            while let Some(page) = heard.message().await.map_err(call("reading"))? {
                read += page.records.len() as u64;
            }
            Ok((read, begun.elapsed()))
        })
    })
}

/// One member of the group, which acknowledges every record, answer by answer.
pub(super) fn consume(node: &Node, records: u64) -> Result<Consumed, Error> {
    measured(node, records, || {
        runtime()?.block_on(async {
            let (mut seen, begun) = (0, Instant::now());
            join(node, |some| {
                seen += some.len() as u64;
                seen < records
            })
            .await?;
            Ok((seen, begun.elapsed()))
        })
    })
}

/// One subscriber of `$stream/..`.
pub(super) fn by_mqtt(node: &Node, qos: Qos, records: u64) -> Result<Consumed, Error> {
    measured(node, records, || generator::read_stream(&node.target(), STREAM_FILTER, qos, records))
}

/// Joins the group, hands out records as they come and acknowledges them, until `each` says that it was the last or the
/// call ends.
pub(super) async fn join(node: &Node, mut each: impl FnMut(&[ConsumeRecord]) -> bool) -> Result<(), Error> {
    let (say, said) = mpsc::channel(SAID_MAX);
    let send = |said| StreamsConsumeRequest { request: Some(said) };
    let join = ConsumeJoin {
        stream: STREAM.to_owned(),
        group: STREAM.to_owned(),
        in_flight_max: IN_FLIGHT_MAX,
        ..Default::default()
    };
    // It has room for the first.
    let _ = say.try_send(send(Said::Join(join)));
    let mut streams = node.streams().await?;
    let heard = streams.consume(ReceiverStream::new(said)).await;
    let mut heard = heard.map_err(call("consuming"))?.into_inner();
    while let Some(answer) = heard.message().await.map_err(call("consuming"))? {
        let Some(Heard::Records(records)) = answer.response else { continue };
        let goes_on = each(&records.records);
        let receipts = records.records.into_iter().map(|record| record.receipt).collect();
        let ack = ConsumeAck { receipts, tag: 0, sync: false };
        if say.send(send(Said::Ack(ack))).await.is_err() || !goes_on {
            return Ok(());
        }
    }
    Ok(())
}

fn measured(
    node: &Node,
    records: u64,
    consume: impl FnOnce() -> Result<(u64, Duration), Error>,
) -> Result<Consumed, Error> {
    let process = node.process();
    let before = process.cpu_time()?;
    let (seen, time) = consume()?;
    let cpu = process.cpu_time()?.saturating_sub(before);
    if seen < records || records == 0 {
        return Err(Error::NotAllConsumed { seen, records });
    }
    Ok(Consumed {
        per_second: per_second(seen, time),
        cpu_us_per_message: cpu.as_secs_f64() * 1e6 / seen as f64,
    })
}
