//! What the contract lets a guest call: kv, log, config, clock, random.

use ring::digest::{Context, SHA256};
use ring::rand::{SecureRandom, SystemRandom};

use bytes::Bytes;

use super::{Guest, Served};
use crate::bindings::command::weir::handler::{clock, config, kv, log, random, types};
use crate::bindings::merging::weir::handler::reduction;
use crate::bindings::middleware::weir::handler::hooks;
use crate::limits::Limits;
use crate::outcome::{Level, LogLine};

/// Longest name of a kv value in bytes.
const KV_NAME_BYTES_MAX: usize = 256;

/// The most random bytes at once.
const RANDOM_BYTES_MAX: u32 = 64 << 10;

impl types::Host for Guest {}
impl reduction::Host for Guest {}
impl hooks::Host for Guest {}

impl Served {
    /// Accounts one operation with `bytes` of value.
    fn spend(&mut self, limits: &Limits, name: &str, bytes: usize) -> Result<(), kv::Error> {
        if name.is_empty() || name.len() > KV_NAME_BYTES_MAX || bytes > limits.kv_value_bytes_max {
            return Err(kv::Error::TooLarge);
        }
        if self.kv_ops >= limits.kv_ops_max || self.kv_bytes.saturating_add(bytes) > limits.kv_bytes_max {
            return Err(kv::Error::TooMany);
        }
        self.kv_ops += 1;
        self.kv_bytes += bytes;
        Ok(())
    }
}

impl kv::Host for Guest {
    async fn get(&mut self, name: String) -> Result<Option<Vec<u8>>, kv::Error> {
        let limits = &self.settings.limits;
        self.served.spend(limits, &name, 0)?;
        let value = match self.served.writes.get(&*name) {
            Some(written) => written.clone(),
            None => {
                let host = self.served.host.as_ref().ok_or(kv::Error::Unavailable)?;
                host.read(&self.served.key, &name).await.map_err(|_away| kv::Error::Unavailable)?
            }
        };
        let bytes = value.as_ref().map_or(0, Bytes::len);
        self.served.kv_bytes = self.served.kv_bytes.saturating_add(bytes);
        if self.served.kv_bytes > limits.kv_bytes_max {
            return Err(kv::Error::TooMany);
        }
        Ok(value.map(Vec::from))
    }

    fn set(&mut self, name: String, value: Vec<u8>) -> Result<(), kv::Error> {
        self.served.spend(&self.settings.limits, &name, value.len())?;
        self.served.writes.insert(name.into(), Some(value.into()));
        Ok(())
    }

    fn delete(&mut self, name: String) -> Result<(), kv::Error> {
        self.served.spend(&self.settings.limits, &name, 0)?;
        self.served.writes.insert(name.into(), None);
        Ok(())
    }
}

impl log::Host for Guest {
    fn write(&mut self, level: log::Level, text: String) {
        let limits = &self.settings.limits;
        let served = &mut self.served;
        let bytes = served.log_bytes.saturating_add(text.len());
        if served.log.len() >= limits.log_lines_max || bytes > limits.log_bytes_max {
            served.log_dropped = served.log_dropped.saturating_add(1);
            return;
        }
        served.log_bytes = bytes;
        served.log.push(LogLine { level: level.into(), text });
    }
}

impl config::Host for Guest {
    fn get(&mut self, name: String) -> Option<String> {
        self.settings.config.get(&*name).map(|value| value.to_string())
    }
}

impl clock::Host for Guest {
    fn now(&mut self) -> u64 {
        self.served.now.0
    }
}

impl random::Host for Guest {
    fn bytes(&mut self, count: u32) -> wasmtime::Result<Vec<u8>> {
        if count > RANDOM_BYTES_MAX {
            wasmtime::bail!("random.bytes: {count} at once, at most {RANDOM_BYTES_MAX} are given");
        }
        let mut bytes = vec![0; count as usize];
        match self.served.seed {
            Some(seed) => self.served.drawn = seeded(seed, self.served.drawn, &mut bytes),
            None => SystemRandom::new().fill(&mut bytes).map_err(|_| wasmtime::format_err!("no random"))?,
        }
        Ok(bytes)
    }
}

/// Fills `out` with the blocks `drawn..` that follow from `seed`; says which is the next one.
pub(super) fn seeded(seed: (u64, u64), drawn: u64, out: &mut [u8]) -> u64 {
    let mut block = drawn;
    for chunk in out.chunks_mut(32) {
        let mut context = Context::new(&SHA256);
        context.update(b"weir:handler/random");
        for part in [seed.0, seed.1, block] {
            context.update(&part.to_le_bytes());
        }
        chunk.copy_from_slice(&context.finish().as_ref()[..chunk.len()]);
        block += 1;
    }
    block
}

impl From<log::Level> for Level {
    fn from(level: log::Level) -> Level {
        match level {
            log::Level::Trace => Level::Trace,
            log::Level::Debug => Level::Debug,
            log::Level::Info => Level::Info,
            log::Level::Warn => Level::Warn,
            log::Level::Error => Level::Error,
        }
    }
}
