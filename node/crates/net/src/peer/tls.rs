//! The TLS settings of peers: one authority, TLS 1.3, certificates on both sides.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{CipherSuite, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use super::{Alpn, NodeId};
use crate::tls::{self, Error};

/// The name in every node's certificate, which a dialling node asks for whomever it dials.
pub(super) const CLUSTER_NAME: &str = "weir.cluster";
/// What follows the node's own name in its certificate.
pub(super) const NODE_SUFFIX: &str = ".weir.cluster";

/// Who this node is to its peers, and whom it believes.
#[derive(Clone)]
pub struct PeerTls {
    node: NodeId,
    pub(super) server: Arc<QuicServerConfig>,
    gossip: Arc<QuicClientConfig>,
    link: Arc<QuicClientConfig>,
}

impl PeerTls {
    /// Reads the cluster's authority (or several, of which each is believed), and this node's certificate (leaf first)
    /// and key, all PEM.
    ///
    /// # Errors
    /// A file cannot be read or holds nothing of its kind; the certificate names no node; or the three do
    /// not belong together.
    pub fn from_pem(ca: &Path, certificate: &Path, key: &Path) -> Result<Self, Error> {
        let roots = Arc::new(tls::read_roots(ca)?);
        let chain = tls::read_certificates(certificate)?;
        let node = chain
            .first()
            .and_then(node_of)
            .ok_or_else(|| Error::Empty { path: certificate.to_owned(), what: "name of a node" })?;
        let private = tls::read_key(key)?;
        let refused = |source| Error::Certificate { path: certificate.to_owned(), source };
        let server = server(ca, &roots, &chain, &private, certificate)?;
        let client = |alpn| client(alpn, &roots, &chain, &private).map_err(refused);
        Ok(Self { node, server, gossip: client(Alpn::Gossip)?, link: client(Alpn::Link)? })
    }

    /// The node the own certificate names.
    #[must_use]
    pub fn node_id(&self) -> &NodeId {
        &self.node
    }

    pub(super) fn client(&self, alpn: Alpn) -> Arc<QuicClientConfig> {
        match alpn {
            Alpn::Gossip => self.gossip.clone(),
            Alpn::Link => self.link.clone(),
        }
    }
}

impl fmt::Debug for PeerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerTls").field("node", &self.node).finish_non_exhaustive()
    }
}

/// AES-128 first: every byte between nodes is sealed by one and opened by the other, and the longer key
/// takes four rounds more.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = CryptoProvider::clone(&tls::provider());
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    Arc::new(provider)
}

fn server(
    ca: &Path,
    roots: &Arc<RootCertStore>,
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
    certificate: &Path,
) -> Result<Arc<QuicServerConfig>, Error> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider())
        .build()
        .map_err(|source| Error::ClientCa { path: ca.to_owned(), source })?;
    let mut settings = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|source| Error::Provider { source })?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain.to_vec(), key.clone_key())
        .map_err(|source| Error::Certificate { path: certificate.to_owned(), source })?;
    settings.alpn_protocols = Alpn::ALL.iter().map(|alpn| alpn.as_str().into()).collect();
    // Every connection shows its certificate anew.
    settings.send_tls13_tickets = 0;
    QuicServerConfig::try_from(settings).map(Arc::new).map_err(|_| no_suite())
}

fn client(
    alpn: Alpn,
    roots: &Arc<RootCertStore>,
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
) -> Result<Arc<QuicClientConfig>, rustls::Error> {
    let mut settings = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots.clone())
        .with_client_auth_cert(chain.to_vec(), key.clone_key())?;
    settings.alpn_protocols = vec![alpn.as_str().into()];
    settings.resumption = rustls::client::Resumption::disabled();
    QuicClientConfig::try_from(settings)
        .map(Arc::new)
        .map_err(|_| rustls::Error::General("no cipher suite for quic".to_owned()))
}

fn no_suite() -> Error {
    Error::Provider { source: rustls::Error::General("no cipher suite for quic".to_owned()) }
}

/// The node a certificate names: the one subject alternative name below the cluster's (RFC 5280 4.2.1.6).
pub(super) fn node_of(certificate: &CertificateDer<'_>) -> Option<NodeId> {
    let (_, certificate) = parse_x509_certificate(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::DNSName(name) => name.strip_suffix(NODE_SUFFIX)?.parse().ok(),
        _ => None,
    })
}
