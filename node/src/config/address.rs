//! Where a listener listens: an address, or nowhere.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An address to listen on, or `off`. Text forms: `127.0.0.1:1883`, `[::1]:1883`,
/// `localhost:1883`, `1883` or `:1883` (both on loopback), `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenAddr {
    Off,
    At(SocketAddr),
}

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is neither an address like 127.0.0.1:1883, nor a port, nor off")]
pub struct NotAnAddress {
    pub text: String,
}

impl ListenAddr {
    /// A port on 127.0.0.1.
    #[must_use]
    pub const fn loopback(port: u16) -> Self {
        Self::At(SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    }

    /// The address, unless it is off.
    #[must_use]
    pub const fn socket(self) -> Option<SocketAddr> {
        match self {
            Self::Off => None,
            Self::At(socket) => Some(socket),
        }
    }
}

impl FromStr for ListenAddr {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        if text.eq_ignore_ascii_case("off") {
            return Ok(Self::Off);
        }
        let port_alone = text.strip_prefix(':').or_else(|| text.strip_prefix("localhost:")).unwrap_or(text);
        if let Ok(port) = port_alone.parse::<u16>() {
            return Ok(Self::loopback(port));
        }
        text.parse().map(Self::At).map_err(|_| NotAnAddress { text: text.to_owned() })
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(socket) => socket.fmt(f),
        }
    }
}

impl Serialize for ListenAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ListenAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = ListenAddr;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address, a port or `off`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ListenAddr, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, port: i64) -> Result<ListenAddr, E> {
                u16::try_from(port).map(ListenAddr::loopback).map_err(|_| E::custom("a port is 0 to 65535"))
            }

            fn visit_u64<E: de::Error>(self, port: u64) -> Result<ListenAddr, E> {
                u16::try_from(port).map(ListenAddr::loopback).map_err(|_| E::custom("a port is 0 to 65535"))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for ListenAddr {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ListenAddr".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "x-allowed": "ADDRESS:PORT, a port alone (on loopback; 0 takes a free one), or off",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_on_loopback() {
        for text in ["1884", ":1884", "localhost:1884", "127.0.0.1:1884"] {
            assert_eq!(text.parse(), Ok(ListenAddr::loopback(1884)), "{text}");
        }
    }

    #[test]
    fn off_closes_a_listener_in_any_case() {
        assert_eq!("off".parse(), Ok(ListenAddr::Off));
        assert_eq!("OFF".parse(), Ok(ListenAddr::Off));
    }

    #[test]
    fn what_is_no_address_is_refused_by_name() {
        for text in ["", "70000", "example.org:1883", "127.0.0.1", "on"] {
            let refused = text.parse::<ListenAddr>().unwrap_err();
            assert_eq!(refused.text, text);
        }
    }

    #[test]
    fn an_address_of_the_sixth_version_reads_back_as_it_is_written() {
        let address: ListenAddr = "[::1]:1883".parse().unwrap();
        assert_eq!(address.to_string(), "[::1]:1883");
    }
}
