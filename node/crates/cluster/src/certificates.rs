//! Where a node's certificate for its peers comes from: the configuration, or an authority made on the spot.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use weir_net::peer::{
    AuthorityError, CA_FILE, CA_KEY_FILE, NODE_FILE, NODE_KEY_FILE, NodeId, PeerAuthority, PeerTls,
};

use crate::config::Config;

/// The directory inside a data directory with what was made on the spot.
const DIRECTORY: &str = "peer-tls";

/// Why a node has no certificate for its peers.
#[derive(Debug, thiserror::Error)]
pub enum CertificatesError {
    /// Only some of the three files are configured.
    #[error(
        "`cluster.ca`, `cluster.certificate` and `cluster.key` go together, `cluster.{missing}` is not set"
    )]
    Incomplete { missing: &'static str },
    /// A file cannot be used.
    #[error(transparent)]
    Tls(#[from] weir_net::tls::Error),
    /// An authority or a certificate could not be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// What was made could not be put in its place.
    #[error("cannot write {path}: {source}", path = path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// The certificate of `node` as configured. Without one the node has an authority of its own in `data_dir`,
/// made at the first start: other nodes join it only with certificates of the same authority.
///
/// # Errors
/// A file is missing or cannot be used, or none could be made.
pub fn peer_tls(config: &Config, data_dir: &Path, node: &NodeId) -> Result<PeerTls, CertificatesError> {
    let missing = |missing| CertificatesError::Incomplete { missing };
    match (&config.ca, &config.certificate, &config.key) {
        (Some(ca), Some(certificate), Some(key)) => Ok(PeerTls::from_pem(ca, certificate, key)?),
        (None, None, None) => own(data_dir, node),
        (None, _, _) => Err(missing("ca")),
        (_, None, _) => Err(missing("certificate")),
        (_, _, None) => Err(missing("key")),
    }
}

fn own(data_dir: &Path, node: &NodeId) -> Result<PeerTls, CertificatesError> {
    let home = data_dir.join(DIRECTORY);
    let files = home.join(node.as_str());
    if !files.join(NODE_FILE).exists() {
        let authority = authority(&home)?;
        appear(&files, |made| authority.issue_node(node, made))?;
    }
    let (ca, certificate) = (files.join(CA_FILE), files.join(NODE_FILE));
    Ok(PeerTls::from_pem(&ca, &certificate, &files.join(NODE_KEY_FILE))?)
}

fn authority(home: &Path) -> Result<PeerAuthority, CertificatesError> {
    let files = home.join("authority");
    if !files.join(CA_KEY_FILE).exists() {
        let authority = PeerAuthority::generate()?;
        appear(&files, |made| authority.write(made))?;
    }
    Ok(PeerAuthority::read(&files)?)
}

/// Files appear all at once, by renaming their directory: a start that is cut short leaves nothing half made.
fn appear(
    place: &Path,
    make: impl FnOnce(&Path) -> Result<(), AuthorityError>,
) -> Result<(), CertificatesError> {
    let made = place.with_file_name(format!(".new.{}", std::process::id()));
    let failed = |source| CertificatesError::Write { path: place.to_owned(), source };
    if made.exists() {
        fs::remove_dir_all(&made).map_err(failed)?;
    }
    make(&made)?;
    fs::rename(&made, place).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_files_a_node_makes_its_own_authority_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let node: NodeId = "n1".parse().expect("a name");
        let config = Config::default();
        assert_eq!(peer_tls(&config, dir.path(), &node).expect("made").node_id(), &node);
        let key = dir.path().join(DIRECTORY).join("authority").join(CA_KEY_FILE);
        let first = fs::read(&key).expect("a key");
        // Another name is another certificate of the same authority.
        let renamed: NodeId = "n2".parse().expect("a name");
        assert_eq!(peer_tls(&config, dir.path(), &renamed).expect("made").node_id(), &renamed);
        assert_eq!(peer_tls(&config, dir.path(), &node).expect("found").node_id(), &node);
        assert_eq!(fs::read(&key).expect("a key"), first);
    }

    #[test]
    fn a_file_that_is_not_named_is_told() {
        let config = Config { ca: Some("ca.pem".into()), key: Some("key".into()), ..Config::default() };
        let refused = peer_tls(&config, Path::new("."), &"n1".parse().expect("a name"));
        assert!(matches!(refused.err(), Some(CertificatesError::Incomplete { missing: "certificate" })));
    }
}
