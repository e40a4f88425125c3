//! How fast: messages across two nodes, into one stream, to sessions that are away, from one publisher.

use std::num::NonZeroU32;
use std::process::Command;
use std::time::Duration;

use weir_model::Qos;

use super::nodes::Nodes;
use super::{Figure, Setup, Unit};
use crate::args::{DurableArgs, Load, P2pArgs, Scenario, Spread, Target};
use crate::compare::{Kind, Peer, PeerName};
use crate::redis::Redis;
use crate::report::Measurement;
use crate::{Error, local, scenario};

/// Pairs of one publisher and one subscriber.
const PAIRS: u32 = 10;

impl Setup {
    fn load(&self, qos: Qos) -> Load {
        let (seconds, warmup) = if self.is_quick { (1, 300) } else { (5, 1000) };
        Load {
            qos,
            size: self.size,
            rate: None,
            write_messages: None,
            window: 64,
            duration: Duration::from_secs(seconds),
            warmup: Duration::from_millis(warmup),
            runs: NonZeroU32::MIN,
            topic_prefix: "bench".to_owned(),
            threads: 2,
        }
    }

    fn seconds(&self) -> u64 {
        self.load(Qos::AtMostOnce).duration.as_secs()
    }

    /// Enough for a few seconds of redis-benchmark.
    fn entries(&self) -> u32 {
        if self.is_quick { 100_000 } else { 2_000_000 }
    }

    fn p2p(&self, target: Target, qos: Qos, pairs: u32) -> Result<Measurement, Error> {
        let pairs = NonZeroU32::new(pairs).unwrap_or(NonZeroU32::MIN);
        scenario::once(&Scenario::P2p(P2pArgs { target, load: self.load(qos), pairs }))
    }

    fn durable(&self, target: Target, sessions: NonZeroU32) -> Result<Measurement, Error> {
        let load = self.load(Qos::AtLeastOnce);
        let args = DurableArgs { target, load, publishers: sessions, sessions };
        result(scenario::once(&Scenario::Durable(args))?)
    }
}

/// Publishers on one node, subscribers on the other, against a node alone on a Redis of its own.
pub(super) fn across(setup: &Setup) -> Result<Vec<Figure>, Error> {
    let alone = on_nodes(1, setup, |target| setup.p2p(target, Qos::AtMostOnce, PAIRS))?;
    let across = on_nodes(2, setup, |target| setup.p2p(target, Qos::AtMostOnce, PAIRS))?;
    let cpu = |run: &Measurement| run.server_cpu_us_per_message.unwrap_or_default();
    Ok(vec![
        Figure::new("one node", Unit::MessagesPerSecond, rate(&alone)),
        Figure::new("CPU", Unit::MicrosecondsPerMessage, cpu(&alone)),
        Figure::new("two nodes", Unit::MessagesPerSecond, rate(&across)),
        Figure::new("CPU", Unit::MicrosecondsPerMessage, cpu(&across)),
        Figure::ratio("CPU", cpu(&across), cpu(&alone)).at_most(1.6),
        Figure::new("lost", Unit::Percent, across.lost_percent).at_most(crate::report::LOST_PERCENT_MAX),
    ])
}

/// The store without a broker before it, in a process of its own.
pub(super) fn append(setup: &Setup) -> Result<Vec<Figure>, Error> {
    let redis = Redis::start()?;
    let peak = redis.xadd_rate(setup.size, setup.entries())?;
    let mut command = Command::new(&setup.program);
    command.args(["bench", "store", "--json", "--url", &redis.url(), "--size", &setup.size.to_string()]);
    let told = local::output(command.args(["--duration", &setup.seconds().to_string()]))?;
    let rate = number(&told, "records_per_second");
    let rate = rate.ok_or(Error::NoFigure { program: "weir bench store", field: "records_per_second" })?;
    Ok(vec![
        Figure::new("store", Unit::MessagesPerSecond, rate),
        Figure::new("redis-benchmark", Unit::MessagesPerSecond, peak),
        Figure::ratio("of it", rate, peak).at_least(0.6),
    ])
}

/// As many publishers as offline sessions, on one node.
pub(super) fn offline(setup: &Setup) -> Result<Vec<Figure>, Error> {
    let redis = Redis::start()?;
    let peak = redis.xadd_rate(setup.size, setup.entries())?;
    let nodes = Nodes::start(setup, &redis, 1)?;
    let run = setup.durable(Target::of(nodes.urls()?, nodes.pids()), setup.sessions)?;
    Ok(vec![
        Figure::new("acknowledged", Unit::MessagesPerSecond, rate(&run)),
        Figure::new("redis-benchmark", Unit::MessagesPerSecond, peak),
        Figure::ratio("of it", rate(&run), peak).at_least(0.35),
    ])
}

/// To one persistent session, away and connected, against one pair of mosquitto's.
pub(super) fn publisher(setup: &Setup) -> Result<Vec<Figure>, Error> {
    let away = on_nodes(1, setup, |target| setup.durable(target, NonZeroU32::MIN))?;
    let connected = on_nodes(1, setup, |target| {
        result(setup.p2p(Target { clean: false, ..target }, Qos::AtLeastOnce, 1)?)
    })?;
    let kind = Kind::find(PeerName::Mosquitto).ok_or(Error::NotInstalled { program: "mosquitto" })?;
    let peer = Peer::start(&kind)?;
    let url = peer.url("mqtt").ok_or(Error::NoAddress)?;
    let base = result(setup.p2p(Target::of(vec![url], vec![peer.pid()]), Qos::AtLeastOnce, 1)?)?;
    Ok(vec![
        Figure::new("subscriber away", Unit::MessagesPerSecond, rate(&away)),
        Figure::new("connected", Unit::MessagesPerSecond, rate(&connected)),
        Figure::new("mosquitto", Unit::MessagesPerSecond, rate(&base)),
        Figure::ratio("away", rate(&away), rate(&base)).at_least(4.0),
        Figure::ratio("connected", rate(&connected), rate(&base)).at_least(4.0),
    ])
}

fn on_nodes(
    count: usize,
    setup: &Setup,
    measure: impl FnOnce(Target) -> Result<Measurement, Error>,
) -> Result<Measurement, Error> {
    let redis = Redis::start()?;
    let nodes = Nodes::start(setup, &redis, count)?;
    let target = Target::of(nodes.urls()?, nodes.pids());
    measure(Target { spread: Spread::PublishersFirst, ..target })
}

fn rate(run: &Measurement) -> f64 {
    run.delivered_per_second.unwrap_or_default()
}

fn result(run: Measurement) -> Result<Measurement, Error> {
    if run.is_result {
        Ok(run)
    } else {
        Err(Error::NotAResult { figures: run.to_string().trim().to_owned() })
    }
}

/// A number of a flat JSON object.
fn number(json: &str, field: &str) -> Option<f64> {
    let (_, rest) = json.split_once(&format!("\"{field}\":"))?;
    rest.split([',', '}']).next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_in_a_report_of_the_store() {
        let json = "{\"batch\":16,\"records_per_second\":123456.5,\"payload_bytes\":64}";
        assert_eq!(number(json, "records_per_second"), Some(123_456.5));
        assert_eq!(number(json, "payload_bytes"), Some(64.0));
        assert_eq!(number(json, "seconds"), None);
    }
}
