//! The contract suite over Redis: alone, with Sentinels, and as a cluster; and over Valkey.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use weir_store::redis::RedisStore;
use weir_store::{Config, NodeRef, Store, suite};
use weir_testkit::{Redis, RedisCluster, RedisSentinels};

use crate::connect;

/// A config under a prefix that nobody else uses.
pub fn fresh(config: Config) -> Config {
    static STORES: AtomicU64 = AtomicU64::new(0);
    let key_prefix = format!("test{}", STORES.fetch_add(1, Ordering::Relaxed));
    let redis = weir_store::redis::RedisConfig { key_prefix, shards: 4, lease_ms: 500, ..connect::config() };
    Config { redis, level: weir_store::LevelChoice::Auto, ..config }
}

/// The store of a node; everything of it runs on a runtime of the tests.
pub fn open(config: &Config, url: &str, node: NodeRef) -> Arc<dyn Store> {
    let opened = connect::runtime().block_on(RedisStore::open(config, url, "test", node));
    opened.unwrap_or_else(|error| panic!("not opened: {error}"))
}

/// What a server has to have to be run on.
trait Served {
    fn started() -> Self;
    fn url(&self) -> String;
}

impl Served for Redis {
    fn started() -> Redis {
        Redis::start()
    }

    fn url(&self) -> String {
        Redis::url(self)
    }
}

/// One that knows WAITAOF: levels are asked for that a Redis 7.0 cannot prove.
struct Valkey(Redis);

impl Served for Valkey {
    fn started() -> Valkey {
        Valkey(Redis::build().valkey().start())
    }

    fn url(&self) -> String {
        self.0.url()
    }
}

impl Served for RedisSentinels {
    fn started() -> RedisSentinels {
        RedisSentinels::start()
    }

    fn url(&self) -> String {
        RedisSentinels::url(self)
    }
}

impl Served for RedisCluster {
    fn started() -> RedisCluster {
        RedisCluster::start()
    }

    fn url(&self) -> String {
        RedisCluster::url(self)
    }
}

macro_rules! promises {
    ($($promise:ident),* $(,)?) => {
        mod alone {
            $(#[test] fn $promise() { super::any::<weir_testkit::Redis>(weir_store::suite::$promise); })*
        }
        mod valkey {
            $(#[test] fn $promise() { super::any::<super::Valkey>(weir_store::suite::$promise); })*
        }
        mod sentinels {
            $(#[test] fn $promise() { super::any::<weir_testkit::RedisSentinels>(weir_store::suite::$promise); })*
        }
        mod cluster {
            $(#[test] fn $promise() { super::any::<weir_testkit::RedisCluster>(weir_store::suite::$promise); })*
        }
    };
}

macro_rules! limits {
    ($($policy:ident { $($promise:ident),* $(,)? })*) => {
        mod limits_alone {
            $($(#[test] fn $promise() {
                super::limited::<weir_testkit::Redis>(weir_store::QueueFull::$policy, weir_store::suite::$promise);
            })*)*
        }
        mod limits_of_a_cluster {
            $($(#[test] fn $promise() {
                super::limited::<weir_testkit::RedisCluster>(
                    weir_store::QueueFull::$policy,
                    weir_store::suite::$promise,
                );
            })*)*
        }
    };
}

macro_rules! shared {
    ($($claim_ms:literal { $($promise:ident),* $(,)? })*) => {
        mod shared_alone {
            $($(#[test] fn $promise() {
                super::nodes::<weir_testkit::Redis>($claim_ms, weir_store::suite::$promise);
            })*)*
        }
        mod shared_on_a_cluster {
            $($(#[test] fn $promise() {
                super::nodes::<weir_testkit::RedisCluster>($claim_ms, weir_store::suite::$promise);
            })*)*
        }
    };
}

fn any<S: Served>(promise: impl Fn(suite::Make)) {
    let served = S::started();
    promise(&|| open(&fresh(suite::config("redis")), &served.url(), suite::node("a", 1)));
}

fn limited<S: Served>(policy: weir_store::QueueFull, promise: impl Fn(suite::Make)) {
    let served = S::started();
    promise(&|| open(&fresh(suite::limited("redis", policy)), &served.url(), suite::node("a", 1)));
}

fn nodes<S: Served>(claim_ms: u64, promise: impl Fn(suite::Join)) {
    let served = S::started();
    let config = fresh(suite::shared("redis", claim_ms));
    promise(&|node| open(&config, &served.url(), node));
}

weir_store::each_promise!(promises);
weir_store::each_limit!(limits);
weir_store::each_shared_promise!(shared);
