//! What a URL says about where to connect, and how.

use std::net::SocketAddr;

use url::{Host, Url};

use super::ConnectError;
use crate::Transport;

/// The path of MQTT over WebSocket, taken where a URL has none.
const WEBSOCKET_PATH: &str = "/mqtt";

/// Where to connect, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub transport: Transport,
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    pub port: u16,
    /// Path and query of a WebSocket.
    pub path: String,
    /// Host and port as they stand in the `Host` header of a WebSocket handshake.
    pub authority: String,
}

impl Target {
    pub fn from_url(url: &Url) -> Result<Self, ConnectError> {
        let (transport, default_port) = match url.scheme() {
            "mqtt" | "tcp" => (Transport::Tcp, 1883),
            "mqtts" | "ssl" => (Transport::Tls, 8883),
            "ws" => (Transport::Ws, 80),
            "wss" => (Transport::Wss, 443),
            "quic" => (Transport::Quic, 14567),
            other => return Err(ConnectError::Scheme { scheme: other.to_owned() }),
        };
        let host = match url.host() {
            None | Some(Host::Domain("")) => {
                return Err(ConnectError::Host { url: url.to_string() });
            }
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
        };
        let mut path = match url.path() {
            "" | "/" => WEBSOCKET_PATH.to_owned(),
            path => path.to_owned(),
        };
        if let Some(query) = url.query() {
            path = format!("{path}?{query}");
        }
        let bracketed = url.host_str().unwrap_or_default();
        let authority = match url.port() {
            Some(port) => format!("{bracketed}:{port}"),
            None => bracketed.to_owned(),
        };
        Ok(Self { transport, host, port: url.port().unwrap_or(default_port), path, authority })
    }

    /// The host's addresses, IPv4 first for QUIC: there a closed port is not told from a slow one.
    pub async fn resolve(&self) -> Result<Vec<SocketAddr>, ConnectError> {
        let failed = |source| ConnectError::Resolve { host: self.host.clone(), source };
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let mut addresses: Vec<SocketAddr> = found.map_err(failed)?.collect();
        if self.transport == Transport::Quic {
            addresses.sort_by_key(SocketAddr::is_ipv6);
        }
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Result<Target, ConnectError> {
        Target::from_url(&url.parse().expect("a url"))
    }

    #[test]
    fn every_scheme_has_its_port() {
        for (url, transport, port) in [
            ("mqtt://broker", Transport::Tcp, 1883),
            ("tcp://broker:77", Transport::Tcp, 77),
            ("mqtts://broker", Transport::Tls, 8883),
            ("ssl://broker", Transport::Tls, 8883),
            ("ws://broker", Transport::Ws, 80),
            ("wss://broker", Transport::Wss, 443),
            ("quic://broker", Transport::Quic, 14567),
        ] {
            let target = target(url).expect(url);
            assert_eq!((target.transport, target.port, &*target.host), (transport, port, "broker"));
        }
    }

    #[test]
    fn a_websocket_without_a_path_goes_to_mqtt() {
        assert_eq!(target("ws://broker:8080").expect("a target").path, "/mqtt");
        assert_eq!(target("ws://broker:8080/?a=1").expect("a target").path, "/mqtt?a=1");
        assert_eq!(target("wss://broker/other").expect("a target").path, "/other");
    }

    #[test]
    fn an_ipv6_host_is_bracketed_only_in_the_host_header() {
        let target = target("ws://[::1]:8080").expect("a target");
        assert_eq!((&*target.host, &*target.authority), ("::1", "[::1]:8080"));
    }

    #[test]
    fn an_unknown_scheme_and_a_missing_host_are_named() {
        assert!(
            matches!(target("gopher://broker"), Err(ConnectError::Scheme { scheme }) if scheme == "gopher")
        );
        assert!(matches!(target("mqtt:///topic"), Err(ConnectError::Host { .. })));
    }
}
