//! Which Redis a URL names, and how it is set up.

use std::fmt;
use std::sync::Arc;

const SERVER_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26_379;

/// A Redis as its URL names it. Shown without secrets: a URL with some is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub kind: Kind,
    /// The server itself, or Sentinels, or some nodes of the cluster.
    pub seeds: Vec<Address>,
    pub tls: bool,
    /// The number of the database; always 0 in a cluster.
    pub database: i64,
}

/// Who says where the primaries are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Standalone,
    Sentinel { service: String },
    Cluster,
}

/// Host (name or IP address) and port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    pub host: Arc<str>,
    pub port: u16,
}

/// Why a URL names no Redis.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    #[error(
        "`{scheme}` is no way to Redis: `redis`, `redis+sentinel` and `redis+cluster` are, with TLS `rediss`"
    )]
    Scheme { scheme: String },
    #[error(
        "a URL with user or password would be printed: put them in `store.redis.user` and `store.redis.password`"
    )]
    Secret,
    #[error("`{server}` is no `host:port`")]
    Server { server: String },
    #[error(
        "`redis://` takes one server, not {given}: for several there are `redis+sentinel` and `redis+cluster`"
    )]
    OneServer { given: usize },
    #[error("`{path}` is no number of a database")]
    Database { path: String },
    #[error("the name of the primary that the Sentinels watch is missing: `redis+sentinel://host:port/name`")]
    Service,
    #[error("a cluster has no databases: leave out `/{path}`")]
    ClusterDatabase { path: String },
}

impl Target {
    /// Reads `redis[s][+sentinel|+cluster]://host[:port][,host[:port]..][/database or service]`.
    pub fn parse(url: &str) -> Result<Target, BadUrl> {
        let (scheme, rest) = url.split_once("://").unwrap_or((url, ""));
        let unknown = || BadUrl::Scheme { scheme: scheme.to_owned() };
        let (base, setup) = scheme.split_once('+').unwrap_or((scheme, ""));
        let tls = match base {
            "redis" => false,
            "rediss" => true,
            _ => return Err(unknown()),
        };
        if rest.contains('@') {
            return Err(BadUrl::Secret);
        }
        let (servers, path) = rest.split_once('/').unwrap_or((rest, ""));
        let port = if setup == "sentinel" { SENTINEL_PORT } else { SERVER_PORT };
        let seeds = servers.split(',').map(|server| Address::parse(server, port));
        let seeds = seeds.collect::<Result<Vec<_>, _>>()?;
        let (kind, database) = match setup {
            "" if seeds.len() > 1 => return Err(BadUrl::OneServer { given: seeds.len() }),
            "" => (Kind::Standalone, database(path)?),
            "sentinel" if path.is_empty() => return Err(BadUrl::Service),
            "sentinel" => (Kind::Sentinel { service: path.to_owned() }, 0),
            "cluster" if !path.is_empty() => return Err(BadUrl::ClusterDatabase { path: path.to_owned() }),
            "cluster" => (Kind::Cluster, 0),
            _ => return Err(unknown()),
        };
        Ok(Target { kind, seeds, tls, database })
    }
}

fn database(path: &str) -> Result<i64, BadUrl> {
    let number = if path.is_empty() { Ok(0) } else { path.parse::<u16>() };
    number.map(i64::from).map_err(|_| BadUrl::Database { path: path.to_owned() })
}

impl Address {
    pub fn new(host: &str, port: u16) -> Address {
        Address { host: host.into(), port }
    }

    /// `host`, `host:port`, `[v6]` or `[v6]:port`.
    fn parse(server: &str, default_port: u16) -> Result<Address, BadUrl> {
        let bad = || BadUrl::Server { server: server.to_owned() };
        let (host, port) = match server.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or_else(bad)?;
                (host, if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or_else(bad)?) })
            }
            None => match server.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (server, None),
            },
        };
        let port = port.map_or(Ok(default_port), str::parse).map_err(|_| bad())?;
        if host.is_empty() || port == 0 {
            return Err(bad());
        }
        Ok(Address::new(host, port))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_a_redis_has_its_url() {
        let standalone = Target::parse("redis://127.0.0.1/3").unwrap();
        assert_eq!((standalone.kind, standalone.database, standalone.tls), (Kind::Standalone, 3, false));
        assert_eq!(standalone.seeds, [Address::new("127.0.0.1", 6379)]);

        let sentinel = Target::parse("rediss+sentinel://a,[::1]:7/main").unwrap();
        assert_eq!(sentinel.kind, Kind::Sentinel { service: "main".to_owned() });
        assert_eq!(sentinel.seeds, [Address::new("a", 26_379), Address::new("::1", 7)]);
        assert!(sentinel.tls);

        let cluster = Target::parse("redis+cluster://a:1,b:2").unwrap();
        assert_eq!((cluster.kind, cluster.seeds.len()), (Kind::Cluster, 2));
    }

    #[test]
    fn a_url_that_names_no_redis_is_refused_with_what_is_wrong() {
        let refused = |url: &str| Target::parse(url).unwrap_err();
        assert!(matches!(refused("http://a"), BadUrl::Scheme { .. }));
        assert!(matches!(refused("redis+ring://a"), BadUrl::Scheme { .. }));
        assert_eq!(refused("redis://:secret@a"), BadUrl::Secret);
        assert_eq!(refused("redis://a,b"), BadUrl::OneServer { given: 2 });
        assert_eq!(refused("redis+sentinel://a"), BadUrl::Service);
        assert!(matches!(refused("redis+cluster://a/1"), BadUrl::ClusterDatabase { .. }));
        for url in ["redis://", "redis://a:0", "redis://a:x", "redis://[::1", "redis+cluster://a,,b"] {
            assert!(matches!(refused(url), BadUrl::Server { .. }), "{url}");
        }
        assert!(matches!(refused("redis://a/x"), BadUrl::Database { .. }));
    }
}
