//! `weir cluster`: the certificates by which nodes know each other.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Subcommand;
use weir_net::peer::{CA_FILE, CA_KEY_FILE, NODE_FILE, NODE_KEY_FILE, NodeId, PeerAuthority};

use super::Failure;

/// What `weir cluster` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make the cluster's authority, unless it is there already, and a certificate for each node named.
    ///
    /// Writes DIR/cluster-ca.pem and DIR/cluster-ca.key, and for each node a directory DIR/NAME with what that
    /// node needs: cluster-ca.pem (`cluster.ca`), node.pem (`cluster.certificate`) and node.key (`cluster.key`).
    /// Keep cluster-ca.key away from the nodes: who has it can make nodes. Nothing is ever overwritten.
    Init {
        /// The directory to write to; it is made when it is missing.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// The name of a node, the same as its `node.id`; as often as wanted, later too.
        #[arg(long, value_name = "NAME")]
        node: Vec<NodeId>,
    },
}

/// Makes what was asked for.
pub fn run(args: &Args) -> Result<(), Failure> {
    match &args.action {
        Action::Init { dir, node } => init(dir, node),
    }
}

fn init(dir: &Path, nodes: &[NodeId]) -> Result<(), Failure> {
    let authority = authority(dir)?;
    for node in nodes {
        let home = dir.join(node.as_str());
        authority.issue_node(node, &home).with_context(|| format!("no certificate for {node}"))?;
        say(&format!("{node}: {CA_FILE}, {NODE_FILE} and {NODE_KEY_FILE} in {}", home.display()))?;
    }
    Ok(())
}

fn authority(dir: &Path) -> Result<PeerAuthority, Failure> {
    if dir.join(CA_KEY_FILE).exists() {
        return Ok(PeerAuthority::read(dir).context("the authority cannot be used")?);
    }
    let authority = PeerAuthority::generate().context("no authority")?;
    authority.write(dir).context("no authority")?;
    say(&format!("authority: {CA_FILE} and {CA_KEY_FILE} in {}", dir.display()))?;
    Ok(authority)
}

fn say(line: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{line}").context("cannot write to stdout")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use weir_net::peer::PeerTls;

    use super::*;

    fn named(name: &str) -> NodeId {
        name.parse().expect("a name")
    }

    #[test]
    fn a_node_named_later_has_the_same_authority_and_none_is_made_twice() {
        weir_net::tls::install_ring();
        let dir = tempfile::tempdir().expect("a directory");
        let dir = dir.path().join("certificates");
        init(&dir, &[named("n1"), named("n2")]).expect("made");
        init(&dir, &[named("n3")]).expect("made");
        for node in ["n1", "n2", "n3"] {
            let home = dir.join(node);
            let tls =
                PeerTls::from_pem(&home.join(CA_FILE), &home.join(NODE_FILE), &home.join(NODE_KEY_FILE));
            assert_eq!(tls.expect("usable").node_id().as_str(), node);
            let theirs = std::fs::read(home.join(CA_FILE)).expect("an authority");
            assert_eq!(theirs, std::fs::read(dir.join(CA_FILE)).expect("an authority"));
        }
        let again = init(&dir, &[named("n1")]).expect_err("refused").to_string();
        assert!(again.contains("n1") && again.contains("node.key"), "{again}");
    }
}
