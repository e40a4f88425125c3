//! How soon: a node joins two others, leaves them cleanly, and dies.

use std::time::{Duration, Instant};

use super::nodes::Nodes;
use super::{Figure, Setup, Unit, metrics};
use crate::Error;
use crate::redis::Redis;

/// How long the others may take to notice.
const NOTICE_MAX: Duration = Duration::from_secs(30);

/// Starts a third node, tells it to end, starts another one, and kills it.
pub(super) fn run(setup: &Setup) -> Result<Vec<Figure>, Error> {
    let redis = Redis::start()?;
    let mut nodes = Nodes::start(setup, &redis, 2)?;
    let mut third = nodes.start_one()?;
    let ready = third.start_time();
    let joined = members(&nodes, 3.0, "that all see the new node")? - third.started();

    let told = Instant::now();
    third.tell_to_end();
    let left = members(&nodes, 2.0, "that a clean leave is noticed")? - told;
    drop(third);

    let mut fourth = nodes.start_one()?;
    members(&nodes, 3.0, "that all see the new node")?;
    let killed = Instant::now();
    fourth.kill();
    let died = members(&nodes, 2.0, "that a death is noticed")? - killed;

    let seconds = |name, time: Duration| Figure::new(name, Unit::Seconds, time.as_secs_f64());
    Ok(vec![
        seconds("seen by all after", joined),
        seconds("join: start to ready", ready).at_most(1.5),
        seconds("death noticed", died).at_most(2.0),
        seconds("clean leave noticed", left).at_most(0.3),
    ])
}

/// When all nodes that stay count so many members.
fn members(nodes: &Nodes, count: f64, what: &'static str) -> Result<Instant, Error> {
    metrics::wait(&nodes.all(), metrics::MEMBERS, |members| members == count, what, NOTICE_MAX)
}
