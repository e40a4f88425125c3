//! The scripts: each check of paho's and mqtt.js' is one test here, over all its transports at once.

use std::path::{Path, PathBuf};
use std::process::Command;

use weir_testkit::Node;

use crate::tools::{self, Running};

/// A script with many named checks.
#[derive(Debug, Clone, Copy)]
pub enum Script {
    Paho,
    MqttJs,
}

/// How a client reaches the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Tls,
    WebSocket,
    WebSocketTls,
}

pub const EVERYWHERE: &[Transport] = &[Transport::Tcp, Transport::Tls, Transport::WebSocket];
pub const ALL_FOUR: &[Transport] =
    &[Transport::Tcp, Transport::Tls, Transport::WebSocket, Transport::WebSocketTls];
pub const WEBSOCKETS: &[Transport] = &[Transport::WebSocket, Transport::WebSocketTls];

impl Script {
    fn command(self) -> Command {
        let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        let mut command = match self {
            Script::Paho => {
                let mut python = Command::new(tools::brought("python/bin/python"));
                python.arg(clients.join("paho/run.py")).env("PYTHONDONTWRITEBYTECODE", "1");
                python
            }
            Script::MqttJs => {
                tools::brought("node/node_modules/mqtt");
                tools::brought("node/node_modules/ws");
                let mut node = Command::new(tools::program("node"));
                node.arg(clients.join("mqttjs/run.mjs"));
                node
            }
        };
        command.env("WEIR_TOOLS", tools::directory().canonicalize().unwrap_or_default());
        command
    }

    /// The names of all its checks.
    pub fn names(self) -> Vec<String> {
        let listed = Running::start(self.command().arg("--list"), None).success();
        listed.lines().map(str::to_owned).collect()
    }

    /// Runs one check against a node of its own with these settings.
    pub fn check(self, name: &str, transports: &[Transport], settings: &[(&str, &str)]) {
        let mut node = Node::of(env!("CARGO_BIN_EXE_weir")).set("broker.sys_interval_seconds", 1);
        for transport in transports {
            node = node.listen(transport.listener());
        }
        for (key, value) in settings {
            node = node.set(key, value);
        }
        let node = node.start();
        let mut command = self.command();
        for transport in transports {
            command.arg("--url").arg(transport.url(&node));
        }
        command.arg("--ca").arg(authority(&node)).arg("--pid").arg(node.pid().to_string()).arg(name);
        print!("{}", Running::start(&mut command, None).success());
    }
}

/// The certificate that clients of this node trust.
pub fn authority(node: &Node) -> PathBuf {
    node.data_dir().join("dev-tls/ca.pem")
}

impl Transport {
    fn listener(self) -> &'static str {
        match self {
            Transport::Tcp => "mqtt",
            Transport::Tls => "mqtts",
            Transport::WebSocket => "http",
            Transport::WebSocketTls => "https",
        }
    }

    /// `NAME=URL`, as the scripts take it.
    fn url(self, node: &Node) -> String {
        let address = node.address(self.listener());
        match self {
            Transport::Tcp => format!("tcp=mqtt://{address}"),
            Transport::Tls => format!("tls=mqtts://{address}"),
            Transport::WebSocket => format!("ws=ws://{address}/mqtt"),
            Transport::WebSocketTls => format!("wss=wss://{address}/mqtt"),
        }
    }
}

/// A module of tests, one for each check of a script's module of that name.
macro_rules! checks {
    ($module:ident: $script:expr, over $transports:ident, with $settings:expr, $($check:ident,)+) => {
        pub mod $module {
            pub const NAMES: &[&str] = &[$(stringify!($check)),+];
            $(
                #[test]
                fn $check() {
                    use crate::script::*;
                    $script.check(stringify!($check), $transports, &$settings);
                }
            )+
        }
    };
}
pub(crate) use checks;

/// Fails with the names of checks without a test, and of tests without a check.
pub fn compare(script: Script, modules: &[&[&str]]) {
    let mut tests: Vec<String> = modules.concat().iter().map(|name| (*name).to_owned()).collect();
    let mut checks = script.names();
    tests.sort();
    checks.sort();
    assert_eq!(checks, tests);
}
