//! Real redis-servers as child processes, killed when dropped: one alone, watched by Sentinels, or a cluster.
//!
//! Each listens on the standard port of a loopback address of its own, so that a port stays its own while it is down.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use redis::{Cmd, FromRedisValue};

mod cluster;
mod sentinels;
mod server;

pub use cluster::{Moving, RedisCluster};
pub use sentinels::RedisSentinels;

use server::Server;

/// A redis-server with an append-only file, synced every second.
#[derive(Debug)]
pub struct Redis {
    server: Server,
}

/// What a redis-server is started with.
#[derive(Debug, Clone)]
pub struct Builder {
    settings: Vec<(String, String)>,
    program: PathBuf,
}

impl Redis {
    /// One that listens and answers.
    ///
    /// # Panics
    /// There is no redis-server, or it does not get ready.
    #[must_use]
    pub fn start() -> Redis {
        Redis::build().start()
    }

    /// To be set up differently.
    #[must_use]
    pub fn build() -> Builder {
        let defaults = [
            ("save", "\"\""),
            ("appendonly", "yes"),
            ("appendfsync", "everysec"),
            ("maxmemory-policy", "noeviction"),
            ("enable-debug-command", "yes"),
            ("repl-diskless-sync-delay", "0"),
            ("repl-ping-replica-period", "1"),
        ];
        let settings = defaults.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Builder { settings, program: PathBuf::from("redis-server") }
    }

    /// `redis://host:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Its directory: append-only file, log, configuration.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.server.directory()
    }

    /// Asks it something, over a connection of its own.
    ///
    /// # Panics
    /// It refuses, or the answer is of another kind.
    pub fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.server.ask(words)
    }

    /// The same with a command of any bytes, its error handed on.
    pub fn try_ask<T: FromRedisValue>(&self, command: &Cmd) -> redis::RedisResult<T> {
        self.server.try_ask(command)
    }

    /// `CONFIG SET`.
    pub fn config_set(&self, name: &str, value: &str) {
        self.ask::<()>(&["CONFIG", "SET", name, value]);
    }

    /// Cuts the connections of all clients; replicas stay.
    pub fn client_kill_all(&self) {
        self.ask::<i64>(&["CLIENT", "KILL", "TYPE", "normal"]);
    }

    /// SIGKILL, and waits until it is dead.
    pub fn kill9(&mut self) {
        self.server.kill9();
    }

    /// SIGTERM, and waits until it has ended by itself.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// Stops it in its tracks, as a suspended machine.
    pub fn sigstop(&self) {
        self.server.signal(rustix::process::Signal::STOP);
    }

    /// Lets it go on.
    pub fn sigcont(&self) {
        self.server.signal(rustix::process::Signal::CONT);
    }

    /// Ends what is left of it and starts it again, with what it has on disk. Waits until it answers.
    pub fn restart(&mut self) {
        self.server.restart();
    }

    /// The same, and does not wait.
    pub fn restart_without_waiting(&mut self) {
        self.server.restart_without_waiting();
    }

    /// Waits until so many replicas are connected and in sync.
    ///
    /// # Panics
    /// They never are.
    pub fn wait_for_replicas(&self, count: usize) {
        crate::eventually("replicas in sync", || {
            let info: String = self.ask(&["INFO", "replication"]);
            (info.matches("state=online").count() >= count).then_some(())
        });
    }
}

impl Builder {
    /// A line of its configuration; a later one of the same name wins.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl ToString) -> Builder {
        self.settings.push((name.to_owned(), value.to_string()));
        self
    }

    /// A Valkey, which knows WAITAOF, instead: the one that `cargo xtask tools` brings.
    #[must_use]
    pub fn valkey(self) -> Builder {
        let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../target/tools");
        let tools = std::env::var_os("WEIR_TOOLS").map_or_else(built, PathBuf::from);
        Builder { program: tools.join("valkey/valkey-server"), ..self }
    }

    /// A replica of this one.
    #[must_use]
    pub fn replica_of(self, primary: &Redis) -> Builder {
        let address = primary.address();
        self.set("replicaof", format!("{} {}", address.ip(), address.port()))
    }

    /// Starts it and waits until it answers.
    ///
    /// # Panics
    /// There is no redis-server, or it does not get ready.
    #[must_use]
    pub fn start(self) -> Redis {
        Redis { server: Server::of(&self.program, &self.settings, server::PORT, &[]) }
    }
}

/// The URL of several servers: `scheme://host:port,host:port`.
fn url_of<'a>(scheme: &str, servers: impl Iterator<Item = &'a Server>) -> String {
    let addresses: Vec<String> = servers.map(|server| server.address().to_string()).collect();
    format!("{scheme}://{}", addresses.join(","))
}

/// An address that no other process of tests uses, a new one with every call.
fn own_address() -> Ipv4Addr {
    static SERVERS: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let number = SERVERS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    Ipv4Addr::new(127, high.max(1), low, number.max(1))
}
