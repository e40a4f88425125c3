//! The `[access.accounts]` and `[access.scram]` sections.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The `[access.accounts]` section.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Accounts {
    /// The file with the accounts, which `weir account` writes.
    pub file: Option<PathBuf>,
}

/// The `[access.scram]` section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Scram {
    /// Whether accounts that have SCRAM keys may use the method `SCRAM-SHA-256`.
    pub enabled: bool,
    /// How often `weir account` hashes a password for the keys of SCRAM and of WAMP-CRA (at least 4096); each client does the same at every connect.
    pub iterations: u32,
}

impl Default for Scram {
    fn default() -> Self {
        Self { enabled: true, iterations: 15_000 }
    }
}
