//! A real mosquitto as a bridge: forwards both ways, without loops, and comes back after a restart.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;

use tempfile::TempDir;
use weir_testkit::Node;

use crate::tools::{Running, program};

/// A mosquitto whose bridge leads to a node.
struct Bridge {
    port: u16,
    broker: Running,
    _home: TempDir,
}

impl Bridge {
    fn to(node: &Node, options: &str) -> Bridge {
        let home = tempfile::Builder::new().prefix("weir-bridge-").tempdir().unwrap();
        // mosquitto cannot take a free port by itself.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        let config = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nuser root\nlog_dest stdout\nlog_type all\n\
             connection to-weir\naddress {}\nrestart_timeout 1\nremote_clientid bridge\n{options}",
            node.address("mqtt"),
        );
        let file = home.path().join("bridge.conf");
        std::fs::write(&file, config).unwrap();
        drop(free);
        let mut command = Command::new(program("stdbuf"));
        command.arg("-oL").arg(program("mosquitto")).arg("-c").arg(&file);
        let broker = Running::start(&mut command, None);
        Bridge { port, broker, _home: home }
    }

    fn is_listening(&self) {
        let open = || TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok();
        weir_testkit::eventually("mosquitto", open);
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("mosquitto said:\n{}", self.broker);
        }
    }
}

fn node() -> Node {
    Node::of(env!("CARGO_BIN_EXE_weir")).start()
}

fn tool(name: &str, port: u16, words: &[&str]) -> Command {
    let mut tool = Command::new(program("stdbuf"));
    tool.arg("-oL").arg(program(name)).args(["-p", &port.to_string(), "-q", "1"]).args(words);
    tool
}

fn subscribed(port: u16, filter: &str) -> Running {
    let words = ["-d", "-t", filter, "-F", "got %t %p"];
    let mut running = Running::start(&mut tool("mosquitto_sub", port, &words), None);
    running.says("Subscribed (mid:");
    running
}

fn publish(port: u16, topic: &str, message: &str) {
    Running::start(&mut tool("mosquitto_pub", port, &["-t", topic, "-m", message]), None).success();
}

/// Messages that came, in the order they did.
fn messages(running: &Running) -> Vec<String> {
    let output = running.output();
    output.lines().filter_map(|line| line.strip_prefix("got ")).map(str::to_owned).collect()
}

/// Publishes until it is heard on the other side: the bridge is up, in this direction.
fn connect(from: u16, topic: &str, to: &Running) {
    weir_testkit::eventually("the bridge", || {
        publish(from, topic, "is anybody there");
        messages(to).iter().any(|message| message.ends_with("is anybody there")).then_some(())
    });
}

fn forwards_both_ways_without_loops(options: &str) {
    let node = node();
    let weir = node.address("mqtt").port();
    let bridge = Bridge::to(&node, options);
    bridge.is_listening();
    let (here, mut there) = (subscribed(weir, "both/#"), subscribed(bridge.port, "both/#"));
    connect(bridge.port, "both/up", &here);
    connect(weir, "both/down", &there);
    for n in 0..10 {
        publish(bridge.port, "both/a", &format!("up {n}"));
        publish(weir, "both/a", &format!("down {n}"));
    }
    // An echo would be on its way before these.
    publish(bridge.port, "both/z", "end");
    publish(weir, "both/z", "end");
    there.says("got both/z end");
    let both = |running: &Running| {
        let all = messages(running);
        let ends = all.iter().filter(|message| *message == "both/z end").count();
        (ends >= 2)
            .then(|| all.into_iter().filter(|message| message.starts_with("both/a ")).collect::<Vec<_>>())
    };
    for running in [&here, &there] {
        let got = weir_testkit::eventually("both ends", || both(running));
        for direction in ["up", "down"] {
            let start = format!("both/a {direction}");
            let found: Vec<_> = got.iter().filter(|message| message.starts_with(&start)).collect();
            let expected: Vec<_> = (0..10).map(|n| format!("{start} {n}")).collect();
            assert_eq!(found, expected.iter().collect::<Vec<_>>(), "each once, in order");
        }
    }
}

#[test]
fn an_mqtt_311_bridge_forwards_both_ways_without_loops() {
    // try_private: protocol level 0x84, which asks a broker not to send a bridge its own messages.
    forwards_both_ways_without_loops(
        "bridge_protocol_version mqttv311\ntry_private true\ntopic both/# both 1\n",
    );
}

#[test]
fn an_mqtt_31_bridge_forwards_both_ways_without_loops() {
    forwards_both_ways_without_loops(
        "bridge_protocol_version mqttv31\ntry_private true\ntopic both/# both 1\n",
    );
}

#[test]
fn an_mqtt_5_bridge_forwards_both_ways_without_loops() {
    forwards_both_ways_without_loops("bridge_protocol_version mqttv50\ntopic both/# both 1\n");
}

#[test]
fn a_bridge_says_whether_it_is_connected() {
    let node = node();
    let bridge = Bridge::to(&node, "bridge_protocol_version mqttv311\ntopic both/# both 1\n");
    let weir = node.address("mqtt").port();
    let mut watcher = subscribed(weir, "$SYS/broker/connection/bridge/state");
    watcher.says("got $SYS/broker/connection/bridge/state 1");
    // Killed: its will says so.
    drop(bridge);
    watcher.says("got $SYS/broker/connection/bridge/state 0");
}

#[test]
fn a_bridge_comes_back_and_brings_what_was_published_meanwhile() {
    let node = node();
    let options = "bridge_protocol_version mqttv311\ncleansession false\ntopic both/# both 1\n";
    let bridge = Bridge::to(&node, options);
    bridge.is_listening();
    let there = subscribed(bridge.port, "both/#");
    connect(node.address("mqtt").port(), "both/down", &there);
    let node = node.restart();
    let here = subscribed(node.address("mqtt").port(), "both/#");
    publish(bridge.port, "both/a", "while away");
    publish(node.address("mqtt").port(), "both/b", "to the one away");
    let has = |running: &Running, wanted: &str| messages(running).iter().any(|message| message == wanted);
    weir_testkit::eventually("the bridge to come back", || {
        (has(&here, "both/a while away") && has(&there, "both/b to the one away")).then_some(())
    });
}
