//! The contract suite over the backends of one process.

use std::sync::Arc;

use weir_model::UnixMillis;
use weir_store::{Config, SharedMemory, Store, suite};

/// Each promise about limits as a test of each backend with the policy it is about.
macro_rules! limits {
    ($($policy:ident { $($promise:ident),* $(,)? })*) => {
        mod limits_of_memory {
            $($(#[test] fn $promise() {
                weir_store::suite::$promise(&|| {
                    let config = weir_store::suite::limited("memory", weir_store::QueueFull::$policy);
                    weir_store::open(&config, std::path::Path::new("unused")).unwrap().0
                });
            })*)*
        }
        mod limits_of_shared_memory {
            $($(#[test] fn $promise() {
                weir_store::suite::$promise(&|| {
                    let config = weir_store::suite::limited("memory", weir_store::QueueFull::$policy);
                    super::shared_memory(&config).node(weir_store::suite::node("a", 1))
                });
            })*)*
        }
        mod limits_of_embedded {
            $($(#[test] fn $promise() {
                let dir = tempfile::tempdir().unwrap();
                weir_store::suite::$promise(&|| {
                    let config = weir_store::suite::limited("embedded", weir_store::QueueFull::$policy);
                    weir_store::open(&config, dir.path()).unwrap().0
                });
            })*)*
        }
    };
}

/// Each promise about nodes that share a store as a test of each backend that they can share, with claims
/// that last as long as the promise says.
macro_rules! shared {
    ($($claim_ms:literal { $($promise:ident),* $(,)? })*) => {
        mod shared_by_nodes_of_memory {
            $($(#[test] fn $promise() {
                let shared = super::shared_memory(&weir_store::suite::shared("memory", $claim_ms));
                weir_store::suite::$promise(&|node| shared.node(node));
            })*)*
        }
    };
}

/// Each promise as a test of each backend.
macro_rules! promises {
    ($($promise:ident),* $(,)?) => {
        mod memory {
            $(#[test] fn $promise() { weir_store::suite::$promise(&super::memory); })*
        }
        mod shared_memory {
            $(#[test] fn $promise() { weir_store::suite::$promise(&super::one_of_shared_memory); })*
        }
        mod embedded {
            $(#[test] fn $promise() {
                let dir = tempfile::tempdir().unwrap();
                weir_store::suite::$promise(&|| super::embedded(dir.path(), u64::MAX));
            })*
        }
        mod embedded_with_a_checkpoint_after_every_group {
            $(#[test] fn $promise() {
                let dir = tempfile::tempdir().unwrap();
                weir_store::suite::$promise(&|| super::embedded(dir.path(), 1));
            })*
        }
    };
}

fn memory() -> Arc<dyn Store> {
    weir_store::open(&suite::config("memory"), std::path::Path::new("unused")).unwrap().0
}

fn shared_memory(config: &Config) -> SharedMemory {
    SharedMemory::new(config, Arc::new(|| UnixMillis::from(std::time::SystemTime::now())))
}

fn one_of_shared_memory() -> Arc<dyn Store> {
    shared_memory(&suite::config("memory")).node(suite::node("a", 1))
}

fn embedded(dir: &std::path::Path, log_bytes_max: u64) -> Arc<dyn Store> {
    let config = Config { log_bytes_max, ..suite::config("embedded") };
    weir_store::open(&config, dir).unwrap().0
}

weir_store::each_promise!(promises);
weir_store::each_limit!(limits);
weir_store::each_shared_promise!(shared);
