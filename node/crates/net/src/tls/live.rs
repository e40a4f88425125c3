//! A server's TLS settings as they are now: read again when the files change, for handshakes from then on.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use parking_lot::Mutex;
use quinn::crypto::rustls::NoInitialCipherSuite;
use rustls_pki_types::{CertificateDer, UnixTime};

use super::source::{Settings, Source};
use super::{ClientAuth, Error, dev_certificate};
use crate::config;

/// A server's certificate, key and what it asks of clients. Clones are the same settings: all of them
/// see a change.
#[derive(Clone, Debug)]
pub struct ServerConfig(Arc<Live>);

#[derive(Debug)]
struct Live {
    source: Source,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    /// Counts the changes.
    version: u64,
    settings: Settings,
    /// Of the files `settings` were made of.
    fingerprint: u64,
    /// Of files that were no good and have been reported.
    reported: Option<u64>,
}

/// The settings as one listener offers them, made again when they have changed.
pub(crate) struct Offer<T> {
    config: ServerConfig,
    make: Make<T>,
    made: Mutex<(u64, T)>,
}

type Make<T> = Box<dyn Fn(rustls::ServerConfig) -> Result<T, NoInitialCipherSuite> + Send + Sync>;

impl ServerConfig {
    /// Reads a certificate chain (leaf first) and its key, both PEM, and the authorities for clients.
    ///
    /// # Errors
    /// A file cannot be read, holds nothing of its kind, or rustls refuses it.
    pub fn from_pem(certificate: &Path, key: &Path, client: Option<ClientAuth>) -> Result<Self, Error> {
        let source = Source { certificate: certificate.to_owned(), key: key.to_owned(), client };
        let contents = source.read();
        let fingerprint = contents.fingerprint();
        let settings = contents.settings()?;
        let current = Mutex::new(Current { version: 0, settings, fingerprint, reported: None });
        Ok(Self(Arc::new(Live { source, current })))
    }

    /// What the configuration asks for; where it names no certificate, one for localhost kept in `dev_dir`.
    ///
    /// # Errors
    /// As [`Self::from_pem`] and [`dev_certificate`]; only one of certificate and key is named; or
    /// revocation lists without authorities.
    pub fn load(config: &config::Tls, dev_dir: &Path) -> Result<Self, Error> {
        if config.client_ca.is_none() && !config.client_crl.is_empty() {
            return Err(Error::LonelyCrl);
        }
        let client = config.client_ca.clone().map(|ca| ClientAuth {
            ca,
            optional: config.client_certificate_optional,
            crl: config.client_crl.clone(),
        });
        match (&config.certificate, &config.key) {
            (Some(certificate), Some(key)) => Self::from_pem(certificate, key, client),
            (None, None) => {
                let made = dev_certificate(dev_dir)?;
                Self::from_pem(&made.certificate, &made.key, client)
            }
            (Some(_), None) => Err(Error::HalfPair { given: "tls.certificate" }),
            (None, Some(_)) => Err(Error::HalfPair { given: "tls.key" }),
        }
    }

    /// Reads the files again; says whether they have changed. Handshakes from now on use what they say,
    /// and no session from before is resumed. Blocks on the file system.
    ///
    /// # Errors
    /// What they say now cannot be used; the old settings stay. Each such change is logged and counted once.
    pub fn reload(&self) -> Result<bool, Error> {
        let Live { source, current } = &*self.0;
        let contents = source.read();
        let fingerprint = contents.fingerprint();
        let mut current = current.lock();
        if fingerprint == current.fingerprint {
            current.reported = None;
            return Ok(false);
        }
        match contents.settings() {
            Ok(settings) => {
                let version = current.version + 1;
                *current = Current { version, settings, fingerprint, reported: None };
                counter!("weir_net_tls_reloads_total").increment(1);
                tracing::info!(certificate = %source.certificate.display(), "tls files read again");
                Ok(true)
            }
            Err(error) => {
                if current.reported.replace(fingerprint) != Some(fingerprint) {
                    counter!("weir_net_tls_reload_failures_total").increment(1);
                    tracing::error!(%error, "tls files have changed and cannot be used; the old ones stay");
                }
                Err(error)
            }
        }
    }

    /// Reloads whenever the files have changed, looking every `interval`. Never ends.
    pub async fn watch(self, interval: Duration) {
        loop {
            tokio::time::sleep(interval).await;
            let config = self.clone();
            // What went wrong has been reported.
            let _ = tokio::task::spawn_blocking(move || config.reload()).await;
        }
    }

    /// For a TCP listener that chooses among these protocols; none ignores what a client offers.
    pub(crate) fn offer(&self, alpn: &[&str]) -> Offer<Arc<rustls::ServerConfig>> {
        let alpn: Vec<_> = alpn.iter().map(|name| (*name).to_owned()).collect();
        let offer = Offer::new(self.clone(), &alpn, |settings| Ok(Arc::new(settings)));
        offer.unwrap_or_else(|NoInitialCipherSuite { .. }| unreachable!("nothing is asked of cipher suites"))
    }

    fn current(&self) -> (u64, rustls::ServerConfig) {
        let current = self.0.current.lock();
        (current.version, current.settings.server.clone())
    }

    /// Counts the changes of the settings: what [`Self::believes`] has said holds until it is another.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.0.current.lock().version
    }

    /// Whether a handshake would take a client's certificate now, with those the client has sent beside it, all in
    /// DER: it may have been revoked since its own, or its authority dropped (RFC 5280 section 6). False where clients
    /// are asked for none. Takes as long as verifying some signatures.
    #[must_use]
    pub fn believes(&self, certificate: &[u8], beside: &[Vec<u8>]) -> bool {
        let Some(clients) = self.0.current.lock().settings.clients.clone() else { return false };
        let beside: Vec<_> = beside.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
        clients.verify_client_cert(&CertificateDer::from(certificate), &beside, UnixTime::now()).is_ok()
    }
}

impl<T: Clone> Offer<T> {
    /// Makes something of the settings with these protocols, now and after each change.
    ///
    /// # Errors
    /// It cannot be made of the settings there are now.
    pub fn new(
        config: ServerConfig,
        alpn: &[String],
        make: impl Fn(rustls::ServerConfig) -> Result<T, NoInitialCipherSuite> + Send + Sync + 'static,
    ) -> Result<Self, NoInitialCipherSuite> {
        let alpn: Vec<Vec<u8>> = alpn.iter().map(|name| name.clone().into_bytes()).collect();
        let make: Make<T> = Box::new(move |mut settings| {
            settings.alpn_protocols.clone_from(&alpn);
            make(settings)
        });
        let (version, settings) = config.current();
        let made = Mutex::new((version, make(settings)?));
        Ok(Self { config, make, made })
    }

    /// What the next handshake uses.
    pub fn current(&self) -> T {
        let mut made = self.made.lock();
        if made.0 != self.config.version() {
            let (version, settings) = self.config.current();
            made.0 = version;
            match (self.make)(settings) {
                Ok(new) => made.1 = new,
                Err(error) => {
                    tracing::error!(%error, "the new tls settings cannot be used here; the old stay")
                }
            }
        }
        made.1.clone()
    }
}

impl<T> std::fmt::Debug for Offer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Offer").field("source", &self.config.0.source).finish_non_exhaustive()
    }
}
