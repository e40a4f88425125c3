//! Whom a client believes: a named authority, the system's authorities, or anybody.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::source::{read_certificates, read_key, read_roots};
use super::{ClientConfig, Error, provider};
use crate::client::ClientOptions;

/// Where systems keep their trusted authorities: Debian, Fedora, SUSE, Alpine and macOS.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The TLS settings of a client, without ALPN.
pub(crate) fn client_config(options: &ClientOptions) -> Result<ClientConfig, Error> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|source| Error::Provider { source })?;
    let builder = if options.insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
    } else {
        let roots = match &options.ca_file {
            Some(path) => read_roots(path)?,
            None => read_roots(system_roots()?)?,
        };
        builder.with_root_certificates(roots)
    };
    match (&options.certificate, &options.key) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(certificate), Some(key)) => {
            let refused = |source| Error::Certificate { path: certificate.clone(), source };
            let chain = read_certificates(certificate)?;
            builder.with_client_auth_cert(chain, read_key(key)?).map_err(refused)
        }
        (Some(_), None) => Err(Error::HalfPair { given: "the certificate" }),
        (None, Some(_)) => Err(Error::HalfPair { given: "the key" }),
    }
}

fn system_roots() -> Result<&'static Path, Error> {
    SYSTEM_ROOTS.iter().map(Path::new).find(|path| path.exists()).ok_or(Error::NoRoots)
}

/// Believes every server's name and certificate; still checks that it owns the certificate's key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
