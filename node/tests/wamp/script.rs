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

/// Runs a script of Node.js with the addresses of a node; it must succeed.
pub fn run(name: &str, node: &Node) {
    let tools = tools();
    assert!(tools.join("wamp/node_modules").is_dir(), "autobahn-js is missing: run `cargo xtask tools`");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wamp/clients").join(name);
    let output = Command::new("node")
        .arg(script)
        .arg(format!("ws://{}/wamp", node.address("http")))
        .arg(format!("mqtt://{}", node.address("mqtt")))
        .env("WEIR_TOOLS", tools.canonicalize().unwrap_or_default())
        .output()
        .expect("node can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}\n{said}", output.status);
}
