//! One primary and two replicas, watched by three Sentinels.

use std::net::SocketAddr;

use super::{Redis, Server, url_of};
use crate::eventually;

/// The name the Sentinels know the primary by.
const SERVICE: &str = "main";
const SENTINEL_PORT: u16 = 26_379;

#[derive(Debug)]
pub struct RedisSentinels {
    /// The first is the primary at the start.
    pub servers: Vec<Redis>,
    sentinels: Vec<Server>,
}

impl RedisSentinels {
    /// Starts them all and waits until every Sentinel knows the others and both replicas.
    ///
    /// # Panics
    /// They never do.
    #[must_use]
    pub fn start() -> RedisSentinels {
        RedisSentinels::start_with(|builder| builder)
    }

    /// The same with servers set up differently.
    ///
    /// # Panics
    /// They never find each other.
    #[must_use]
    pub fn start_with(set_up: impl Fn(super::Builder) -> super::Builder) -> RedisSentinels {
        let primary = set_up(Redis::build()).start();
        let mut servers = vec![primary];
        for _ in 0..2 {
            let replica = set_up(Redis::build()).replica_of(&servers[0]).start();
            servers.push(replica);
        }
        servers[0].wait_for_replicas(2);
        let watched = servers[0].address();
        let lines = [
            ("sentinel monitor", format!("{SERVICE} {} {} 2", watched.ip(), watched.port())),
            ("sentinel down-after-milliseconds", format!("{SERVICE} 1000")),
            ("sentinel failover-timeout", format!("{SERVICE} 3000")),
        ];
        let lines = lines.map(|(name, value)| (name.to_owned(), value));
        let sentinels = (0..3).map(|_| Server::start(&lines, SENTINEL_PORT, &["--sentinel"])).collect();
        let all = RedisSentinels { servers, sentinels };
        all.wait_until_whole();
        all
    }

    /// `redis+sentinel://host:port,host:port,host:port/main`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/{SERVICE}", url_of("redis+sentinel", self.sentinels.iter()))
    }

    /// Where the Sentinels say the primary is.
    #[must_use]
    pub fn primary(&self) -> SocketAddr {
        primary_of(&self.sentinels[0])
    }

    /// The server that the Sentinels say is primary.
    ///
    /// # Panics
    /// They name none of them.
    pub fn primary_server(&mut self) -> &mut Redis {
        let address = self.primary();
        let server = self.servers.iter_mut().find(|server| server.address() == address);
        server.unwrap_or_else(|| panic!("no server has the primary's address {address}"))
    }

    /// Has another server promoted and waits until all Sentinels say so. The old primary becomes a replica.
    ///
    /// # Panics
    /// Nobody is promoted.
    pub fn failover(&self) {
        let before = self.primary();
        eventually("the failover to begin", || {
            let mut command = redis::cmd("SENTINEL");
            command.arg("FAILOVER").arg(SERVICE);
            self.sentinels[0].try_ask::<()>(&command).ok()
        });
        self.wait_until_moved_from(before);
    }

    /// Waits until all Sentinels say that the primary is another one, and it is.
    ///
    /// # Panics
    /// They never do.
    pub fn wait_until_moved_from(&self, before: SocketAddr) {
        eventually("another primary", || {
            let said: Vec<SocketAddr> = self.sentinels.iter().map(primary_of).collect();
            let agreed = said.iter().all(|address| *address == said[0] && *address != before);
            let server = self.servers.iter().find(|server| server.address() == said[0])?;
            let is_primary = || server.ask::<String>(&["INFO", "replication"]).contains("role:master");
            (agreed && is_primary()).then_some(())
        });
    }

    fn wait_until_whole(&self) {
        for sentinel in &self.sentinels {
            eventually("the Sentinels to know each other", || {
                let fields: Vec<String> = sentinel.ask(&["SENTINEL", "MASTER", SERVICE]);
                let field =
                    |name: &str| fields.chunks(2).find(|pair| pair[0] == name).map(|pair| pair[1].clone());
                let is = |name: &str, value: &str| field(name).as_deref() == Some(value);
                (is("num-slaves", "2") && is("num-other-sentinels", "2")).then_some(())
            });
        }
    }
}

fn primary_of(sentinel: &Server) -> SocketAddr {
    let (host, port): (String, u16) = sentinel.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE]);
    SocketAddr::new(host.parse().expect("an IP address"), port)
}
