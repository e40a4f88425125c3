//! What must outlive a node: the contract and its backends.

use std::path::Path;
use std::sync::Arc;

mod account;
pub mod canary;
mod clock;
mod config;
pub mod contract;
mod counters;
mod embedded;
pub mod fault;
mod memory;
pub mod metrics;
mod page;
mod recovery;
pub mod redis;
mod row;
mod state;
#[cfg(any(test, feature = "suite"))]
pub mod suite;
mod sweep;

pub use clock::WallClock;
pub use config::{Config, QueueFull};
pub use contract::*;
pub use embedded::{EmbeddedSource, EmbeddedTarget, Probe, Room, raw_append_rate};
pub use memory::SharedMemory;
pub use recovery::{Damage, OpenError, Recovery, Torn};

/// Opens the store that the config names. `embedded` keeps its files in `data_dir` (made when
/// missing) and takes it for this process alone. Blocking: it reads back what was kept.
pub fn open(config: &Config, data_dir: &Path) -> Result<(Arc<dyn Store>, Recovery), OpenError> {
    open_with_clock(config, data_dir, clock::wall_clock())
}

/// Opens the store with another wall clock: for tests of one that is set back or forth.
pub fn open_with_clock(
    config: &Config,
    data_dir: &Path,
    wall: WallClock,
) -> Result<(Arc<dyn Store>, Recovery), OpenError> {
    match config.url.as_str() {
        "memory" => Ok((Arc::new(memory::Memory::new(config, wall)), Recovery::default())),
        "embedded" => open_embedded(config, data_dir, None, &wall),
        url => Err(OpenError::UnknownUrl { url: url.to_owned() }),
    }
}

/// Opens the embedded store with another way to ask for free disk space: for tests of a full disk.
pub fn open_embedded_with(
    config: &Config,
    data_dir: &Path,
    probe: Probe,
) -> Result<(Arc<dyn Store>, Recovery), OpenError> {
    open_embedded(config, data_dir, Some(probe), &clock::wall_clock())
}

fn open_embedded(
    config: &Config,
    data_dir: &Path,
    probe: Option<Probe>,
    wall: &WallClock,
) -> Result<(Arc<dyn Store>, Recovery), OpenError> {
    let level = config.level.or(Level::Fsynced);
    if level.is_replicated() {
        return Err(OpenError::Level { asked: level });
    }
    let (store, recovery) = embedded::Embedded::open(config, data_dir, probe, wall)?;
    Ok((Arc::new(store), recovery))
}
