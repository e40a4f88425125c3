//! The files of TLS: read together, and made into settings only if all of them are good.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::{Error, provider};

/// Whose certificates a server believes, and whether a client must show one.
#[derive(Clone, Debug)]
pub struct ClientAuth {
    /// PEM file with the authorities.
    pub ca: PathBuf,
    /// Whether a client without a certificate is let in.
    pub optional: bool,
    /// PEM or DER files with the certificates the authorities have revoked; with any, there must be
    /// one of each authority in a client's chain.
    pub crl: Vec<PathBuf>,
}

/// Where a server's settings come from.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub client: Option<ClientAuth>,
}

/// The contents of all files at one moment.
pub(super) struct Contents<'a> {
    source: &'a Source,
    certificate: Bytes,
    key: Bytes,
    client_ca: Option<Bytes>,
    client_crl: Vec<Bytes>,
}

type Bytes = std::io::Result<Vec<u8>>;

/// What the files say.
#[derive(Debug)]
pub(super) struct Settings {
    /// Without ALPN.
    pub server: rustls::ServerConfig,
    /// Who judges clients' certificates, if any are asked for.
    pub clients: Option<Arc<dyn ClientCertVerifier>>,
}

impl Source {
    /// Reads every file, each as it is: what cannot be read is told by [`Contents::settings`].
    pub fn read(&self) -> Contents<'_> {
        Contents {
            source: self,
            certificate: std::fs::read(&self.certificate),
            key: std::fs::read(&self.key),
            client_ca: self.client.as_ref().map(|client| std::fs::read(&client.ca)),
            client_crl: self.client.iter().flat_map(|client| &client.crl).map(std::fs::read).collect(),
        }
    }
}

impl Contents<'_> {
    /// Equal for equal contents, and for files that cannot be read for the same reason.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let files = [&self.certificate, &self.key].into_iter().chain(&self.client_ca).chain(&self.client_crl);
        for file in files {
            file.as_ref().map_err(std::io::Error::kind).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// What the files say.
    ///
    /// # Errors
    /// The first file that cannot be read or holds nothing usable, or rustls does not take them together.
    pub fn settings(self) -> Result<Settings, Error> {
        let certificate = &self.source.certificate;
        let chain = certificates(certificate, &content(self.certificate, certificate)?)?;
        let key = private_key(&self.source.key, &content(self.key, &self.source.key)?)?;
        let builder = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|source| Error::Provider { source })?;
        let refused = |source| Error::Certificate { path: certificate.clone(), source };
        let (Some(auth), Some(ca)) = (&self.source.client, self.client_ca) else {
            let server = builder.with_no_client_auth().with_single_cert(chain, key).map_err(refused)?;
            return Ok(Settings { server, clients: None });
        };
        let verifier = verifier(auth, ca, self.client_crl)?;
        let builder = builder.with_client_cert_verifier(verifier.clone());
        let mut server = builder.with_single_cert(chain, key).map_err(refused)?;
        // A resumed session is not asked for its certificate again, which may be revoked by now.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(Settings { server, clients: Some(verifier) })
    }
}

fn verifier(auth: &ClientAuth, ca: Bytes, crl: Vec<Bytes>) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let roots = roots(&auth.ca, &content(ca, &auth.ca)?)?;
    let mut lists = Vec::new();
    for (path, bytes) in auth.crl.iter().zip(crl) {
        lists.extend(revocation_lists(path, content(bytes, path)?)?);
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).with_crls(lists);
    let verifier = if auth.optional { verifier.allow_unauthenticated() } else { verifier };
    verifier.build().map_err(|source| Error::ClientCa { path: auth.ca.clone(), source })
}

fn content(bytes: Bytes, path: &Path) -> Result<Vec<u8>, Error> {
    bytes.map_err(|error| Error::Pem { path: path.to_owned(), source: pem::Error::Io(error) })
}

pub(crate) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    certificates(path, &content(std::fs::read(path), path)?)
}

pub(crate) fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    private_key(path, &content(std::fs::read(path), path)?)
}

pub(crate) fn read_roots(path: &Path) -> Result<RootCertStore, Error> {
    roots(path, &content(std::fs::read(path), path)?)
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let failed = |source| Error::Pem { path: path.to_owned(), source };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(failed)?;
    if chain.is_empty() {
        return Err(Error::Empty { path: path.to_owned(), what: "certificate" });
    }
    Ok(chain)
}

fn private_key(path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|source| match source {
        pem::Error::NoItemsFound => Error::Empty { path: path.to_owned(), what: "private key" },
        source => Error::Pem { path: path.to_owned(), source },
    })
}

fn roots(path: &Path, pem: &[u8]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    // Bundles of systems hold old certificates that cannot be parsed; those trust nobody.
    let (usable, _) = roots.add_parsable_certificates(certificates(path, pem)?);
    if usable == 0 {
        return Err(Error::Empty { path: path.to_owned(), what: "usable certificate" });
    }
    Ok(roots)
}

fn revocation_lists(
    path: &Path,
    bytes: Vec<u8>,
) -> Result<Vec<CertificateRevocationListDer<'static>>, Error> {
    // DER begins with a SEQUENCE.
    if bytes.first() == Some(&0x30) {
        return Ok(vec![CertificateRevocationListDer::from(bytes)]);
    }
    let failed = |source| Error::Pem { path: path.to_owned(), source };
    let lists: Vec<_> =
        CertificateRevocationListDer::pem_slice_iter(&bytes).collect::<Result<_, _>>().map_err(failed)?;
    if lists.is_empty() {
        return Err(Error::Empty { path: path.to_owned(), what: "revocation list" });
    }
    Ok(lists)
}
