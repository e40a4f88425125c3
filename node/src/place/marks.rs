//! Marks: what the nodes of a shared store were acknowledged last, so that what a dead one was is missed by those who
//! live (`guarantees.md` 7). Told by gossip, and noted in `data_dir` for this node's own next start.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use weir_cluster::{Cluster, Members};
use weir_store::Store;

/// The fact that carries a node's marks.
const FACT: &str = "marks";
/// How often marks are told and heard. What was acknowledged since is not missed when the node dies.
const EVERY: Duration = Duration::from_secs(1);
const FILE: &str = "store-marks";

/// Hears what this node noted before its last start, and from then on tells and hears, for ever.
pub async fn keep(
    store: Arc<dyn Store>,
    cluster: Cluster,
    members: watch::Receiver<Members>,
    data_dir: PathBuf,
) {
    let file = data_dir.join(FILE);
    match tokio::fs::read_to_string(&file).await {
        Ok(noted) => store.witness(&noted),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(%error, "cannot read what this node was acknowledged before"),
    }
    let mut told = String::new();
    loop {
        tokio::time::sleep(EVERY).await;
        let heard: Vec<String> =
            members.borrow().peers().filter_map(|member| member.facts.others.get(FACT).cloned()).collect();
        heard.iter().for_each(|marks| store.witness(marks));
        let Some(marks) = store.marks() else { return };
        if last_part(&marks) == last_part(&told) {
            continue;
        }
        if let Err(error) = cluster.set_fact(FACT, &marks).await {
            tracing::warn!(%error, "other nodes are not told what this one was acknowledged");
        }
        if let Err(error) = note(&file, &marks).await {
            tracing::warn!(%error, "cannot note what this node was acknowledged");
        }
        told = marks;
    }
}

/// Without the time at which it was said.
fn last_part(marks: &str) -> Option<&str> {
    marks.rsplit(' ').next()
}

/// A half written note would say less than the one before: it takes its place when it is whole.
async fn note(file: &Path, marks: &str) -> io::Result<()> {
    let fresh = file.with_extension("new");
    tokio::fs::write(&fresh, marks).await?;
    tokio::fs::rename(&fresh, file).await
}
