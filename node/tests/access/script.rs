//! The scripts with mqtt.js: one process for each address, one after the other.

use std::path::Path;
use std::process::Command;

use weir_testkit::Node;

use crate::tools::{self, Running};

/// Each way to a node's WebSockets, by paths that cashew's clients use.
pub const WEBSOCKETS: [(&str, &str, &str); 4] =
    [("ws", "http", "/"), ("ws", "http", "/mqtt"), ("wss", "https", "/"), ("wss", "https", "/mqtt")];

/// Runs a check of `mqttjs/run.mjs` against this address.
pub fn check(node: &Node, name: &str, url: &str) {
    tools::brought("node/node_modules/mqtt");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/access/mqttjs/run.mjs");
    let mut command = Command::new(tools::program("node"));
    command.arg(script).arg("--url").arg(format!("it={url}"));
    if url.starts_with("wss") {
        command.arg("--ca").arg(node.data_dir().join("dev-tls/ca.pem"));
    }
    command.arg(name);
    command.env("WEIR_TOOLS", tools::directory().canonicalize().unwrap_or_default());
    print!("{}", Running::start(&mut command, None).success());
}

/// The same by every kind of WebSocket.
pub fn check_by_websockets(node: &Node, name: &str) {
    for (scheme, listener, path) in WEBSOCKETS {
        check(node, name, &format!("{scheme}://{}{path}", node.address(listener)));
    }
}
