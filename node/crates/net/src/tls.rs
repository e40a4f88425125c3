//! TLS settings of servers and clients: rustls with ring, versions 1.2 and 1.3.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls_pki_types::pem;

mod dev;
mod live;
mod source;
mod trust;

pub use dev::{DevCertificate, dev_certificate};
pub(crate) use live::Offer;
pub use live::ServerConfig;
pub use source::ClientAuth;
pub(crate) use source::{read_certificates, read_key, read_roots};
pub(crate) use trust::client_config;

/// Why TLS settings could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A PEM file is missing or damaged.
    #[error("cannot read {path}: {source}", path = path.display())]
    Pem { path: PathBuf, source: pem::Error },
    /// A PEM file without what was looked for.
    #[error("no {what} in {path}", path = path.display())]
    Empty { path: PathBuf, what: &'static str },
    /// rustls does not take the certificate, the key, or the two together.
    #[error("the certificate {path} cannot be used: {source}", path = path.display())]
    Certificate { path: PathBuf, source: rustls::Error },
    /// The authorities for client certificates cannot be used.
    #[error("the client ca {path} cannot be used: {source}", path = path.display())]
    ClientCa { path: PathBuf, source: rustls::server::VerifierBuilderError },
    /// Only one of certificate and key is configured.
    #[error("tls.certificate and tls.key go together, only {given} is set")]
    HalfPair { given: &'static str },
    /// Revocation lists, and nobody whose certificates they could revoke.
    #[error("tls.client_crl is set without tls.client_ca")]
    LonelyCrl,
    /// No file of trusted authorities was found where systems keep it.
    #[error("no file of trusted authorities found on this system, name one")]
    NoRoots,
    /// The certificate for localhost could not be made.
    #[error("cannot make a certificate for localhost: {source}")]
    Generate { source: rcgen::Error },
    /// The certificate for localhost could not be kept.
    #[error("cannot write {path}: {source}", path = path.display())]
    Write { path: PathBuf, source: io::Error },
    /// The crypto provider lacks something rustls needs.
    #[error("tls cannot be set up: {source}")]
    Provider { source: rustls::Error },
}

/// Makes ring the process's crypto provider; call it first thing in `main`. A second call does nothing.
pub fn install_ring() {
    // An error says that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
