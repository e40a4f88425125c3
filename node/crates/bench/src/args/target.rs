//! The broker, or the nodes of one, and how to reach them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, ValueEnum};
use url::Url;
use weir_net::client::ClientOptions;
use weir_wire::mqtt::Version;

use super::seconds;
use crate::client;
use crate::process::Processes;

/// Where the broker is, as whom to connect, and what to read of its processes.
#[derive(Debug, Clone, ClapArgs)]
pub struct Target {
    /// Address of the broker: mqtt://, mqtts://, ws://, wss:// or quic://; several times for a cluster
    #[arg(long = "url", value_name = "URL", default_value = "mqtt://127.0.0.1:1883")]
    pub urls: Vec<Url>,
    /// Which client goes to which of several addresses
    #[arg(long, value_enum, default_value_t = Spread::RoundRobin)]
    pub spread: Spread,
    /// Process id of the broker on this machine, to read its CPU time and memory; those of several are summed
    #[arg(long = "pid", value_name = "PID")]
    pub pids: Vec<u32>,
    /// MQTT version: 3 (3.1.1) or 5
    #[arg(long = "mqtt-version", visible_alias = "version", default_value = "3", value_parser = version)]
    pub version: Version,
    /// Start with a clean session
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub clean: bool,
    /// User name to connect with
    #[arg(long)]
    pub username: Option<String>,
    /// Password to connect with
    #[arg(long)]
    pub password: Option<String>,
    /// PEM file of the authorities to trust
    #[arg(long)]
    pub ca_file: Option<PathBuf>,
    /// Do not check the broker's certificate
    #[arg(long)]
    pub insecure: bool,
    /// Longest wait for a connection or an answer, in seconds
    #[arg(long = "timeout", default_value = "10", value_parser = seconds)]
    pub timeout: Duration,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
    /// How long the sessions of an MQTT 5 run outlive their connections.
    #[arg(skip)]
    pub(crate) session_expiry_seconds: Option<u32>,
}

/// How clients are spread over several addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Spread {
    /// The clients of each kind take turns; a subscriber is always one address behind its publisher
    RoundRobin,
    /// All publishers on the first address, the subscribers in turn on the others
    PublishersFirst,
}

/// What a client of the bench does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Publisher,
    Subscriber,
}

impl Target {
    /// Brokers started for a measurement: MQTT 3.1.1, clean sessions, certificates made a moment ago.
    pub(crate) fn of(urls: Vec<Url>, pids: Vec<u32>) -> Target {
        Target {
            urls,
            spread: Spread::RoundRobin,
            pids,
            version: Version::V311,
            clean: true,
            username: None,
            password: None,
            ca_file: None,
            insecure: true,
            timeout: Duration::from_secs(20),
            json: false,
            session_expiry_seconds: None,
        }
    }

    /// Which of the addresses the `index`-th client of a role connects to.
    pub(crate) fn place(&self, role: Role, index: usize) -> usize {
        let count = self.urls.len().max(1);
        match (self.spread, role) {
            (_, _) if count == 1 => 0,
            (Spread::RoundRobin, Role::Publisher) => index % count,
            (Spread::RoundRobin, Role::Subscriber) => (index + 1) % count,
            (Spread::PublishersFirst, Role::Publisher) => 0,
            (Spread::PublishersFirst, Role::Subscriber) => 1 + index % (count - 1),
        }
    }

    /// The address of that place.
    ///
    /// # Errors
    ///
    /// There is no address at all.
    pub(crate) fn url(&self, role: Role, index: usize) -> Result<&Url, crate::Error> {
        self.urls.get(self.place(role, index)).ok_or(crate::Error::NoAddress)
    }

    /// The broker's processes, if any were named.
    pub(crate) fn servers(&self) -> Option<Processes> {
        (!self.pids.is_empty()).then(|| Processes::of(&self.pids))
    }

    /// How a client of the bench introduces itself.
    pub(crate) fn client(&self, client_id: String) -> client::Options {
        client::Options {
            version: self.version,
            client_id,
            clean_start: self.clean,
            session_expiry_seconds: self.session_expiry_seconds,
            keep_alive_seconds: 0,
            username: self.username.clone(),
            password: self.password.clone().map(String::into_bytes),
            timeout: self.timeout,
            transport: ClientOptions {
                ca_file: self.ca_file.clone(),
                insecure: self.insecure,
                ..ClientOptions::default()
            },
            ..client::Options::default()
        }
    }

    /// All addresses, for people.
    pub(crate) fn addresses(&self) -> String {
        self.urls.iter().map(Url::as_str).collect::<Vec<_>>().join(", ")
    }
}

fn version(text: &str) -> Result<Version, String> {
    match text {
        "3" | "3.1.1" => Ok(Version::V311),
        "3.1" => Ok(Version::V31),
        "5" => Ok(Version::V5),
        _ => Err("allowed are 3 (3.1.1), 3.1 and 5".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(addresses: usize, spread: Spread) -> Target {
        let url = |at: usize| Url::parse(&format!("mqtt://127.0.0.1:{}", 1883 + at)).expect("a URL");
        Target { spread, ..Target::of((0..addresses).map(url).collect(), Vec::new()) }
    }

    fn places(target: &Target, role: Role) -> Vec<usize> {
        (0..5).map(|index| target.place(role, index)).collect()
    }

    #[test]
    fn a_publisher_and_its_subscriber_are_never_on_the_same_of_several_addresses() {
        for (addresses, spread) in [
            (2, Spread::RoundRobin),
            (3, Spread::RoundRobin),
            (2, Spread::PublishersFirst),
            (5, Spread::PublishersFirst),
        ] {
            let target = target(addresses, spread);
            let (publishers, subscribers) =
                (places(&target, Role::Publisher), places(&target, Role::Subscriber));
            let apart = publishers.iter().zip(&subscribers).all(|(one, other)| one != other);
            assert!(apart, "{addresses} {spread:?}: {publishers:?} {subscribers:?}");
        }
    }

    #[test]
    fn every_address_has_its_turn() {
        let turns = target(3, Spread::RoundRobin);
        assert_eq!(places(&turns, Role::Publisher), [0, 1, 2, 0, 1]);
        assert_eq!(places(&turns, Role::Subscriber), [1, 2, 0, 1, 2]);
        let first = target(3, Spread::PublishersFirst);
        assert_eq!(places(&first, Role::Publisher), [0; 5]);
        assert_eq!(places(&first, Role::Subscriber), [1, 2, 1, 2, 1]);
    }

    #[test]
    fn one_address_takes_everybody() {
        for spread in [Spread::RoundRobin, Spread::PublishersFirst] {
            let target = target(1, spread);
            assert_eq!(places(&target, Role::Publisher), places(&target, Role::Subscriber));
        }
    }
}
