//! Revocation lists (RFC 5280 section 5): which serial numbers of which issuer do not count any more.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use x509_parser::der_parser::asn1_rs::FromDer as _;
use x509_parser::der_parser::oid;
use x509_parser::pem::Pem;
use x509_parser::prelude::{CertificateRevocationList, ReasonCode, X509Name};

use super::super::fingerprint;
use crate::load::{LoadError, read};

/// Bytes of a list: some million entries.
const LIST_BYTES_MAX: u64 = 64 << 20;

/// All that is revoked, by the fingerprint of the issuer's name.
#[derive(Default)]
pub(crate) struct Revoked {
    by_issuer: HashMap<u64, HashSet<Box<[u8]>>>,
}

impl Revoked {
    pub(crate) fn has(&self, issuer: u64, serial: &[u8]) -> bool {
        self.by_issuer.get(&issuer).is_some_and(|serials| serials.contains(serial))
    }

    /// Reads all lists; those of one issuer add up.
    ///
    /// # Errors
    /// The first file that cannot be read or is not a complete list.
    pub(crate) fn load(files: &[PathBuf], dir: &Path) -> Result<Revoked, LoadError> {
        let mut revoked = Revoked::default();
        for path in files {
            let path = dir.join(path);
            let bytes = read(&path, LIST_BYTES_MAX)?;
            revoked.add_file(&bytes, &path).map_err(|problem| LoadError::Malformed {
                place: path.display().to_string(),
                problem: problem.to_owned(),
            })?;
        }
        Ok(revoked)
    }

    fn add_file(&mut self, bytes: &[u8], path: &Path) -> Result<(), &'static str> {
        if !bytes.trim_ascii_start().starts_with(b"-----BEGIN") {
            return self.add(bytes, path);
        }
        let mut lists = 0;
        for block in Pem::iter_from_buffer(bytes) {
            let block = block.map_err(|_| "it is not PEM")?;
            if block.label == "X509 CRL" {
                self.add(&block.contents, path)?;
                lists += 1;
            }
        }
        if lists == 0 { Err("there is no `X509 CRL` in it") } else { Ok(()) }
    }

    fn add(&mut self, der: &[u8], path: &Path) -> Result<(), &'static str> {
        let (_, list) =
            CertificateRevocationList::from_der(der).map_err(|_| "it is not a revocation list")?;
        // Delta and indirect lists, and lists of only some certificates, say so by a critical extension.
        let partial = [oid!(2.5.29.27), oid!(2.5.29.28)];
        if list.extensions().iter().any(|extension| partial.contains(&extension.oid)) {
            return Err("only complete lists of one issuer are taken, no delta, indirect or partial ones");
        }
        let now = i64::try_from(unix_seconds()).unwrap_or(i64::MAX);
        if list.next_update().is_some_and(|next| next.timestamp() < now) {
            tracing::warn!(file = %path.display(), "a newer revocation list should have come; this one counts until then");
        }
        let serials = self.by_issuer.entry(issuer_fingerprint(list.issuer())).or_default();
        for entry in list.iter_revoked_certificates() {
            if !matches!(entry.reason_code(), Some((_, ReasonCode::RemoveFromCRL))) {
                serials.insert(serial(entry.raw_serial()).into());
            }
        }
        Ok(())
    }
}

/// A serial number without the zeros that only make it positive.
pub(super) fn serial(raw: &[u8]) -> &[u8] {
    let zeros = raw.iter().take_while(|byte| **byte == 0).count();
    &raw[zeros..]
}

pub(super) fn issuer_fingerprint(name: &X509Name<'_>) -> u64 {
    fingerprint([name.as_raw()])
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
