//! Messages from publishers to connected subscribers: pairs, one to many, many to one.

use std::num::NonZeroU32;

use crate::Error;
use crate::args::{FaninArgs, FanoutArgs, P2pArgs};
use crate::generator::{self, Flow};
use crate::report::Measurement;

/// Pairs: each publisher has one subscriber and a topic of its own.
pub(super) fn p2p(args: &P2pArgs) -> Result<Measurement, Error> {
    let topics = numbered(&args.load.topic_prefix, args.pairs);
    generator::run(&Flow {
        target: args.target.clone(),
        load: args.load.clone(),
        filters: topics.clone(),
        topics,
        receivers_per_message: 1,
    })
}

/// One publisher, all subscribers on its topic.
pub(super) fn fanout(args: &FanoutArgs) -> Result<Measurement, Error> {
    let topic = format!("{}/all", args.load.topic_prefix);
    generator::run(&Flow {
        target: args.target.clone(),
        load: args.load.clone(),
        filters: vec![topic.clone(); args.subscribers.get() as usize],
        topics: vec![topic],
        receivers_per_message: u64::from(args.subscribers.get()),
    })
}

/// Many publishers, one subscriber with a wildcard.
pub(super) fn fanin(args: &FaninArgs) -> Result<Measurement, Error> {
    generator::run(&Flow {
        target: args.target.clone(),
        load: args.load.clone(),
        topics: numbered(&args.load.topic_prefix, args.publishers),
        filters: vec![format!("{}/+", args.load.topic_prefix)],
        receivers_per_message: 1,
    })
}

/// `prefix/0`, `prefix/1`, ...
fn numbered(prefix: &str, count: NonZeroU32) -> Vec<String> {
    (0..count.get()).map(|index| format!("{prefix}/{index}")).collect()
}
