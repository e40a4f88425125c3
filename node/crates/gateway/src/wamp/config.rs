//! The `[gateway.wamp]` section: what a WAMP session may cost and ask.

use serde::{Deserialize, Serialize};

/// Limits of WAMP.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Most bytes of a message from a client, at most 16777215; a longer one ends the session. RawSocket clients are told
    /// the next lower power of two.
    pub message_bytes_max: usize,
    /// How deep lists and maps of a message may stand in each other; deeper ends the session.
    pub depth_max: usize,
    /// Most values of a message, keys and everything nested counted; more ends the session.
    pub items_max: usize,
    /// Whether URIs of clients may have only 0-9, a-z and _ in their components; else all but white space and `#`.
    pub strict_uris: bool,
    /// The realms there are; others are refused. Empty = any with a valid name, up to `realms_max`.
    pub realms: Vec<String>,
    /// Most realms of a node that clients may bring into being by naming them; 0 = no limit.
    pub realms_max: usize,
    /// Most testaments that a session may leave; one more is refused.
    pub testaments_max: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            message_bytes_max: 1 << 20,
            depth_max: 64,
            items_max: 100_000,
            strict_uris: false,
            realms: Vec::new(),
            realms_max: 1000,
            testaments_max: 100,
        }
    }
}

impl Config {
    /// What the codec checks.
    pub fn limits(&self) -> weir_wire::wamp::Limits {
        weir_wire::wamp::Limits {
            message_bytes_max: self.message_bytes_max,
            depth_max: self.depth_max,
            items_max: self.items_max,
        }
    }
}
