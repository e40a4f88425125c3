//! The rows of the table, by name.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

use super::calls::{self, Calls};
use super::events::{self, Events};
use super::load::Measured;
use super::router::{Peer, PeerName, Router};
use super::speech::Protocol::{Mqtt, Wamp};
use super::{Figure, Setup, Unit, idle};
use crate::Error;

/// What is wanted: how many times the peers' figures; CPU of an event across protocols of that within one; memory of a
/// session, in bytes.
const FOX_WAMP_MIN: f64 = 20.0;
const CROSSBAR_MIN: f64 = 10.0;
const ACROSS_MAX: f64 = 1.5;
const SESSION_BYTES_MAX: f64 = 8192.0;

/// Sessions of the row `idle` at a peer.
const PEER_SESSIONS: usize = 1000;

/// A row, as `--only` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RowName {
    Events,
    Acknowledged,
    Fanout,
    Calls,
    EventLatency,
    CallLatency,
    Across,
    Idle,
}

/// All of them, in the order of the table.
pub(super) fn all() -> impl Iterator<Item = RowName> {
    RowName::value_variants().iter().copied()
}

impl RowName {
    pub(super) fn title(self) -> &'static str {
        match self {
            RowName::Events => "events, 10 publishers to 10 subscribers, window 256",
            RowName::Acknowledged => "the same, acknowledged",
            RowName::Fanout => "an event for 500 subscribers, window 64: copies",
            RowName::Calls => "calls, 10 callers to 10 callees that echo, window 32",
            RowName::EventLatency => "10 pairs at 2,000 events/s",
            RowName::CallLatency => "one call after the other",
            RowName::Across => "across protocols, 10 pairs, over WebSockets: CPU of an event",
            RowName::Idle => "an idle session with one subscription",
        }
    }

    /// One run.
    pub(super) fn run(self, setup: &Setup) -> Result<Vec<Figure>, Error> {
        let pairs = Events::pairs(Wamp, Wamp);
        match self {
            RowName::Events => throughput(setup, |router| events::run(setup, router, pairs)),
            RowName::Acknowledged => {
                let acknowledged = Events { is_acknowledged: true, ..pairs };
                throughput(setup, |router| events::run(setup, router, acknowledged))
            }
            RowName::Fanout => {
                let fanout = Events { publishers: 1, subscribers: 500, window: 64, ..pairs };
                throughput(setup, |router| events::run(setup, router, fanout))
            }
            RowName::Calls => {
                throughput(setup, |router| calls::run(setup, router, Calls { pairs: 10, window: 32 }))
            }
            RowName::EventLatency => {
                let paced = Events { rate: Some(2000.0), ..pairs };
                latency(setup, |router| events::run(setup, router, paced))
            }
            RowName::CallLatency => {
                latency(setup, |router| calls::run(setup, router, Calls { pairs: 1, window: 1 }))
            }
            RowName::Across => across(setup),
            RowName::Idle => idle(setup),
        }
    }
}

impl fmt::Display for RowName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}

/// Each peer's figures and how many times better Weir's have to be.
struct Against {
    rate: &'static str,
    cpu: &'static str,
    rate_ratio: &'static str,
    cpu_ratio: &'static str,
    latency: [&'static str; 2],
    memory: &'static str,
    at_least: f64,
}

fn against(peer: &Peer) -> Against {
    match peer.name {
        PeerName::FoxWamp => Against {
            rate: "fox-wamp",
            cpu: "CPU",
            rate_ratio: "fox-wamp's rate",
            cpu_ratio: "of its CPU one part in",
            latency: ["fox-wamp p50", "p99"],
            memory: "fox-wamp",
            at_least: FOX_WAMP_MIN,
        },
        PeerName::Crossbar => Against {
            rate: "crossbar",
            cpu: "CPU",
            rate_ratio: "crossbar's rate",
            cpu_ratio: "of its CPU one part in",
            latency: ["crossbar p50", "p99"],
            memory: "crossbar",
            at_least: CROSSBAR_MIN,
        },
    }
}

/// Weir and its peers in turn, each as fast as it can.
fn throughput(
    setup: &Setup,
    load: impl Fn(&Router) -> Result<Measured, Error>,
) -> Result<Vec<Figure>, Error> {
    let weir = load(&Router::weir(setup)?)?;
    let mut figures = vec![
        Figure::new("weir", Unit::MessagesPerSecond, weir.per_second),
        Figure::new("CPU", Unit::MicrosecondsPerMessage, weir.cpu_us),
        Figure::new("generator", Unit::MicrosecondsPerMessage, weir.generator_us),
        Figure::new("p50", Unit::Seconds, weir.p50),
        Figure::new("p99", Unit::Seconds, weir.p99),
    ];
    let mut ratios = Vec::new();
    for peer in &setup.peers {
        let measured = load(&peer.start()?)?;
        let against = against(peer);
        figures.extend([
            Figure::new(against.rate, Unit::MessagesPerSecond, measured.per_second),
            Figure::new(against.cpu, Unit::MicrosecondsPerMessage, measured.cpu_us),
            Figure::new("p50", Unit::Seconds, measured.p50),
            Figure::new("p99", Unit::Seconds, measured.p99),
        ]);
        ratios.extend([
            Figure::ratio(against.rate_ratio, weir.per_second, measured.per_second)
                .at_least(against.at_least),
            Figure::ratio(against.cpu_ratio, measured.cpu_us, weir.cpu_us).at_least(against.at_least),
        ]);
    }
    figures.append(&mut ratios);
    Ok(figures)
}

fn latency(setup: &Setup, load: impl Fn(&Router) -> Result<Measured, Error>) -> Result<Vec<Figure>, Error> {
    let seconds = |[p50, p99]: [&'static str; 2], measured: Measured| {
        [Figure::new(p50, Unit::Seconds, measured.p50), Figure::new(p99, Unit::Seconds, measured.p99)]
    };
    let mut figures = Vec::from(seconds(["weir p50", "p99"], load(&Router::weir(setup)?)?));
    for peer in &setup.peers {
        figures.extend(seconds(against(peer).latency, load(&peer.start()?)?));
    }
    Ok(figures)
}

/// What it costs Weir that one end speaks MQTT.
fn across(setup: &Setup) -> Result<Vec<Figure>, Error> {
    let cpu = |from, to| -> Result<f64, Error> {
        Ok(events::run(setup, &Router::weir(setup)?, Events::pairs(from, to))?.cpu_us)
    };
    let (wamp, mqtt) = (cpu(Wamp, Wamp)?, cpu(Mqtt, Mqtt)?);
    let (in_, out) = (cpu(Mqtt, Wamp)?, cpu(Wamp, Mqtt)?);
    let us = |name, value| Figure::new(name, Unit::MicrosecondsPerMessage, value);
    Ok(vec![
        us("WAMP to WAMP", wamp),
        us("MQTT to MQTT", mqtt),
        us("MQTT to WAMP", in_),
        us("WAMP to MQTT", out),
        Figure::ratio("MQTT to WAMP", in_, wamp).at_most(ACROSS_MAX),
        Figure::ratio("WAMP to MQTT", out, wamp).at_most(ACROSS_MAX),
    ])
}

fn idle(setup: &Setup) -> Result<Vec<Figure>, Error> {
    let bytes = idle::run(&Router::weir(setup)?, setup.sessions)?;
    let mut figures = vec![Figure::new("weir", Unit::Bytes, bytes).at_most(SESSION_BYTES_MAX)];
    for peer in &setup.peers {
        let sessions = setup.sessions.min(PEER_SESSIONS);
        figures.push(Figure::new(against(peer).memory, Unit::Bytes, idle::run(&peer.start()?, sessions)?));
    }
    Ok(figures)
}
