//! Capture and consume on Redis, beside what redis-benchmark reaches with the same server and payload.

use weir_model::Qos;

use super::node::Node;
use super::{Figure, Setup, Unit, consumer, rate};
use crate::Error;
use crate::redis::Redis;

/// Entries that redis-benchmark reads at once.
const READ_COUNT: u64 = 1000;

/// Acknowledged publishes, against XADD in pipelines.
pub(super) fn capture(setup: &Setup) -> Result<Vec<Figure>, Error> {
    let redis = Redis::start()?;
    let entries = if setup.is_quick { 100_000 } else { 2_000_000 };
    let peak = redis.xadd_rate(setup.size, entries)?;
    let node = Node::start(setup, &redis.url(), "auto")?;
    let run = setup.publish(node.target())?;
    let (records, _) = node.records()?;
    if records < run.acknowledged {
        return Err(Error::NotAllConsumed { seen: records, records: run.acknowledged });
    }
    Ok(vec![
        Figure::new("acknowledged", Unit::MessagesPerSecond, rate(&run)),
        Figure::new("redis-benchmark XADD", Unit::MessagesPerSecond, peak),
        Figure::ratio("of it", rate(&run), peak).at_least(0.6),
    ])
}

/// The same entries read by redis-benchmark and through the node.
pub(super) fn consume(setup: &Setup) -> Result<Vec<Figure>, Error> {
    let redis = Redis::start()?;
    let node = Node::start(setup, &redis.url(), "auto")?;
    setup.publish(node.target())?;
    let (records, key) = node.records()?;
    let bare = redis.xreadgroup_rate(&key, records, READ_COUNT)?;
    let read = consumer::read(&node, records)?.per_second;
    let group = consumer::consume(&node, records)?.per_second;
    let mqtt = consumer::by_mqtt(&node, Qos::AtLeastOnce, records)?.per_second;
    Ok(vec![
        Figure::new("redis-benchmark XREADGROUP COUNT 1000", Unit::MessagesPerSecond, bare),
        Figure::new("gRPC Read", Unit::MessagesPerSecond, read),
        Figure::new("gRPC Consume, acknowledged", Unit::MessagesPerSecond, group),
        Figure::new("MQTT QoS 1", Unit::MessagesPerSecond, mqtt),
        Figure::ratio("Read", read, bare).at_least(0.7),
        Figure::ratio("Consume", group, bare).at_least(0.7),
        Figure::ratio("MQTT", mqtt, bare).at_least(0.7),
    ])
}
