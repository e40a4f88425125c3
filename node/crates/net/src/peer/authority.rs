//! The cluster's authority: makes itself once, and a certificate for each node.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::NodeId;
use super::tls::{CLUSTER_NAME, NODE_SUFFIX};

/// The authority's certificate, which every node trusts.
pub const CA_FILE: &str = "cluster-ca.pem";
/// The authority's key, which only whoever adds nodes needs.
pub const CA_KEY_FILE: &str = "cluster-ca.key";
/// A node's certificate, followed by the authority's.
pub const NODE_FILE: &str = "node.pem";
/// The node's key.
pub const NODE_KEY_FILE: &str = "node.key";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Ten years: the authority must outlive its nodes' certificates.
const CA_VALID: Duration = Duration::from_secs(3653 * DAY.as_secs());
/// Five years; a node gets a new certificate from the same authority at any time.
const NODE_VALID: Duration = Duration::from_secs(1826 * DAY.as_secs());

/// An authority with its key, able to issue certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAuthority {
    certificate: String,
    key: String,
}

/// Why the files of an authority or of a node could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The certificate or key could not be made, or what a file holds is none.
    #[error("cannot {what}: {source}")]
    Certificate { what: &'static str, source: rcgen::Error },
    /// A file could not be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    /// A file could not be written; one that is there already is never overwritten.
    #[error("cannot write {path}: {source}", path = path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl PeerAuthority {
    /// Makes a new authority.
    ///
    /// # Errors
    /// No key could be made.
    pub fn generate() -> Result<Self, AuthorityError> {
        let failed = |source| AuthorityError::Certificate { what: "make the cluster's authority", source };
        let made = || {
            let key = KeyPair::generate()?;
            let mut params = CertificateParams::new(Vec::new())?;
            params.distinguished_name.push(DnType::CommonName, "Weir cluster authority");
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
            validity(&mut params, CA_VALID);
            let certificate = params.self_signed(&key)?.pem();
            Ok(Self { certificate, key: key.serialize_pem() })
        };
        made().map_err(failed)
    }

    /// Reads an authority from its two files in `dir`.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn read(dir: &Path) -> Result<Self, AuthorityError> {
        Ok(Self { certificate: read(&dir.join(CA_FILE))?, key: read(&dir.join(CA_KEY_FILE))? })
    }

    /// Writes the authority's two files into `dir`, which is made if it is missing; the key is readable by its owner only.
    ///
    /// # Errors
    /// A file is there already, or cannot be written.
    pub fn write(&self, dir: &Path) -> Result<(), AuthorityError> {
        make(dir)?;
        // The key first: where it is there already, nothing is changed.
        write(&dir.join(CA_KEY_FILE), &self.key, 0o600)?;
        write(&dir.join(CA_FILE), &self.certificate, 0o644)
    }

    /// Writes all that `node` needs into `dir`: the authority's certificate, the node's own, and its key,
    /// readable by its owner only. The certificate names the cluster and the node.
    ///
    /// # Errors
    /// A certificate cannot be made, or the node has files there already.
    pub fn issue_node(&self, node: &NodeId, dir: &Path) -> Result<(), AuthorityError> {
        let failed = |source| AuthorityError::Certificate { what: "issue the node's certificate", source };
        let (chain, key) = self.issue(node).map_err(failed)?;
        make(dir)?;
        write(&dir.join(NODE_KEY_FILE), &key, 0o600)?;
        write(&dir.join(NODE_FILE), &chain, 0o644)?;
        let ca = dir.join(CA_FILE);
        match fs::read_to_string(&ca) {
            Ok(there) if there == self.certificate => Ok(()),
            _ => write(&ca, &self.certificate, 0o644),
        }
    }

    fn issue(&self, node: &NodeId) -> Result<(String, String), rcgen::Error> {
        let issuer = Issuer::from_ca_cert_pem(&self.certificate, KeyPair::from_pem(&self.key)?)?;
        let names = vec![CLUSTER_NAME.to_owned(), format!("{node}{NODE_SUFFIX}")];
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, format!("Weir node {node}"));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        validity(&mut params, NODE_VALID);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?;
        Ok((certificate.pem() + &self.certificate, key.serialize_pem()))
    }
}

/// From yesterday, for clocks that differ.
fn validity(params: &mut CertificateParams, valid: Duration) {
    let now = SystemTime::now();
    params.not_before = (now - DAY).into();
    params.not_after = (now + valid).into();
}

fn make(dir: &Path) -> Result<(), AuthorityError> {
    fs::create_dir_all(dir).map_err(|source| AuthorityError::Write { path: dir.to_owned(), source })
}

fn read(path: &Path) -> Result<String, AuthorityError> {
    fs::read_to_string(path).map_err(|source| AuthorityError::Read { path: path.to_owned(), source })
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), AuthorityError> {
    let written = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    written().map_err(|source| AuthorityError::Write { path: path.to_owned(), source })
}
