//! The rows of the table: which load, how long, and which figure counts.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;
use weir_model::Qos;

use super::peer::{Kind, Peer};
use crate::args::{
    ConnectArgs, DurableArgs, FaninArgs, FanoutArgs, IdleArgs, Load, P2pArgs, Scenario, Target,
};

/// A row, as `--only` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RowName {
    P2p,
    P2pSmallWrites,
    Fanout,
    Fanin,
    P2pQos1,
    Paced,
    Idle,
    IdleWs,
    IdleTls,
    Connect,
    Durable,
}

/// Which number of a measurement a row compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Figure {
    Messages,
    Paced,
    Memory,
    Connects,
}

/// One row.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) name: RowName,
    pub(super) title: String,
    is_quick: bool,
}

/// All rows, in the order of the table.
pub(super) fn all(is_quick: bool) -> Vec<Row> {
    let row = |name: &RowName| Row { name: *name, title: name.title().to_owned(), is_quick };
    RowName::value_variants().iter().map(row).collect()
}

impl RowName {
    fn title(self) -> &'static str {
        match self {
            RowName::P2p => "p2p QoS 0, 10 pairs, flat out",
            RowName::P2pSmallWrites => "the same, 16 messages a write",
            RowName::Fanout => "fan-out 1 -> 500 QoS 0, flat out",
            RowName::Fanin => "fan-in 50 -> 1 QoS 0, flat out",
            RowName::P2pQos1 => "p2p QoS 1, 10 pairs, window 64, clean sessions",
            RowName::Paced => "p2p QoS 0, 10 pairs, paced 20 k/s",
            RowName::Idle => "idle connection, one subscription, TCP",
            RowName::IdleWs => "idle connection, one subscription, WebSocket",
            RowName::IdleTls => "idle connection, one subscription, TLS",
            RowName::Connect => "connects/s, one after the other",
            RowName::Durable => "QoS 1 to 100 offline persistent sessions, 100 publishers",
        }
    }

    pub(super) fn figure(self) -> Figure {
        match self {
            RowName::Paced => Figure::Paced,
            RowName::Idle | RowName::IdleWs | RowName::IdleTls => Figure::Memory,
            RowName::Connect => Figure::Connects,
            _ => Figure::Messages,
        }
    }

    /// The listener it needs, as [`Peer::url`] names it.
    fn listener(self) -> &'static str {
        match self {
            RowName::IdleWs => "http",
            RowName::IdleTls => "mqtts",
            _ => "mqtt",
        }
    }
}

impl fmt::Display for RowName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}

impl Row {
    /// Peers are started with a plain listener only.
    pub(super) fn is_for(&self, kind: &Kind) -> bool {
        self.name.listener() == "mqtt" || kind.is_weir()
    }

    /// The load on `peer`; `None` if it has no such listener.
    pub(super) fn scenario(&self, peer: &Peer) -> Option<Scenario> {
        let target = Target::of(vec![peer.url(self.name.listener())?], vec![peer.pid()]);
        let (load, topic_prefix) = (self.load(), "bench".to_owned());
        let count = |count| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        Some(match self.name {
            RowName::P2p | RowName::P2pSmallWrites | RowName::P2pQos1 | RowName::Paced => {
                Scenario::P2p(P2pArgs { target, load, pairs: count(10) })
            }
            RowName::Fanout => Scenario::Fanout(FanoutArgs { target, load, subscribers: count(500) }),
            RowName::Fanin => Scenario::Fanin(FaninArgs { target, load, publishers: count(50) }),
            RowName::Durable => {
                Scenario::Durable(DurableArgs { target, load, publishers: count(100), sessions: count(100) })
            }
            RowName::Idle | RowName::IdleWs | RowName::IdleTls => {
                let connections = count(if self.is_quick { 1000 } else { 5000 });
                Scenario::Idle(IdleArgs { target, connections, topic_prefix })
            }
            RowName::Connect => {
                let duration = load.duration;
                Scenario::Connect(ConnectArgs { target, parallel: count(1), duration, runs: count(1) })
            }
        })
    }

    fn load(&self) -> Load {
        let only = |name: RowName, value| NonZeroU32::new(value).filter(|_| self.name == name);
        let seconds = if self.is_quick { 1 } else { 5 };
        Load {
            qos: if self.name == RowName::P2pQos1 { Qos::AtLeastOnce } else { Qos::AtMostOnce },
            size: 64,
            rate: only(RowName::Paced, 20_000),
            write_messages: only(RowName::P2pSmallWrites, 16),
            window: 64,
            duration: Duration::from_secs(seconds),
            warmup: Duration::from_millis(if self.is_quick { 300 } else { 1000 }),
            runs: NonZeroU32::MIN,
            topic_prefix: "bench".to_owned(),
            threads: 2,
        }
    }
}
