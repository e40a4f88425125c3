//! The `[admin]` section: who may administer, and what a call may cost.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether the listener speaks TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// TLS where `admin.tls.certificate` is set or the listener is not on loopback.
    #[default]
    Auto,
    /// TLS everywhere.
    Tls,
    /// No TLS, tokens in the clear: for a proxy on the same machine.
    Plain,
}

/// The `[admin]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether the listener speaks TLS: `auto` (where `admin.tls.certificate` is set, or the listener is not on loopback), `tls`, or `plain`.
    pub security: Security,
    /// The file with the tokens, of which only hashes are kept; `weir token` writes it, and it is read again when it changes. Left out, `admin-tokens.toml` in `node.data_dir`.
    pub tokens_file: Option<PathBuf>,
    /// What may be done by who shows a certificate of `admin.tls.client_ca`: the common name of its subject, and a list of scopes, `ops = ["sessions:*", "watch"]`.
    pub certificate_scopes: BTreeMap<String, Vec<String>>,
    /// Connections at a time; one more is closed at once. They are not counted against `net.limits.connections_max`. 0 = no limit but the open files.
    pub connections_max: usize,
    /// Calls of one connection at a time; further ones wait.
    pub calls_per_connection_max: u32,
    /// Bytes of a request; a longer one is refused with OUT_OF_RANGE.
    pub message_bytes_max: usize,
    /// Seconds a call may take whose caller does not say; streams last until they are ended. 0 = no limit.
    pub deadline_seconds: u64,
    /// Entries of a page whose caller does not say how many.
    pub page_size: u32,
    /// Most entries of a page; more is refused with INVALID_ARGUMENT.
    pub page_size_max: u32,
    /// Streams of `Watch` at a time; one more is refused with RESOURCE_EXHAUSTED. 0 = no limit.
    pub watchers_max: usize,
    /// Calls of `Streams` that read, consume or publish without an end, at a time; one more is refused with RESOURCE_EXHAUSTED. 0 = no limit.
    pub stream_calls_max: usize,
    /// Clients that `Cluster.Rebalance` moves in a second, of all nodes together, whose caller does not say how many.
    pub rebalance_per_second: NonZeroU32,
    /// Seconds for which a client that was moved by `Cluster.Rebalance` is not moved again. 0 = it may be at once.
    pub rebalance_pause_seconds: u64,
    /// Seconds between two pings of a connection; one that does not answer within 20 seconds is closed. 0 = none.
    pub keep_alive_seconds: u64,
    /// The certificate of the listener, and the authorities for those who administer.
    pub tls: Tls,
}

/// The `[admin.tls]` section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// PEM file with the certificate chain of the listener, leaf first; without it, that of `net.tls`.
    pub certificate: Option<PathBuf>,
    /// PEM file with the private key of the certificate.
    pub key: Option<PathBuf>,
    /// PEM file with the authorities whose client certificates are believed; without it none is asked for.
    pub client_ca: Option<PathBuf>,
    /// Whether who has no certificate of `client_ca` may show a token instead.
    pub client_certificate_optional: bool,
    /// Files, PEM or DER, with revocation lists; with any, each authority of a client's chain needs one, and whom it revokes is refused.
    pub client_crl: Vec<PathBuf>,
    /// Seconds between looks at these files; a change holds for new handshakes, and what cannot be used is reported while the old stays. 0 = never looked at again.
    pub reload_seconds: u64,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            certificate: None,
            key: None,
            client_ca: None,
            client_certificate_optional: true,
            client_crl: Vec::new(),
            reload_seconds: 5,
        }
    }
}

impl Tls {
    /// As net takes it; where no certificate is named, with the one of `others`.
    #[must_use]
    pub fn or(&self, others: &weir_net::config::Tls) -> weir_net::config::Tls {
        let own = self.certificate.is_some() || self.key.is_some();
        weir_net::config::Tls {
            certificate: if own { self.certificate.clone() } else { others.certificate.clone() },
            key: if own { self.key.clone() } else { others.key.clone() },
            client_ca: self.client_ca.clone(),
            client_certificate_optional: self.client_certificate_optional,
            client_crl: self.client_crl.clone(),
            reload_seconds: self.reload_seconds,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            security: Security::default(),
            tokens_file: None,
            certificate_scopes: BTreeMap::new(),
            connections_max: 256,
            calls_per_connection_max: 100,
            message_bytes_max: 4 << 20,
            deadline_seconds: 60,
            page_size: 100,
            page_size_max: 10_000,
            watchers_max: 64,
            stream_calls_max: 1000,
            rebalance_per_second: const { NonZeroU32::new(100).unwrap() },
            rebalance_pause_seconds: 600,
            keep_alive_seconds: 30,
            tls: Tls::default(),
        }
    }
}
