//! The rows of the table, by name.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

use super::{Figure, Setup, consumer, jetstream, latency, on_redis};
use crate::Error;

/// A row, as `--only` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RowName {
    CaptureRedis,
    ConsumeRedis,
    Consume,
    Latency,
    LatencyRedis,
    Jetstream,
    JetstreamConsume,
}

/// All of them, in the order of the table.
pub(super) fn all() -> impl Iterator<Item = RowName> {
    RowName::value_variants().iter().copied()
}

impl RowName {
    pub(super) fn title(self) -> &'static str {
        match self {
            RowName::CaptureRedis => {
                "MQTT QoS 1 from many publishers captured into one stream on Redis (AOF everysec)"
            }
            RowName::ConsumeRedis => "the same stream consumed",
            RowName::Consume => "a stream of the embedded store consumed, end to end",
            RowName::Latency => "publish to consumer, paced, embedded store, fsynced",
            RowName::LatencyRedis => "publish to consumer, paced, Redis (AOF everysec)",
            RowName::Jetstream => "acknowledged from many publishers, beside NATS JetStream (file store)",
            RowName::JetstreamConsume => "consumed and acknowledged one by one, beside NATS JetStream",
        }
    }

    /// One run.
    pub(super) fn run(self, setup: &Setup) -> Result<Vec<Figure>, Error> {
        match self {
            RowName::CaptureRedis => on_redis::capture(setup),
            RowName::ConsumeRedis => on_redis::consume(setup),
            RowName::Consume => consumer::run(setup),
            RowName::Latency => latency::embedded(setup),
            RowName::LatencyRedis => latency::on_redis(setup),
            RowName::Jetstream => jetstream::publish(setup),
            RowName::JetstreamConsume => jetstream::consume(setup),
        }
    }
}

impl fmt::Display for RowName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}
