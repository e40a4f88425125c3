//! A node for WAMP clients, and the scripts that run their checks.

use std::path::{Path, PathBuf};
use std::process::Command;

use weir_testkit::Node;

/// What `cargo xtask tools` brought.
fn tools() -> PathBuf {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools");
    std::env::var_os("WEIR_TOOLS").map_or_else(built, PathBuf::from)
}

/// A node that listens for WebSockets, MQTT and RawSocket.
pub fn node() -> Node {
    Node::of(env!("CARGO_BIN_EXE_weir")).listen("http").listen("wamp").start()
}

/// Runs a script with the addresses of a node; it must succeed.
pub fn run(name: &str, node: &Node) {
    let urls = [format!("ws://{}/wamp", node.address("http")), format!("mqtt://{}", node.address("mqtt"))];
    run_with(name, node, &urls);
}

/// Runs a script, `.mjs` by Node.js and `.py` by Python, with these words behind its name and with the node's own
/// authority to believe; it must succeed.
pub fn run_with(name: &str, node: &Node, words: &[String]) {
    let tools = tools();
    let (program, brought) = match name.ends_with(".py") {
        true => (tools.join("python/bin/python"), "python/bin/python"),
        false => (PathBuf::from("node"), "wamp/node_modules"),
    };
    assert!(tools.join(brought).exists(), "{brought} is missing: run `cargo xtask tools`");
    let authority = node.data_dir().join("dev-tls/ca.pem");
    let mut command = Command::new(program);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wamp/clients").join(name)).args(words);
    command.env("WEIR_TOOLS", tools.canonicalize().unwrap_or_default());
    command.env("WEIR", env!("CARGO_BIN_EXE_weir"));
    if authority.exists() {
        command.env("NODE_EXTRA_CA_CERTS", authority);
    }
    let output = command.output().expect("the program can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}\n{said}", output.status);
}
