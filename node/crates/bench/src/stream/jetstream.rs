//! The same work by Weir and by NATS JetStream, in turn.

use weir_model::Qos;

use super::nats::{self, Server, Sync};
use super::node::Node;
use super::{Figure, Setup, Unit, consumer, rate};
use crate::Error;

/// Publishes that are acknowledged once the stream has them, with the window of MQTT on both sides.
///
/// At equal durability: what is with the kernel (level `stored`, and JetStream as it comes), and what is on the disk
/// (level `fsynced`, and `sync_interval: always`, where the server knows it).
pub(super) fn publish(setup: &Setup) -> Result<Vec<Figure>, Error> {
    let stored = weir(setup, "stored")?;
    let kept = jetstream(setup, Sync::Default)?;
    let fsynced = weir(setup, "fsynced")?;
    let synced = jetstream(setup, Sync::Always)?;
    let kept = kept.ok_or(Error::NotInstalled { program: "nats-server" })?;
    let mut figures = vec![
        Figure::new("weir stored", Unit::MessagesPerSecond, stored),
        Figure::new("JetStream", Unit::MessagesPerSecond, kept),
        Figure::new("weir fsynced", Unit::MessagesPerSecond, fsynced),
        Figure::ratio("stored", stored, kept).at_least(1.0),
    ];
    match synced {
        Some(synced) => figures.extend([
            Figure::new("JetStream synced", Unit::MessagesPerSecond, synced),
            Figure::ratio("fsynced", fsynced, synced).at_least(1.0),
        ]),
        // It has no equal: more than what is asked.
        None => figures.push(Figure::ratio("fsynced against JetStream not synced", fsynced, kept)),
    }
    Ok(figures)
}

/// One consumer that acknowledges every record by itself.
pub(super) fn consume(setup: &Setup) -> Result<Vec<Figure>, Error> {
    let node = Node::start(setup, "embedded", "stored")?;
    setup.publish(node.target())?;
    let (records, _) = node.records()?;
    let group = consumer::consume(&node, records)?.per_second;
    let mqtt = consumer::by_mqtt(&node, Qos::AtLeastOnce, records)?.per_second;
    drop(node);
    let server = Server::start(Sync::Default)?.ok_or(Error::NotInstalled { program: "nats-server" })?;
    nats::create(&server)?;
    let (_, records) = nats::publish(&server, setup)?;
    let pulled = nats::consume(&server, records)?;
    Ok(vec![
        Figure::new("weir gRPC Consume", Unit::MessagesPerSecond, group),
        Figure::new("weir MQTT QoS 1", Unit::MessagesPerSecond, mqtt),
        Figure::new("JetStream pull of 500", Unit::MessagesPerSecond, pulled),
        Figure::ratio("gRPC", group, pulled).at_least(1.0),
        Figure::ratio("MQTT", mqtt, pulled).at_least(1.0),
    ])
}

fn weir(setup: &Setup, level: &str) -> Result<f64, Error> {
    let node = Node::start(setup, "embedded", level)?;
    Ok(rate(&setup.publish(node.target())?))
}

fn jetstream(setup: &Setup, sync: Sync) -> Result<Option<f64>, Error> {
    let Some(server) = Server::start(sync)? else { return Ok(None) };
    nats::create(&server)?;
    Ok(Some(nats::publish(&server, setup)?.0))
}
