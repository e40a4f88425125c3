//! The certificates a node shows its peers: those configured, or its own for a first try.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use weir_cluster::Config;
use weir_net::peer::{CA_FILE, CA_KEY_FILE, NODE_FILE, NODE_KEY_FILE, NodeId, PeerAuthority, PeerFiles};

/// Below the data directory.
const DIRECTORY: &str = "cluster-tls";

/// The configured files; without any, makes an authority and a certificate in the data directory. An authority of
/// another node that was copied there, with its key, is used instead of a new one.
///
/// # Errors
/// Only some are configured, or none can be made.
pub fn files(config: &Config, node: &NodeId, data_dir: &Path) -> anyhow::Result<PeerFiles> {
    let [ca, certificate, key] = match (&config.ca, &config.certificate, &config.key) {
        (Some(ca), Some(certificate), Some(key)) => [ca.clone(), certificate.clone(), key.clone()],
        (None, None, None) => own(node, &data_dir.join(DIRECTORY))?,
        _ => bail!(
            "`cluster.ca`, `cluster.certificate` and `cluster.key` go together: `weir cluster init` makes all three"
        ),
    };
    Ok(PeerFiles { ca, certificate, key })
}

fn own(node: &NodeId, dir: &Path) -> anyhow::Result<[PathBuf; 3]> {
    let files = [CA_FILE, NODE_FILE, NODE_KEY_FILE].map(|name| dir.join(name));
    if !files[1].exists() {
        let made = || {
            let authority = if dir.join(CA_KEY_FILE).exists() {
                PeerAuthority::read(dir)?
            } else {
                let authority = PeerAuthority::generate()?;
                authority.write(dir)?;
                tracing::warn!(
                    directory = %dir.display(),
                    "made a cluster authority of this node's own: other nodes need the same one to join"
                );
                authority
            };
            authority.issue_node(node, dir)
        };
        made().with_context(|| format!("no certificate for node {node}"))?;
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> NodeId {
        name.parse().unwrap()
    }

    #[test]
    fn without_files_a_node_makes_its_own_once() {
        weir_net::tls::install_ring();
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let files = files(&Config::default(), &named("a"), dir.path()).unwrap();
            assert_eq!(files.read().unwrap().node_id().as_str(), "a");
        }
    }

    #[test]
    fn an_authority_that_was_brought_along_is_used() {
        weir_net::tls::install_ring();
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        files(&Config::default(), &named("a"), first.path()).unwrap();
        let there = second.path().join(DIRECTORY);
        std::fs::create_dir(&there).unwrap();
        for file in [CA_FILE, CA_KEY_FILE] {
            std::fs::copy(first.path().join(DIRECTORY).join(file), there.join(file)).unwrap();
        }
        files(&Config::default(), &named("b"), second.path()).unwrap();
        let of = |dir: &Path| std::fs::read(dir.join(DIRECTORY).join(CA_FILE)).unwrap();
        assert_eq!(of(first.path()), of(second.path()));
    }

    #[test]
    fn half_of_the_files_is_refused_by_their_keys() {
        let config = Config { ca: Some("ca.pem".into()), ..Config::default() };
        let error = files(&config, &named("a"), Path::new("")).unwrap_err().to_string();
        assert!(error.contains("`cluster.key`"), "{error}");
    }
}
