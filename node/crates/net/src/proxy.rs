//! Whose word about a client's address is taken, and how it is given: PROXY protocol and `X-Forwarded-For`.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

mod forwarded;
mod header;

pub(crate) use forwarded::client;
pub use header::HeaderError;
pub(crate) use header::read;

/// A network as the configuration names it: `10.0.0.0/8`, or one address alone.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network(IpNet);

/// A text that names no network.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is neither a network such as 10.0.0.0/8 nor an address")]
pub struct NetworkError {
    text: String,
}

/// The networks whose proxies are believed. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Trusted(Arc<[Network]>);

impl Trusted {
    #[must_use]
    pub fn new(networks: Vec<Network>) -> Self {
        Self(networks.into())
    }

    /// Whether an address is a trusted proxy's. An IPv4 address counts the same when it comes as IPv6.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|Network(network)| network.contains(&address))
    }

    /// Whether nobody is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::str::FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map(Self).map_err(|_| NetworkError { text: text.to_owned() })
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Self, NetworkError> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_or_an_address_is_trusted_in_either_form_of_ipv4() {
        let networks = ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"];
        let trusted = Trusted::new(networks.map(|text| text.parse().expect("a network")).to_vec());
        for inside in ["10.255.0.1", "::ffff:10.0.0.1", "192.0.2.1", "2001:db8:ffff::1"] {
            assert!(trusted.contains(inside.parse().expect("an address")), "{inside}");
        }
        for outside in ["11.0.0.1", "192.0.2.2", "2001:db9::1", "::1"] {
            assert!(!trusted.contains(outside.parse().expect("an address")), "{outside}");
        }
        let error = "10.0.0.0/33".parse::<Network>().expect_err("no network");
        assert!(error.to_string().contains("10.0.0.0/33"));
    }
}
