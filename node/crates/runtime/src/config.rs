//! The `[runtime]` section of the configuration: what an upload may be, and what all handlers of the node share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What an upload may be, and what all handlers of the node share.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Bytes of one upload; a larger one is refused.
    pub upload_bytes_max: usize,
    /// Functions of one upload, all its modules together; one with more is refused before it is compiled.
    pub functions_max: usize,
    /// Bytes of one function; an upload with a larger one is refused before it is compiled.
    pub function_bytes_max: usize,
    /// Exports of one upload, all its modules together; one with more is refused before it is compiled.
    pub exports_max: usize,
    /// Whether a large program is compiled on all cores, as small ones are for a tenth of a second; otherwise on one, and the traffic keeps the others.
    pub compile_parallel: bool,
    /// Milliseconds of CPU time that an upload's start function has when it is tried; one that takes longer is refused.
    pub start_timeout_ms: u64,
    /// Bytes of compiled code kept on disk; beyond it what was not used for longest goes. 0 = no limit.
    pub cache_bytes_max: u64,
    /// Bytes of memory of all instances together; an instance that wants more is told there is none. 0 = no limit.
    pub memory_bytes_max: usize,
    /// Handlers as Rust, C or Zig make them.
    pub small: Small,
    /// Handlers with a language runtime inside (Python, JavaScript), and all that import WASI.
    pub large: Large,
}

/// Handlers as Rust, C or Zig make them.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Small {
    /// Instances of this class that live at once, idle ones included; for one more, an idle one of another handler goes, and if there is none the call is refused as busy.
    pub instances_max: u32,
    /// The most memory in bytes that a binding may allow one instance of this class.
    pub instance_memory_bytes_max: usize,
}

/// Handlers with a language runtime inside, and all that import WASI.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Large {
    /// Instances of this class that live at once, idle ones included; for one more, an idle one of another handler goes, and if there is none the call is refused as busy.
    pub instances_max: u32,
    /// The most memory in bytes that a binding may allow one instance of this class.
    pub instance_memory_bytes_max: usize,
}

/// What handlers of one class share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shared {
    pub instances_max: u32,
    pub instance_memory_bytes_max: usize,
}

impl Default for Small {
    fn default() -> Small {
        Small { instances_max: 1_000, instance_memory_bytes_max: 64 << 20 }
    }
}

impl Default for Large {
    fn default() -> Large {
        Large { instances_max: 32, instance_memory_bytes_max: 512 << 20 }
    }
}

impl Config {
    pub(crate) fn of_small(&self) -> Shared {
        let Small { instances_max, instance_memory_bytes_max } = self.small;
        Shared { instances_max, instance_memory_bytes_max }
    }

    pub(crate) fn of_large(&self) -> Shared {
        let Large { instances_max, instance_memory_bytes_max } = self.large;
        Shared { instances_max, instance_memory_bytes_max }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            upload_bytes_max: 64 << 20,
            functions_max: 200_000,
            function_bytes_max: 1 << 20,
            exports_max: 50_000,
            compile_parallel: false,
            start_timeout_ms: 1_000,
            cache_bytes_max: 1 << 30,
            memory_bytes_max: 2 << 30,
            small: Small::default(),
            large: Large::default(),
        }
    }
}
