//! Connections for the tests: with patience, and with the settings tests want.

use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_store::LevelChoice;
use weir_store::redis::{Connection, RedisConfig, Servers, Shard};
use weir_testkit::PATIENCE;

/// Looks often, so that tests need not wait long.
pub fn config() -> RedisConfig {
    RedisConfig { watch_interval_ms: 100, back_off_ms: 10, back_off_max_ms: 100, ..RedisConfig::default() }
}

pub async fn servers(url: &str) -> Arc<Servers> {
    Servers::connect(url, LevelChoice::Auto, &config()).await.unwrap()
}

/// A connection to the shard's primary as soon as there is one.
pub async fn connected(servers: &Servers, shard: Shard) -> Connection {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match servers.commands(shard).await {
            Ok(connection) => return connection,
            Err(away) if Instant::now() < deadline => tokio::time::sleep(away.retry_in).await,
            Err(away) => panic!("in vain: {away}"),
        }
    }
}

/// Writes to a shard as a lane does: again over another connection until it is done.
pub async fn write(servers: &Servers, shard: Shard, value: u64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut connection = connected(servers, shard).await;
        let mut set = redis::cmd("SET");
        set.arg(shard.key("weir", "test")).arg(value);
        match set.query_async::<()>(&mut connection).await {
            Ok(()) => return,
            Err(error) => {
                assert!(Instant::now() < deadline, "in vain: {error}");
                servers.lost(&connection, &error);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

pub async fn read(servers: &Servers, shard: Shard) -> Option<u64> {
    let mut connection = connected(servers, shard).await;
    redis::cmd("GET").arg(shard.key("weir", "test")).query_async(&mut connection).await.unwrap()
}

/// Where the stores of the tests run.
pub fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: std::sync::OnceLock<tokio::runtime::Runtime> = std::sync::OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
    })
}
