//! A node that is what fox-wamp's clients expect, and their programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use weir_testkit::{Cluster, Node};

/// The realm of the demo programs, as they know it, beside one without quirks.
const CONFIG: &str = "
[[broker.realm]]
name = 'realm1'
compat = 'fox'
retained = 'merge'

[gateway.mqtt]
requests_call = true
realm_from_username = true
";

/// Nodes that share a store, and where their configuration lies.
pub struct Together {
    cluster: Cluster,
    _home: tempfile::TempDir,
}

/// A node, and where its configuration lies.
pub struct Scene {
    pub node: Node,
    _home: tempfile::TempDir,
}

/// What `cargo xtask tools` brought.
fn tools() -> PathBuf {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools");
    let tools = std::env::var_os("WEIR_TOOLS").map_or_else(built, PathBuf::from);
    assert!(
        tools.join("wamp/node_modules/fox-wamp").exists(),
        "fox-wamp is missing: run `cargo xtask tools`"
    );
    tools.canonicalize().expect("the tools are there")
}

/// A configuration in a directory of its own; with a policy if there is one.
fn configured(policy: Option<&str>) -> (tempfile::TempDir, PathBuf) {
    let home = tempfile::tempdir().expect("a directory");
    let (config, rules) = (home.path().join("weir.toml"), home.path().join("policy.toml"));
    let mut text = CONFIG.to_owned();
    if let Some(policy) = policy {
        std::fs::write(&rules, policy).expect("it can be written");
        text += &format!("\n[access]\npolicy = '{}'\n", rules.display());
    }
    std::fs::write(&config, text).expect("it can be written");
    (home, config)
}

/// Where a node listens, as the scripts are told.
fn addresses(node: &Node) -> [String; 3] {
    [
        format!("ws://{}/wamp", node.address("http")),
        format!("mqtt://{}", node.address("mqtt")),
        node.address("hyper").to_string(),
    ]
}

/// Runs checks of ours; they must succeed.
fn run(name: &str, words: &[String]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fox/clients").join(name);
    let output = script(&path).args(words).output().expect("node can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}\n{said}", output.status);
}

/// A program of Node.js, with the packages that the tests bring.
pub fn script(path: &Path) -> Command {
    let mut command = Command::new("node");
    command.env("WEIR_TOOLS", tools()).arg(path);
    command
}

impl Together {
    pub fn start(store: &str) -> Together {
        let (home, config) = configured(None);
        let set_up = move |_, node: weir_testkit::node::Builder| {
            node.listen("http").listen("hyper").arg("--config").arg(&config)
        };
        let cluster = Cluster::of(env!("CARGO_BIN_EXE_weir"), store).nodes(2).each(set_up).start();
        Together { cluster, _home: home }
    }

    /// The addresses of the first, then those of the second.
    pub fn run(&self, name: &str) {
        let words: Vec<String> = self.cluster.running().flat_map(addresses).collect();
        run(name, &words);
    }
}

impl Scene {
    pub fn new() -> Scene {
        Scene::of(None, &[])
    }

    /// With rules of who may do what.
    pub fn with(policy: &str) -> Scene {
        Scene::of(Some(policy), &[])
    }

    /// With these settings.
    pub fn set(settings: &[(&str, u64)]) -> Scene {
        Scene::of(None, settings)
    }

    fn of(policy: Option<&str>, settings: &[(&str, u64)]) -> Scene {
        let (home, config) = configured(policy);
        let node = Node::of(env!("CARGO_BIN_EXE_weir")).listen("http").listen("hyper");
        let node = settings.iter().fold(node, |node, (key, value)| node.set(key, value));
        Scene { node: node.arg("--config").arg(config).start(), _home: home }
    }

    /// The WebSocket that WAMP's clients connect to.
    pub fn url(&self) -> String {
        format!("ws://{}/wamp", self.node.address("http"))
    }

    pub fn run(&self, name: &str) {
        run(name, &addresses(&self.node));
    }
}

/// A demo program of fox-wamp's package.
pub fn demo(name: &str) -> PathBuf {
    tools().join("wamp/node_modules/fox-wamp/democli").join(name)
}
