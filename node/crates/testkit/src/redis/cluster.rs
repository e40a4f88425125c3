//! A Redis Cluster: three primaries with a third of the slots each, and a replica for each.

use std::net::SocketAddr;

use redis::{FromRedisValue as _, Value};

use super::{Redis, url_of};
use crate::eventually;

const PRIMARIES: usize = 3;
const SLOTS: u32 = 16_384;

#[derive(Debug)]
pub struct RedisCluster {
    /// The first three are the primaries at the start, the others their replicas in the same order.
    pub servers: Vec<Redis>,
}

/// A slot on its way from one primary to another.
#[derive(Debug)]
pub struct Moving<'a> {
    from: &'a Redis,
    to: &'a Redis,
    slot: String,
}

impl Moving<'_> {
    /// Moves at most so many of the keys that are left, and says how many it were.
    pub fn move_keys(&self, keys_max: usize) -> usize {
        let keys: Vec<String> =
            self.from.ask(&["CLUSTER", "GETKEYSINSLOT", &self.slot, &keys_max.to_string()]);
        if !keys.is_empty() {
            let (host, port) = (self.to.address().ip().to_string(), self.to.address().port().to_string());
            let mut words = vec!["MIGRATE", &host, &port, "", "0", "30000", "KEYS"];
            words.extend(keys.iter().map(String::as_str));
            self.from.ask::<Value>(&words);
        }
        keys.len()
    }

    /// The slot is the other primary's; no key may be left.
    pub fn end(self) {
        let id = id_of(self.to);
        self.set(self.to, &["NODE", &id]);
        self.set(self.from, &["NODE", &id]);
    }

    fn set(&self, server: &Redis, words: &[&str]) {
        server.ask::<()>(&[&["CLUSTER", "SETSLOT", &self.slot], words].concat());
    }
}

impl RedisCluster {
    /// Three primaries and three replicas.
    ///
    /// # Panics
    /// They never become a cluster.
    #[must_use]
    pub fn start() -> RedisCluster {
        RedisCluster::start_with(PRIMARIES, |builder| builder)
    }

    /// With so many replicas (at most three), and servers set up differently.
    ///
    /// # Panics
    /// They never become a cluster.
    #[must_use]
    pub fn start_with(replicas: usize, set_up: impl Fn(super::Builder) -> super::Builder) -> RedisCluster {
        let server = |_| {
            let builder = Redis::build().set("cluster-enabled", "yes").set("cluster-node-timeout", 1500);
            set_up(builder.set("cluster-replica-validity-factor", 0)).start()
        };
        let cluster = RedisCluster { servers: (0..PRIMARIES + replicas).map(server).collect() };
        for (number, primary) in (0_u32..).zip(&cluster.servers[..PRIMARIES]) {
            let thirds = |third: u32| SLOTS * third / 3;
            let (first, last) = (thirds(number), thirds(number + 1) - 1);
            primary.ask::<()>(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
        }
        for (epoch, server) in (1_u32..).zip(&cluster.servers) {
            server.ask::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch.to_string()]);
            let first = cluster.servers[0].address();
            server.ask::<()>(&["CLUSTER", "MEET", &first.ip().to_string(), &first.port().to_string()]);
        }
        cluster.wait_until_all_know(cluster.servers.len());
        for (replica, primary) in cluster.servers[PRIMARIES..].iter().zip(&cluster.servers) {
            replica.ask::<()>(&["CLUSTER", "REPLICATE", &id_of(primary)]);
        }
        cluster.servers[..replicas].iter().for_each(|primary| primary.wait_for_replicas(1));
        cluster.wait_until_whole(replicas);
        cluster
    }

    /// `redis+cluster://host:port,..`, all of them.
    #[must_use]
    pub fn url(&self) -> String {
        url_of("redis+cluster", self.servers.iter().map(|redis| &redis.server))
    }

    /// The server that has this slot now, as the first one that answers says.
    ///
    /// # Panics
    /// Nobody has it.
    #[must_use]
    pub fn owner(&self, slot: u16) -> usize {
        eventually("somebody to have the slot", || {
            let mut slots = redis::cmd("CLUSTER");
            slots.arg("SLOTS");
            let answer =
                self.servers.iter().find_map(|server| server.try_ask::<Vec<Vec<Value>>>(&slots).ok())?;
            let address = answer.into_iter().find_map(|range| primary_with(range, slot))?;
            self.servers.iter().position(|server| server.address() == address)
        })
    }

    /// Has a replica take over from its primary, which becomes its replica, and waits until it has.
    ///
    /// # Panics
    /// It never does.
    pub fn failover_to(&self, replica: usize) {
        let server = &self.servers[replica];
        server.ask::<()>(&["CLUSTER", "FAILOVER"]);
        eventually("the replica to take over", || {
            server.ask::<String>(&["INFO", "replication"]).contains("role:master").then_some(())
        });
    }

    /// Moves a slot with its keys to another primary.
    pub fn move_slot(&self, slot: u16, to: usize) {
        let moving = self.begin_to_move(slot, to);
        while moving.move_keys(100) > 0 {}
        moving.end();
    }

    /// Sets a slot on its way to another primary; none of its keys have moved yet.
    #[must_use]
    pub fn begin_to_move(&self, slot: u16, to: usize) -> Moving<'_> {
        let (from, to) = (&self.servers[self.owner(slot)], &self.servers[to]);
        let moving = Moving { from, to, slot: slot.to_string() };
        moving.set(to, &["IMPORTING", &id_of(from)]);
        moving.set(from, &["MIGRATING", &id_of(to)]);
        moving
    }

    fn wait_until_all_know(&self, count: usize) {
        for server in &self.servers {
            eventually("the cluster's nodes to know each other", || {
                let nodes: String = server.ask(&["CLUSTER", "NODES"]);
                let connected = nodes.lines().filter(|line| line.contains(" connected")).count();
                (connected >= count && !nodes.contains("handshake")).then_some(())
            });
        }
    }

    fn wait_until_whole(&self, replicas: usize) {
        for server in &self.servers {
            eventually("the cluster to be whole", || {
                let info: String = server.ask(&["CLUSTER", "INFO"]);
                let nodes: String = server.ask(&["CLUSTER", "NODES"]);
                let all_are = nodes.matches("slave").count() >= replicas;
                (info.contains("cluster_state:ok") && info.contains("slots_ok:16384") && all_are)
                    .then_some(())
            });
        }
    }
}

/// The primary of a range in `CLUSTER SLOTS` (first, last, primary, replicas..), if the slot is in it.
fn primary_with(range: Vec<Value>, slot: u16) -> Option<SocketAddr> {
    let mut parts = range.into_iter();
    let mut number = || u16::from_redis_value(parts.next()?).ok();
    let (first, last) = (number()?, number()?);
    let primary = Vec::<Value>::from_redis_value(parts.next()?).ok()?;
    let mut parts = primary.into_iter();
    let host = String::from_redis_value(parts.next()?).ok()?;
    let port = u16::from_redis_value(parts.next()?).ok()?;
    (first..=last).contains(&slot).then_some(SocketAddr::new(host.parse().ok()?, port))
}

fn id_of(server: &Redis) -> String {
    server.ask(&["CLUSTER", "MYID"])
}
