//! The `[net]` section of the configuration: sizes and times of every transport.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Linger;
use crate::proxy::Network;

/// Limits of the transports, shared by all listeners.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How many connections the kernel may hold complete before they are accepted.
    pub backlog: u32,
    /// Milliseconds a client has for its TLS handshake, or for its QUIC handshake and the first bytes on its stream.
    pub handshake_timeout_ms: u64,
    /// Milliseconds a connection being closed waits for the client to close its side, so that no RST destroys the last bytes sent.
    pub linger_timeout_ms: u64,
    /// Bytes read and thrown away while a connection is being closed; more than that and it is cut.
    pub linger_bytes_max: u64,
    /// The longest WebSocket frame taken, in payload bytes; a longer one closes the connection with 1009.
    pub ws_frame_bytes_max: u32,
    /// Listeners (mqtt, mqtts, http, https, wamp, wamps, hyper) behind a proxy that begins each connection with a PROXY protocol header, version 1 or 2; `trusted_proxies` must send it there and nobody else may connect.
    pub proxy_protocol: Vec<String>,
    /// Listeners (http, https) that take a client's address from `X-Forwarded-For`: the right-most one that is no trusted proxy's, if a trusted proxy connects.
    pub forwarded_for: Vec<String>,
    /// Networks, such as 10.0.0.0/8, of the proxies that are believed about their clients' addresses; no limit by address applies to them.
    #[schemars(with = "Vec<String>")]
    pub trusted_proxies: Vec<Network>,
    /// How many connections there may be, and how fast they may come.
    pub limits: Limits,
    /// Limits of HTTP requests.
    pub http: Http,
    /// Certificates of the TLS, HTTPS and QUIC listeners.
    pub tls: Tls,
    /// Settings of the QUIC listener.
    pub quic: Quic,
}

/// How many connections there may be, and how fast they may come.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections of all listeners together; one more is closed at once. 0 = as many as open files are allowed, less some for the node itself.
    pub connections_max: usize,
    /// Connections from one address (an IPv6 /64 counts as one); one more is closed at once. 0 = no limit.
    pub connections_per_address_max: usize,
    /// Connections that are accepted and not yet let in; for one more the oldest of them is closed. 0 = no limit.
    pub half_open_max: usize,
    /// Connections from one address that are not yet let in; one more is closed at once. 0 = no limit.
    pub half_open_per_address_max: usize,
    /// New connections a second, in bursts of at most one second's worth; one that comes faster is closed at once. 0 = no limit.
    pub connects_per_second: u32,
    /// New connections a second from one address, in bursts of at most one second's worth; one that comes faster is closed at once. 0 = no limit.
    pub connects_per_second_per_address: u32,
}

/// Limits of HTTP requests.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Bytes of request line and headers together; more is answered with 431.
    pub header_bytes_max: usize,
    /// Number of headers in one request; more is answered with 431.
    pub headers_max: usize,
    /// Milliseconds a client has to send a request's headers, counted also between two requests of one connection.
    pub header_timeout_ms: u64,
    /// Bytes of a request body; more is answered with 413.
    pub body_bytes_max: usize,
    /// Milliseconds a client has to send a request's body; slower is answered with 408.
    pub body_timeout_ms: u64,
    /// Milliseconds after which a connection that is not a WebSocket is asked to end, and cut after one header timeout more.
    pub connection_timeout_ms: u64,
}

/// Certificates of the TLS, HTTPS and QUIC listeners.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// PEM file with the server's certificate chain, leaf first; without it a certificate for localhost is made.
    pub certificate: Option<PathBuf>,
    /// PEM file with the private key of the certificate.
    pub key: Option<PathBuf>,
    /// PEM file with the authorities whose client certificates are believed; without it none is asked for.
    pub client_ca: Option<PathBuf>,
    /// Whether a client without a certificate of `client_ca` is let in.
    pub client_certificate_optional: bool,
    /// Files, PEM or DER, with revocation lists; with any, each authority of a client's chain needs one, and whom it revokes is refused.
    pub client_crl: Vec<PathBuf>,
    /// Seconds between looks at these files; a change holds for new handshakes, and what cannot be used is reported while the old stays. 0 = never looked at again.
    pub reload_seconds: u64,
}

/// Settings of the QUIC listener.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quic {
    /// Protocols offered by ALPN; a client that speaks none of them is refused.
    pub alpn: Vec<String>,
    /// Milliseconds of silence after which a connection counts as dead.
    pub idle_timeout_ms: u32,
    /// Milliseconds of silence after which a ping is sent, so that an idle connection stays alive; 0 sends none.
    pub keep_alive_ms: u32,
    /// Bytes one connection may send to us before we have read them.
    pub receive_window_bytes: u32,
    /// Bytes we send on one connection before the client has acknowledged them.
    pub send_window_bytes: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            backlog: 4096,
            handshake_timeout_ms: 10_000,
            linger_timeout_ms: 2_000,
            linger_bytes_max: 1 << 20,
            ws_frame_bytes_max: 16 << 20,
            proxy_protocol: Vec::new(),
            forwarded_for: Vec::new(),
            trusted_proxies: Vec::new(),
            limits: Limits::default(),
            http: Http::default(),
            tls: Tls::default(),
            quic: Quic::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 0,
            connections_per_address_max: 0,
            half_open_max: 10_000,
            half_open_per_address_max: 0,
            connects_per_second: 20_000,
            connects_per_second_per_address: 0,
        }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            certificate: None,
            key: None,
            client_ca: None,
            client_certificate_optional: false,
            client_crl: Vec::new(),
            reload_seconds: 5,
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            header_bytes_max: 16 << 10,
            headers_max: 64,
            header_timeout_ms: 10_000,
            body_bytes_max: 64 << 10,
            body_timeout_ms: 10_000,
            connection_timeout_ms: 300_000,
        }
    }
}

impl Default for Quic {
    fn default() -> Self {
        Self {
            alpn: ["mqtt", "wamp.2.json", "wamp.2.msgpack", "wamp.2.cbor"].map(str::to_owned).to_vec(),
            idle_timeout_ms: 60_000,
            keep_alive_ms: 20_000,
            receive_window_bytes: 1 << 20,
            send_window_bytes: 1 << 20,
        }
    }
}

impl Config {
    /// The time a handshake may take.
    #[must_use]
    pub fn handshake_timeout(&self) -> Duration {
        Duration::from_millis(self.handshake_timeout_ms)
    }

    /// How long and how much a closing connection is still read.
    #[must_use]
    pub fn linger(&self) -> Linger {
        Linger { timeout: Duration::from_millis(self.linger_timeout_ms), bytes_max: self.linger_bytes_max }
    }
}
