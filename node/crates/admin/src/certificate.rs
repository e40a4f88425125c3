//! A client's certificate, from the handshake to the last call of its connection.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use weir_net::tls;
use x509_parser::der_parser::asn1_rs::FromDer as _;
use x509_parser::prelude::X509Certificate;

/// Of no version of the listener's settings.
const NEVER: u64 = u64::MAX;

/// What the client of a connection has shown; the handshake has verified it.
#[derive(Debug)]
pub struct Shown {
    certificate: Vec<u8>,
    /// Those of authorities, sent beside it.
    beside: Vec<Vec<u8>>,
    /// Of the listener.
    tls: tls::ServerConfig,
    /// The version of its settings by which the certificate was last found good.
    good_by: AtomicU64,
}

impl Shown {
    /// Both in DER.
    #[must_use]
    pub fn new(certificate: Vec<u8>, beside: Vec<Vec<u8>>, tls: tls::ServerConfig) -> Self {
        Self { certificate, beside, tls, good_by: AtomicU64::new(NEVER) }
    }

    /// Whether the listener would take it now. It is verified again only when the listener's files have changed.
    #[must_use]
    pub fn is_believed(&self) -> bool {
        let version = self.tls.version();
        if self.good_by.load(Ordering::Relaxed) == version {
            return true;
        }
        let is_believed = self.tls.believes(&self.certificate, &self.beside);
        if is_believed {
            self.good_by.store(version, Ordering::Relaxed);
        }
        is_believed
    }

    /// The common name of its subject, and when it ends. `None` after its end: a connection may last longer.
    #[must_use]
    pub fn subject(&self) -> Option<(String, SystemTime)> {
        let (_, certificate) = X509Certificate::from_der(&self.certificate).ok()?;
        if !certificate.validity().is_valid() {
            return None;
        }
        let ends = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
        let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
        Some((name.to_owned(), UNIX_EPOCH + Duration::from_secs(ends)))
    }
}
