//! Clients nobody here wrote: mqtt.js and paho-mqtt, with the scripts in `foreign/`.

use std::path::{Path, PathBuf};
use std::process::Command;

use weir_testkit::Node;

use crate::tools;

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/handlers/foreign").join(name)
}

/// Runs a check of `foreign/examples.mjs`.
pub fn mqttjs(node: &Node, check: &str) {
    tools::brought("node/node_modules/mqtt");
    let mut command = Command::new(tools::program("node"));
    run(command.arg(script("examples.mjs")), node, check);
}

/// Runs a check of `foreign/examples.py`.
pub fn paho(node: &Node, check: &str) {
    let mut command = Command::new(tools::brought("python/bin/python"));
    run(command.arg(script("examples.py")).env("PYTHONDONTWRITEBYTECODE", "1"), node, check);
}

fn run(command: &mut Command, node: &Node, check: &str) {
    command.arg("--url").arg(format!("tcp=mqtt://{}", node.address("mqtt")));
    command.arg("--pid").arg(node.pid().to_string());
    command.arg(check).env("WEIR_TOOLS", tools::directory().canonicalize().unwrap_or_default());
    print!("{}", tools::Running::start(command, None).success());
}
