//! The files by which a node knows its peers and is known: read again when they change, for handshakes from then on.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use parking_lot::Mutex;

use super::{OtherNode, PeerEndpoint, PeerTls};
use crate::tls;

/// Three PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerFiles {
    /// The cluster's authority, or several while one takes over from another: each is believed.
    pub ca: PathBuf,
    /// The node's certificate, leaf first.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Keeps an endpoint as its files say.
#[derive(Debug)]
pub struct Renewal {
    endpoint: PeerEndpoint,
    files: PeerFiles,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    /// Of the files that the endpoint goes by.
    fingerprint: u64,
    /// Of files that were no good and have been reported.
    reported: Option<u64>,
}

/// Why the old certificates stay.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// A file cannot be used, or they do not belong together.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The certificate names another node.
    #[error(transparent)]
    OtherNode(#[from] OtherNode),
}

impl PeerFiles {
    /// What they say now. Blocks on the file system.
    ///
    /// # Errors
    /// See [`PeerTls::from_pem`].
    pub fn read(&self) -> Result<PeerTls, tls::Error> {
        PeerTls::from_pem(&self.ca, &self.certificate, &self.key)
    }

    /// Equal for equal contents, and for files that cannot be read for the same reason.
    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let read = |path: &Path| std::fs::read(path).map_err(|error| error.kind());
        [&self.ca, &self.certificate, &self.key].into_iter().for_each(|path| read(path).hash(&mut hasher));
        hasher.finish()
    }
}

impl Renewal {
    /// Of an endpoint that was bound with what these files say. Blocks on the file system.
    #[must_use]
    pub fn new(endpoint: PeerEndpoint, files: PeerFiles) -> Arc<Self> {
        let seen = Mutex::new(Seen { fingerprint: files.fingerprint(), reported: None });
        Arc::new(Self { endpoint, files, seen })
    }

    /// Reads the files again; says whether they have changed. Handshakes from now on use what they say, connections
    /// that stand stay as they are. Blocks on the file system.
    ///
    /// # Errors
    /// What they say now cannot be used; the old stays. Each such change is logged and counted once.
    pub fn reload(&self) -> Result<bool, RenewError> {
        let mut seen = self.seen.lock();
        let fingerprint = self.files.fingerprint();
        if fingerprint == seen.fingerprint {
            seen.reported = None;
            return Ok(false);
        }
        let renewed = self.files.read().map_err(RenewError::from);
        match renewed.and_then(|tls| Ok(self.endpoint.renew(tls)?)) {
            Ok(()) => {
                *seen = Seen { fingerprint, reported: None };
                counter!("weir_net_peer_tls_reloads_total").increment(1);
                tracing::info!(certificate = %self.files.certificate.display(), "certificates for peers read again");
                Ok(true)
            }
            Err(error) => {
                if seen.reported.replace(fingerprint) != Some(fingerprint) {
                    counter!("weir_net_peer_tls_reload_failures_total").increment(1);
                    tracing::error!(
                        %error,
                        "certificates for peers have changed and cannot be used; the old ones stay"
                    );
                }
                Err(error)
            }
        }
    }

    /// Reloads whenever the files have changed, looking every `interval`. Never ends.
    pub async fn watch(self: Arc<Self>, interval: Duration) {
        loop {
            tokio::time::sleep(interval).await;
            let renewal = self.clone();
            // What went wrong has been reported.
            let _ = tokio::task::spawn_blocking(move || renewal.reload()).await;
        }
    }
}
