//! TLS settings of servers and clients: rustls with ring, versions 1.2 and 1.3.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::config;

mod dev;
mod trust;

pub use dev::{DevCertificate, dev_certificate};
pub(crate) use trust::client_config;

/// A server's certificate, key and what it asks of clients.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    base: rustls::ServerConfig,
}

/// Whose certificates a server believes, and whether a client must show one.
#[derive(Clone, Copy, Debug)]
pub struct ClientAuth<'a> {
    /// PEM file with the authorities.
    pub ca: &'a Path,
    /// Whether a client without a certificate is let in.
    pub optional: bool,
}

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

impl ServerConfig {
    /// Reads a certificate chain (leaf first) and its key, both PEM, and the authorities for clients.
    ///
    /// # Errors
    /// A file cannot be read, holds nothing of its kind, or rustls refuses it.
    pub fn from_pem(
        certificate: &Path,
        key: &Path,
        client_auth: Option<ClientAuth<'_>>,
    ) -> Result<Self, Error> {
        let chain = read_certificates(certificate)?;
        let private = read_key(key)?;
        let provider = provider();
        let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|source| Error::Provider { source })?;
        let builder = match client_auth {
            None => builder.with_no_client_auth(),
            Some(auth) => {
                let roots = Arc::new(read_roots(auth.ca)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = if auth.optional { verifier.allow_unauthenticated() } else { verifier };
                let verifier = verifier
                    .build()
                    .map_err(|source| Error::ClientCa { path: auth.ca.to_owned(), source })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let base = builder
            .with_single_cert(chain, private)
            .map_err(|source| Error::Certificate { path: certificate.to_owned(), source })?;
        Ok(Self { base })
    }

    /// What the configuration asks for; where it names no certificate, one for localhost kept in `dev_dir`.
    ///
    /// # Errors
    /// As [`Self::from_pem`] and [`dev_certificate`]; or only one of certificate and key is named.
    pub fn load(config: &config::Tls, dev_dir: &Path) -> Result<Self, Error> {
        let client_auth = config
            .client_ca
            .as_deref()
            .map(|ca| ClientAuth { ca, optional: config.client_certificate_optional });
        match (&config.certificate, &config.key) {
            (Some(certificate), Some(key)) => Self::from_pem(certificate, key, client_auth),
            (None, None) => {
                let made = dev_certificate(dev_dir)?;
                Self::from_pem(&made.certificate, &made.key, client_auth)
            }
            (Some(_), None) => Err(Error::HalfPair { given: "tls.certificate" }),
            (None, Some(_)) => Err(Error::HalfPair { given: "tls.key" }),
        }
    }

    /// For a TCP listener that chooses among these protocols; none ignores what a client offers.
    pub(crate) fn acceptor(&self, alpn: &[&str]) -> TlsAcceptor {
        TlsAcceptor::from(Arc::new(self.with_alpn(alpn)))
    }

    pub(crate) fn with_alpn(&self, alpn: &[impl AsRef<[u8]>]) -> rustls::ServerConfig {
        let mut config = self.base.clone();
        config.alpn_protocols = alpn.iter().map(|name| name.as_ref().to_vec()).collect();
        config
    }
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let failed = |source| Error::Pem { path: path.to_owned(), source };
    let chain: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)?;
    if chain.is_empty() {
        return Err(Error::Empty { path: path.to_owned(), what: "certificate" });
    }
    Ok(chain)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| match source {
        pem::Error::NoItemsFound => Error::Empty { path: path.to_owned(), what: "private key" },
        source => Error::Pem { path: path.to_owned(), source },
    })
}

fn read_roots(path: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    // Bundles of systems hold old certificates that cannot be parsed; those trust nobody.
    let (usable, _) = roots.add_parsable_certificates(read_certificates(path)?);
    if usable == 0 {
        return Err(Error::Empty { path: path.to_owned(), what: "usable certificate" });
    }
    Ok(roots)
}
