//! MQTT over QUIC. No foreign client at hand speaks it, so it is `weir pub` and `weir sub` here.

use std::io::Write as _;
use std::process::Command;

use weir_testkit::Node;

use crate::script::authority;
use crate::tools::Running;

fn node() -> Node {
    Node::of(env!("CARGO_BIN_EXE_weir")).listen("quic").start()
}

fn weir(node: &Node, command: &str, words: &[&str]) -> Command {
    let mut weir = Command::new(env!("CARGO_BIN_EXE_weir"));
    weir.arg(command).arg("--ca").arg(authority(node)).args(words);
    if !words.contains(&"--url") {
        weir.arg("--url").arg(format!("quic://{}", node.address("quic")));
    }
    weir
}

fn run(node: &Node, command: &str, words: &[&str]) -> String {
    Running::start(&mut weir(node, command, words), None).success()
}

#[test]
fn a_session_over_quic_keeps_every_qos_in_order() {
    let node = node();
    for protocol in ["5", "3"] {
        let kept = ["--protocol", protocol, "--id", protocol, "-t", "a", "-q", "2"];
        let kept = match protocol {
            "5" => [&kept[..], &["--session-expiry", "600"]].concat(),
            _ => [&kept[..], &["--session-expiry", "4294967295"]].concat(),
        };
        run(&node, "sub", &[&kept[..], &["-W", "0"]].concat());
        for qos in ["1", "2"] {
            let mut lines = tempfile::NamedTempFile::new().unwrap();
            let expected: String = (0..400).map(|n| format!("{n}\n")).collect();
            lines.write_all(expected.as_bytes()).unwrap();
            Running::start(&mut weir(&node, "pub", &["-t", "a", "-q", qos, "-l"]), Some(lines.path()))
                .success();
            let got = run(&node, "sub", &[&kept[..], &["-C", "400"]].concat());
            assert_eq!(got, expected, "MQTT {protocol}, QoS {qos}");
        }
    }
}

#[test]
fn retained_messages_come_over_quic_at_every_qos() {
    let node = node();
    for qos in ["0", "1", "2"] {
        run(&node, "pub", &["-t", &format!("kept/{qos}"), "-m", qos, "-q", qos, "-r"]);
    }
    // QoS 0 is not acknowledged: what is asked for is there once all three are.
    let got = weir_testkit::eventually("three retained messages", || {
        let got = run(&node, "sub", &["-t", "kept/#", "-q", "2", "-C", "3", "-v"]);
        Some(got).filter(|got| got.lines().count() == 3)
    });
    let mut lines: Vec<_> = got.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["kept/0 0", "kept/1 1", "kept/2 2"]);
}

#[test]
fn large_payloads_cross_quic() {
    let node = node();
    let payload: String = (0..900 * 1024u32).map(|n| char::from(b'a' + (n * 7 % 25) as u8)).collect();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(payload.as_bytes()).unwrap();
    let path = file.path().display().to_string();
    run(&node, "pub", &["-t", "large", "-f", &path, "-q", "1", "-r"]);
    assert!(run(&node, "sub", &["-t", "large", "-q", "1", "-C", "1"]).trim_end() == payload);
}

#[test]
fn quic_and_tcp_meet() {
    let node = node();
    run(&node, "pub", &["-t", "a", "-m", "by quic", "-q", "1", "-r", "--property", "k=v"]);
    let url = format!("mqtt://{}", node.address("mqtt"));
    let got = run(&node, "sub", &["--url", &url, "-t", "a", "-C", "1"]);
    assert_eq!(got, "by quic\n");
}
