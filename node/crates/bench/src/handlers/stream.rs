//! A stream binding: a backlog of records is handled, each effectively once, and the events go into another stream.

use std::time::Instant;

use weir_model::Qos;

use super::node::Node;
use super::{Figure, IN, Setup, Unit, run_flow};
use crate::Error;
use crate::redis::Redis;

/// What is wanted: messages a second on the embedded store, and of what redis-benchmark reaches with XADD.
const RATE_MIN: f64 = 80_000.0;
const RATIO_MIN: f64 = 0.4;

pub(super) fn embedded(setup: &Setup) -> Result<Vec<Figure>, Error> {
    let (rate, cpu) = handled(setup, "embedded")?;
    Ok(vec![
        Figure::new("CPU", Unit::MicrosecondsPerMessage, cpu),
        Figure::new("handled", Unit::MessagesPerSecond, rate).at_least(RATE_MIN),
    ])
}

pub(super) fn on_redis(setup: &Setup) -> Result<Vec<Figure>, Error> {
    let redis = Redis::start()?;
    let entries = if setup.is_quick { 100_000 } else { 1_000_000 };
    let peak = redis.xadd_rate(setup.size, entries)?;
    let (rate, cpu) = handled(setup, &redis.url())?;
    Ok(vec![
        Figure::new("CPU", Unit::MicrosecondsPerMessage, cpu),
        Figure::new("handled", Unit::MessagesPerSecond, rate),
        Figure::new("redis-benchmark XADD", Unit::MessagesPerSecond, peak),
        Figure::ratio("of it", rate, peak).at_least(RATIO_MIN),
    ])
}

/// Messages a second from the binding to the last event in its stream, and what each cost the node.
fn handled(setup: &Setup, store: &str) -> Result<(f64, f64), Error> {
    let node = Node::start(setup, store)?;
    node.make_streams()?;
    let mut flow = setup.flow(node.target(), Qos::AtLeastOnce, IN, None);
    // A few hundred thousand: several seconds of work.
    flow.load.duration = flow.load.duration.min(std::time::Duration::from_secs(2));
    let acknowledged = run_flow(&flow)?.acknowledged;
    node.upload(&setup.handler)?;
    let before = node.process().cpu_time()?;
    let begun = Instant::now();
    node.bind_stream()?;
    node.wait_for_copies(acknowledged)?;
    let (time, cpu) = (begun.elapsed(), node.process().cpu_time()?.saturating_sub(before));
    let count = acknowledged as f64;
    Ok((count / time.as_secs_f64(), cpu.as_secs_f64() * 1e6 / count))
}
