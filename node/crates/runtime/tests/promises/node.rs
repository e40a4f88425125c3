//! A runtime for one test, and calls of its handlers.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use weir_model::UnixMillis;
use weir_runtime::{Away, Call, Config, Host, Large, Limits, Pool, Program, Runtime, Settings, Small};

/// Small pools: a hundred tests map memory at once.
pub fn config() -> Config {
    Config {
        small: Small { instances_max: 20, instance_memory_bytes_max: 64 << 20 },
        large: Large { instances_max: 4, instance_memory_bytes_max: 256 << 20 },
        ..Config::default()
    }
}

pub fn start() -> Arc<Runtime> {
    Runtime::start(&config(), None).unwrap()
}

pub async fn pool(guest: Bytes, limits: Limits) -> (Arc<Runtime>, Pool) {
    pool_with(guest, limits, &[]).await
}

pub async fn pool_with(guest: Bytes, limits: Limits, config: &[(&str, &str)]) -> (Arc<Runtime>, Pool) {
    let runtime = start();
    let program = runtime.prepare(guest).await.unwrap();
    let pool = pool_of(&runtime, &program, limits, config);
    (runtime, pool)
}

pub fn pool_of(
    runtime: &Arc<Runtime>,
    program: &Arc<Program>,
    limits: Limits,
    config: &[(&str, &str)],
) -> Pool {
    let config: HashMap<Box<str>, Box<str>> =
        config.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Pool::new(runtime, program, Settings { limits, config: Arc::new(config) })
}

pub fn message(payload: &[u8]) -> Call<'_> {
    Call {
        topic: "in",
        payload,
        key: b"k",
        properties: None,
        position: None,
        id: (1, 2),
        published_at: UnixMillis(1_000),
        attempt: 1,
        now: UnixMillis(2_000),
        is_deterministic: false,
    }
}

/// Has values by key and name; without any it is away.
pub struct Values(pub HashMap<(Vec<u8>, String), Bytes>);

impl Host for Values {
    fn read<'a>(&'a self, key: &'a [u8], name: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, Away>> {
        let found = match self.0.is_empty() {
            true => Err(Away),
            false => Ok(self.0.get(&(key.to_vec(), name.to_owned())).cloned()),
        };
        Box::pin(async { found })
    }
}

pub fn no_host() -> Arc<dyn Host> {
    Arc::new(Values(HashMap::new()))
}

pub fn host(values: &[(&[u8], &str, &'static [u8])]) -> Arc<dyn Host> {
    let values = values
        .iter()
        .map(|(key, name, value)| ((key.to_vec(), (*name).to_owned()), Bytes::from_static(value)));
    Arc::new(Values(values.collect()))
}
