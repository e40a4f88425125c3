//! What `weir bench` is asked to do.

use std::num::NonZeroU32;
use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand};
use weir_model::Qos;

use crate::cluster::ClusterArgs;
use crate::compare::CompareArgs;
use crate::handlers::HandlersArgs;
use crate::stream::StreamArgs;
use crate::wamp::WampArgs;

mod target;

pub(crate) use target::Role;
pub use target::{Spread, Target};

/// Measures an MQTT broker.
#[derive(Debug, Clone, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    pub scenario: Scenario,
}

/// What is measured.
#[derive(Debug, Clone, Subcommand)]
pub enum Scenario {
    /// How many connections a second the broker accepts
    Connect(ConnectArgs),
    /// What an idle connection with one subscription costs in memory (needs --pid)
    Idle(IdleArgs),
    /// Pairs of one publisher and one subscriber
    P2p(P2pArgs),
    /// One publisher, many subscribers
    Fanout(FanoutArgs),
    /// Many publishers, one subscriber
    Fanin(FaninArgs),
    /// QoS 1 messages for persistent sessions that are offline
    Durable(DurableArgs),
    /// Weir and other brokers in turn, as one table
    Compare(CompareArgs),
    /// Nodes of a cluster and the Redis they share, started for it: across nodes, through Redis, coming and going
    Cluster(ClusterArgs),
    /// Streams of a node started for it: captured, consumed, how late, and NATS JetStream beside it
    Stream(StreamArgs),
    /// Handlers of a node started for it: what a binding costs a message, and how soon a program answers
    Handlers(HandlersArgs),
    /// WAMP events, calls and sessions of a node started for it, and of fox-wamp and crossbar in turn
    Wamp(WampArgs),
}

/// What is sent, how fast and for how long.
#[derive(Debug, Clone, ClapArgs)]
pub struct Load {
    /// Quality of service of publishers and subscribers: 0, 1 or 2
    #[arg(long, default_value = "0", value_parser = qos)]
    pub qos: Qos,
    /// Payload size in bytes
    #[arg(long, default_value_t = 64)]
    pub size: usize,
    /// Messages a second of all publishers together; flat out when not given
    #[arg(long)]
    pub rate: Option<NonZeroU32>,
    /// Messages in one write; by default what fills 64 KiB, or with --rate what is due within 1 ms
    #[arg(long)]
    pub write_messages: Option<NonZeroU32>,
    /// QoS 1 and 2 messages in flight per publisher
    #[arg(long, default_value = "64", value_parser = clap::value_parser!(u16).range(1..=16_384))]
    pub window: u16,
    /// Seconds measured in each run
    #[arg(long, default_value = "5", value_parser = seconds)]
    pub duration: Duration,
    /// Seconds of load before the measurement
    #[arg(long, default_value = "1", value_parser = seconds)]
    pub warmup: Duration,
    /// Runs, of which the medians are reported
    #[arg(long, default_value = "1")]
    pub runs: NonZeroU32,
    /// First levels of all topics
    #[arg(long, default_value = "bench")]
    pub topic_prefix: String,
    /// Threads of the generator; paced runs always take 2
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub threads: u8,
}

/// Arguments of `connect`.
#[derive(Debug, Clone, ClapArgs)]
pub struct ConnectArgs {
    #[command(flatten)]
    pub target: Target,
    /// Connections being opened at the same time
    #[arg(long, default_value = "1")]
    pub parallel: NonZeroU32,
    /// Seconds measured in each run
    #[arg(long, default_value = "3", value_parser = seconds)]
    pub duration: Duration,
    /// Runs, of which the medians are reported
    #[arg(long, default_value = "1")]
    pub runs: NonZeroU32,
}

/// Arguments of `idle`.
#[derive(Debug, Clone, ClapArgs)]
pub struct IdleArgs {
    #[command(flatten)]
    pub target: Target,
    /// Connections to open
    #[arg(long, default_value = "5000")]
    pub connections: NonZeroU32,
    /// First levels of all topics
    #[arg(long, default_value = "bench")]
    pub topic_prefix: String,
}

/// Arguments of `p2p`.
#[derive(Debug, Clone, ClapArgs)]
pub struct P2pArgs {
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    pub load: Load,
    /// Pairs of one publisher and one subscriber
    #[arg(long, default_value = "10")]
    pub pairs: NonZeroU32,
}

/// Arguments of `fanout`.
#[derive(Debug, Clone, ClapArgs)]
pub struct FanoutArgs {
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    pub load: Load,
    /// Subscribers of the one topic
    #[arg(long, default_value = "500")]
    pub subscribers: NonZeroU32,
}

/// Arguments of `fanin`.
#[derive(Debug, Clone, ClapArgs)]
pub struct FaninArgs {
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    pub load: Load,
    /// Publishers, each with a topic of its own
    #[arg(long, default_value = "50")]
    pub publishers: NonZeroU32,
}

/// Arguments of `durable`. The QoS is 1.
#[derive(Debug, Clone, ClapArgs)]
pub struct DurableArgs {
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    pub load: Load,
    /// Publishers, spread over the sessions
    #[arg(long, default_value = "100")]
    pub publishers: NonZeroU32,
    /// Persistent sessions, each subscribed to a topic of its own and offline
    #[arg(long, default_value = "100")]
    pub sessions: NonZeroU32,
}

impl Args {
    /// Whether the report is wanted as JSON.
    pub fn json(&self) -> bool {
        match &self.scenario {
            Scenario::Connect(args) => args.target.json,
            Scenario::Idle(args) => args.target.json,
            Scenario::P2p(args) => args.target.json,
            Scenario::Fanout(args) => args.target.json,
            Scenario::Fanin(args) => args.target.json,
            Scenario::Durable(args) => args.target.json,
            Scenario::Compare(args) => args.json,
            Scenario::Cluster(args) => args.json,
            Scenario::Stream(args) => args.json,
            Scenario::Handlers(args) => args.json,
            Scenario::Wamp(args) => args.json,
        }
    }
}

fn qos(text: &str) -> Result<Qos, String> {
    let bits = text.parse().map_err(|_| "allowed are 0, 1 and 2".to_owned())?;
    Qos::from_bits(bits).ok_or_else(|| "allowed are 0, 1 and 2".to_owned())
}

/// Seconds with fractions, up to a day.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let allowed = "allowed are seconds from 0 to 86400, such as 5 or 0.5";
    let value: f64 = text.parse().map_err(|_| allowed.to_owned())?;
    if !(0.0..=86_400.0).contains(&value) {
        return Err(allowed.to_owned());
    }
    Ok(Duration::from_secs_f64(value))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use weir_wire::mqtt::Version;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Result<Scenario, clap::Error> {
        let words = std::iter::once("bench").chain(line.split_whitespace());
        Program::try_parse_from(words).map(|program| program.args.scenario)
    }

    #[test]
    fn a_bare_scenario_has_the_issues_defaults() {
        let Ok(Scenario::P2p(p2p)) = parse("p2p") else { panic!("p2p parses") };
        assert_eq!((p2p.pairs.get(), p2p.load.size, p2p.load.window), (10, 64, 64));
        assert_eq!((p2p.load.qos, p2p.load.rate), (Qos::AtMostOnce, None));
        assert!(p2p.target.clean);
        let Ok(Scenario::Fanout(fanout)) = parse("fanout") else { panic!("fanout parses") };
        assert_eq!(fanout.subscribers.get(), 500);
    }

    #[test]
    fn every_option_of_a_load_is_taken() {
        let line = "p2p --url ws://h:1/mqtt --pid 7 --qos 1 --size 10 --rate 20000 --write-messages 16 \
                    --window 8 --duration 0.5 --warmup 0 --runs 5 --version 5 --clean false --insecure --json";
        let Ok(Scenario::P2p(p2p)) = parse(line) else { panic!("the line parses") };
        assert_eq!(p2p.target.version, Version::V5);
        assert_eq!(p2p.load.duration, Duration::from_millis(500));
        assert_eq!(p2p.load.write_messages.map(NonZeroU32::get), Some(16));
        assert!(p2p.target.json && !p2p.target.clean);
        assert_eq!((p2p.target.urls.len(), p2p.target.pids), (1, vec![7]));
    }

    #[test]
    fn several_brokers_are_said_one_after_the_other() {
        let line = "p2p --url mqtt://a:1 --url mqtt://b:2 --pid 1 --pid 2 --spread publishers-first";
        let Ok(Scenario::P2p(p2p)) = parse(line) else { panic!("the line parses") };
        let urls: Vec<&str> = p2p.target.urls.iter().map(url::Url::as_str).collect();
        assert_eq!(urls, ["mqtt://a:1", "mqtt://b:2"]);
        assert_eq!((p2p.target.pids, p2p.target.spread), (vec![1, 2], Spread::PublishersFirst));
    }

    #[test]
    fn values_out_of_range_are_refused_with_what_is_allowed() {
        for (line, allowed) in [
            ("p2p --qos 3", "0, 1 and 2"),
            ("p2p --version 4", "3 (3.1.1), 3.1 and 5"),
            ("p2p --duration 1e9", "0 to 86400"),
            ("p2p --duration soon", "0 to 86400"),
            ("p2p --window 0", "1..=16384"),
            ("compare --peers rabbit", "mosquitto"),
            ("p2p --spread everywhere", "round-robin"),
            ("cluster --only speed", "interest"),
            ("stream --only speed", "jetstream"),
            ("stream --size 7", "8..=65536"),
            ("wamp --peer autobahn", "crossbar"),
        ] {
            let refused = parse(line).expect_err(line).to_string();
            assert!(refused.contains(allowed), "{line}: {refused}");
        }
        assert!(parse("p2p --runs 0").is_err());
    }
}
