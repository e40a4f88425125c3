//! What a binding allows one call, and what it gives its handler.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What one binding allows its handler.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Memory of one instance in bytes; at most what the node's configuration allows its class.
    pub memory_bytes: usize,
    /// CPU time of one call, to the millisecond.
    pub time: Duration,
    /// Time of one call by the clock on the wall: it also goes on while the call waits for kv or sleeps.
    pub wall_time: Duration,
    /// Events, or contributions of a `map`, of one call.
    pub outputs_max: usize,
    /// Bytes of all outputs of one call: topics, keys, payloads and properties.
    pub output_bytes_max: usize,
    /// Log lines of one call; more are dropped and counted.
    pub log_lines_max: usize,
    /// Bytes of all log lines of one call; a line that would go beyond is dropped and counted.
    pub log_bytes_max: usize,
    /// Reads and writes of kv in one call; one more gets `too-many`.
    pub kv_ops_max: u32,
    /// Bytes of one kv value; a larger one gets `too-large`.
    pub kv_value_bytes_max: usize,
    /// Bytes of all kv values read and written in one call; more gets `too-many`.
    pub kv_bytes_max: usize,
    /// Calls after which an instance is replaced by a fresh one. 0 = no limit.
    pub calls_per_instance: u64,
    /// Instances of the binding, and so its calls at one moment.
    pub instances_max: usize,
    /// How long a call waits for one of the binding's instances before it is [`crate::Failure::Busy`]. Middleware does
    /// not wait.
    pub wait: Duration,
    pub isolation: Isolation,
}

/// Whether a call may see what an earlier one left in the instance's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Isolation {
    /// An instance serves many calls: about 1 us a call.
    #[default]
    Reused,
    /// Every call gets a fresh instance: 20 times dearer.
    PerCall,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            memory_bytes: 16 << 20,
            time: Duration::from_millis(100),
            wall_time: Duration::from_secs(10),
            outputs_max: 1_000,
            output_bytes_max: 4 << 20,
            log_lines_max: 100,
            log_bytes_max: 64 << 10,
            kv_ops_max: 1_000,
            kv_value_bytes_max: 64 << 10,
            kv_bytes_max: 4 << 20,
            calls_per_instance: 100_000,
            instances_max: 16,
            wait: Duration::from_secs(1),
            isolation: Isolation::Reused,
        }
    }
}

impl Limits {
    /// The default for a program that [`crate::Program::is_large`]: a language runtime wants more of both.
    pub fn large() -> Limits {
        Limits {
            memory_bytes: 256 << 20,
            time: Duration::from_secs(1),
            instances_max: 4,
            ..Limits::default()
        }
    }
}

/// What a binding gives its handler.
#[derive(Clone, Default)]
pub struct Settings {
    pub limits: Limits,
    /// What `config.get` answers. There are secrets among it.
    pub config: Arc<HashMap<Box<str>, Box<str>>>,
}

/// The values are in no log, whoever prints what.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<&str> = self.config.keys().map(|name| &**name).collect();
        names.sort_unstable();
        f.debug_struct("Settings").field("limits", &self.limits).field("config", &names).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_print_the_names_of_secrets_and_never_their_values() {
        let config = HashMap::from([(Box::from("api_token"), Box::from("hunter2"))]);
        let text = format!("{:?}", Settings { limits: Limits::default(), config: Arc::new(config) });
        assert!(text.contains("api_token") && !text.contains("hunter2"), "{text}");
    }
}
