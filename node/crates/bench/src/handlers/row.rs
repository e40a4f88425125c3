//! The rows of the table, by name.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;
use weir_model::Qos;

use super::{Figure, Setup, first, live, stream};
use crate::Error;

/// A row, as `--only` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RowName {
    LiveQos0,
    LiveQos1,
    Latency,
    Stream,
    StreamRedis,
    First,
}

/// All of them, in the order of the table.
pub(super) fn all() -> impl Iterator<Item = RowName> {
    RowName::value_variants().iter().copied()
}

impl RowName {
    pub(super) fn title(self) -> &'static str {
        match self {
            RowName::LiveQos0 => {
                "MQTT QoS 0 command, live binding, event to one subscriber, flat out, against the same two publishes"
            }
            RowName::LiveQos1 => "the same with QoS 1",
            RowName::Latency => {
                "what a live binding adds, paced: command to event against publish to subscriber"
            }
            RowName::Stream => "stream binding, effectively once into a stream, embedded store",
            RowName::StreamRedis => "the same on Redis (AOF everysec)",
            RowName::First => "from an upload to the first answer, and after a restart",
        }
    }

    /// One run.
    pub(super) fn run(self, setup: &Setup) -> Result<Vec<Figure>, Error> {
        match self {
            RowName::LiveQos0 => live::flat_out(setup, Qos::AtMostOnce),
            RowName::LiveQos1 => live::flat_out(setup, Qos::AtLeastOnce),
            RowName::Latency => live::latency(setup),
            RowName::Stream => stream::embedded(setup),
            RowName::StreamRedis => stream::on_redis(setup),
            RowName::First => first::run(setup),
        }
    }
}

impl fmt::Display for RowName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}
