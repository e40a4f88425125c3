//! The `[cluster]` section of the configuration.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How nodes find each other and how soon one counts as dead.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The name of the cluster; nodes of another one are refused.
    pub id: String,
    /// Peers to join, each as host:port of its peer listener; names are resolved again and again, and any one of them that answers is enough.
    pub join: Vec<String>,
    /// The address, as host:port, that peers reach this node at; left out, the address it listens at, with the outgoing one in place of 0.0.0.0.
    pub advertise: Option<String>,
    /// PEM file with the cluster's authority, or with several of which each is believed; without it this node makes its own in its data directory, and other nodes need the same one to join.
    pub ca: Option<PathBuf>,
    /// PEM file with this node's certificate, issued by the authority for its name; `weir cluster init` makes it.
    pub certificate: Option<PathBuf>,
    /// PEM file with the private key of the certificate.
    pub key: Option<PathBuf>,
    /// Seconds between looks at these three files; a change holds for new connections with peers, those that stand stay, and what cannot be used is reported while the old stays. 0 = only when told to.
    pub reload_seconds: u64,
    /// Milliseconds between two rounds of gossip.
    pub gossip_interval_ms: u64,
    /// Times the usual pause between signs of life after which a silent node is suspected.
    pub phi_threshold: f64,
    /// Milliseconds taken as the usual pause until enough signs of life have been seen.
    pub initial_interval_ms: u64,
    /// Milliseconds a node stays suspected, and a member, before it counts as dead; a sign of life ends the suspicion.
    pub suspicion_ms: u64,
    /// Seconds a dead node is remembered and called, so that the halves of a split find each other again.
    pub dead_grace_seconds: u64,
    /// Milliseconds between two looks at `join`; half a second while nobody has been found.
    pub join_interval_ms: u64,
    /// Seconds a starting node waits for a link to every live node and for what it has missed; then it serves with what it has, and says so.
    pub start_wait_seconds: u64,
    /// The host that MQTT 5 clients of a draining node are told for this one (server reference); left out, the address of the listener, or the one that peers know in place of 0.0.0.0.
    pub client_host: Option<String>,
    /// Clients that a draining node sends elsewhere per second. 0 = no limit.
    pub drain_per_second: u32,
    /// The links between nodes.
    pub link: crate::link::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            id: "weir".to_owned(),
            join: Vec::new(),
            advertise: None,
            ca: None,
            certificate: None,
            key: None,
            reload_seconds: 5,
            gossip_interval_ms: 100,
            phi_threshold: 8.0,
            initial_interval_ms: 200,
            suspicion_ms: 400,
            dead_grace_seconds: 600,
            join_interval_ms: 5_000,
            start_wait_seconds: 10,
            client_host: None,
            drain_per_second: 1_000,
            link: crate::link::Config::default(),
        }
    }
}
