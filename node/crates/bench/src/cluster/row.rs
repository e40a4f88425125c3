//! The rows of the table, by name.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

use super::{Figure, Setup, failover, flow, interest, life};
use crate::Error;

/// A row, as `--only` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RowName {
    Across,
    Append,
    Offline,
    Publisher,
    Life,
    Failover,
    Interest,
}

/// All of them, in the order of the table.
pub(super) fn all() -> impl Iterator<Item = RowName> {
    RowName::value_variants().iter().copied()
}

impl RowName {
    pub(super) fn title(self) -> &'static str {
        match self {
            RowName::Across => "p2p QoS 0, 10 pairs, across two nodes: CPU of both nodes per message",
            RowName::Append => {
                "the store contract's append into one Redis Stream (AOF everysec), many callers"
            }
            RowName::Offline => {
                "MQTT QoS 1 from many publishers, queued for one offline persistent session each"
            }
            RowName::Publisher => "one publisher, QoS 1, window 64, through Redis",
            RowName::Life => "a node comes, dies, leaves",
            RowName::Failover => "kill -9 of a node: a client that reconnects elsewhere has its queue",
            RowName::Interest => "many subscriptions on one node, known to its peers",
        }
    }

    /// One run.
    pub(super) fn run(self, setup: &Setup) -> Result<Vec<Figure>, Error> {
        match self {
            RowName::Across => flow::across(setup),
            RowName::Append => flow::append(setup),
            RowName::Offline => flow::offline(setup),
            RowName::Publisher => flow::publisher(setup),
            RowName::Life => life::run(setup),
            RowName::Failover => failover::run(setup),
            RowName::Interest => interest::run(setup),
        }
    }
}

impl fmt::Display for RowName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}
