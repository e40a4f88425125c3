//! One authority takes over from another while the nodes run: no node is started anew for it.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use weir_admin::client::{Client as Admin, Target};
use weir_admin::proto::ConfigReloadRequest;
use weir_testkit::{Cluster, Node, PATIENCE, eventually};

use super::scene::PROGRAM;

const CA: &str = "cluster-ca.pem";
const CERTIFICATE: &str = "node.pem";
const KEY: &str = "node.key";

/// Two authorities, each with a certificate for either node, and the files that the nodes go by.
struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    /// Of the first authority.
    fn new() -> Files {
        let files = Files { dir: tempfile::tempdir().expect("a directory") };
        for authority in ["first", "second"] {
            let mut command = Command::new(PROGRAM);
            command.args(["cluster", "init", "--node", "node-0", "--node", "node-1", "--dir"]);
            let made = command.arg(files.dir.path().join(authority)).output().expect("the command");
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        }
        for node in 0..2 {
            std::fs::create_dir(files.of(node)).expect("made");
            files.believe(node, &["first"]);
            files.certify(node, "first");
        }
        files
    }

    fn of(&self, node: usize) -> PathBuf {
        self.dir.path().join(format!("of-{node}"))
    }

    fn path(&self, node: usize, file: &str) -> String {
        self.of(node).join(file).display().to_string()
    }

    /// The node's file has the certificates of these authorities.
    fn believe(&self, node: usize, authorities: &[&str]) {
        let read = |authority: &&str| std::fs::read_to_string(self.dir.path().join(authority).join(CA));
        let bundle: String = authorities.iter().map(|authority| read(authority).expect("read")).collect();
        std::fs::write(self.of(node).join(CA), bundle).expect("written");
    }

    /// The node's files have what this authority has made for it.
    fn certify(&self, node: usize, authority: &str) {
        let made = self.dir.path().join(authority).join(format!("node-{node}"));
        for file in [CERTIFICATE, KEY] {
            std::fs::copy(made.join(file), self.of(node).join(file)).expect("copied");
        }
    }

    /// Nodes that keep nothing, and look at these files when they are told to.
    fn nodes(&self) -> Cluster {
        let of: [[String; 3]; 2] =
            [0, 1].map(|node| [CA, CERTIFICATE, KEY].map(|file| self.path(node, file)));
        let nodes = Cluster::of(Path::new(PROGRAM), "memory").nodes(2);
        let nodes = nodes.each(move |number, node| {
            let [ca, certificate, key] = &of[number];
            let node = node.set("cluster.ca", ca).set("cluster.certificate", certificate);
            node.set("cluster.key", key).set("cluster.reload_seconds", 0).listen("admin")
        });
        nodes.start()
    }
}

fn counted(node: &Node, series: &str) -> f64 {
    node.metrics().value(series)
}

/// SIGHUP, and waits until one more change was taken.
fn reload(node: &Node) {
    let taken = || counted(node, "weir_net_peer_tls_reloads_total");
    let before = taken();
    let pid = i32::try_from(node.pid()).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, Signal::HUP).expect("it runs");
    eventually("the certificates to be read again", || (taken() == before + 1.0).then_some(()));
}

/// What `Config.Reload` says could not be used.
async fn reload_by_call(node: &Node) -> Vec<String> {
    let server = format!("http://{}", node.address("admin"));
    let target = Target { server, timeout: PATIENCE, calls_end: true, ..Target::default() };
    let admin = Admin::connect(&target).await.expect("connected");
    admin.config().reload(ConfigReloadRequest {}).await.expect("answered").into_inner().problems
}

/// All connections of the two end, for one of them stands still; then there may be new ones.
fn cut(cluster: &Cluster) {
    cluster.stop(1);
    eventually("the end of all connections", || {
        let metrics = cluster.node(0).metrics();
        let open = ["weir_cluster_link_up", "weir_cluster_gossip_connections"];
        open.iter().all(|series| metrics.value(series) == 0.0).then_some(())
    });
    cluster.cont(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_takes_over_from_another_while_the_nodes_run() {
    let files = Files::new();
    let cluster = files.nodes();
    let made = || counted(cluster.node(0), "weir_cluster_link_connections_total");
    let before = made();
    for node in 0..2 {
        files.believe(node, &["first", "second"]);
    }
    reload(cluster.node(0));
    assert_eq!(reload_by_call(cluster.node(1)).await, [""; 0]);
    assert_eq!(counted(cluster.node(1), "weir_net_peer_tls_reloads_total"), 1.0);
    for node in 0..2 {
        files.certify(node, "second");
        reload(cluster.node(node));
        assert_eq!(counted(cluster.node(0), "weir_cluster_link_up"), 1.0, "what stands stays");
        cut(&cluster);
        cluster.wait_until_whole();
    }
    for node in 0..2 {
        files.believe(node, &["second"]);
        reload(cluster.node(node));
    }
    cut(&cluster);
    cluster.wait_until_whole();
    assert!(made() > before + 2.0, "new handshakes");

    // What the first has issued is worth nothing any more.
    let series = "weir_net_peer_refused_total{reason=\"certificate\"}";
    let refused = || cluster.running().map(|node| counted(node, series)).sum::<f64>();
    assert_eq!(refused(), 0.0);
    files.certify(1, "first");
    reload(cluster.node(1));
    cut(&cluster);
    eventually("a refusal", || (refused() > 0.0).then_some(()));
    assert_eq!(counted(cluster.node(0), "weir_cluster_link_up"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_cannot_be_used_are_told_and_the_old_ones_stay() {
    let files = Files::new();
    let cluster = files.nodes();
    let other = files.dir.path().join("first").join("node-0");
    for file in [CERTIFICATE, KEY] {
        std::fs::copy(other.join(file), files.of(1).join(file)).expect("copied");
    }
    let problems = reload_by_call(cluster.node(1)).await;
    assert!(problems.len() == 1 && problems[0].contains("node-0"), "{problems:?}");
    assert_eq!(counted(cluster.node(1), "weir_net_peer_tls_reload_failures_total"), 1.0);
    cut(&cluster);
    cluster.wait_until_whole();
}
