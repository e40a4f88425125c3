//! mosquitto_pub, mosquitto_sub and mosquitto_rr: MQTT 3.1, 3.1.1 and 5, over TCP and TLS.

use std::io::Write as _;
use std::process::Command;

use weir_testkit::Node;

use crate::script::authority;
use crate::tools::{Running, program};

const VERSIONS: [&str; 3] = ["mqttv31", "mqttv311", "mqttv5"];
const ALL_VERSIONS_AND_QOS: usize = VERSIONS.len() * 3;

fn node() -> Node {
    Node::of(env!("CARGO_BIN_EXE_weir")).listen("mqtts").start()
}

/// A mosquitto program that connects to this node.
fn tool(name: &str, node: &Node, words: &[&str]) -> Command {
    // mosquitto_sub writes whole buffers into a file; line by line is asked for.
    let mut tool = Command::new(program("stdbuf"));
    let port = node.address("mqtt").port().to_string();
    tool.arg("-oL").arg(program(name)).args(["-h", "127.0.0.1", "-p", &port]).args(words);
    tool
}

fn publish(node: &Node, words: &[&str]) {
    Running::start(&mut tool("mosquitto_pub", node, words), None).success();
}

/// What mosquitto_sub prints until it ends by itself.
fn subscribe(node: &Node, words: &[&str]) -> String {
    Running::start(&mut tool("mosquitto_sub", node, words), None).success()
}

/// A mosquitto_sub whose subscription the broker has granted.
fn subscribed(node: &Node, words: &[&str]) -> Running {
    let mut running =
        Running::start(tool("mosquitto_sub", node, words).args(["-d", "-F", "got %q %r %t %p"]), None);
    running.says("Subscribed (mid:");
    running
}

/// The messages among what `subscribed` printed: QoS, RETAIN, topic, payload.
fn messages(output: &str) -> Vec<&str> {
    output.lines().filter_map(|line| line.strip_prefix("got ")).collect()
}

#[test]
fn every_version_carries_every_qos_to_every_version() {
    let node = node();
    let count = ALL_VERSIONS_AND_QOS.to_string();
    let start = |version: &&str| subscribed(&node, &["-V", version, "-q", "2", "-t", "to/all", "-C", &count]);
    let subscribers: Vec<_> = VERSIONS.iter().map(start).collect();
    let mut expected = Vec::new();
    for version in VERSIONS {
        for qos in ["0", "1", "2"] {
            publish(&node, &["-V", version, "-q", qos, "-t", "to/all", "-m", version]);
            expected.push(format!("{qos} 0 to/all {version}"));
        }
    }
    expected.sort();
    for subscriber in subscribers {
        let output = subscriber.success();
        let mut got = messages(&output);
        got.sort_unstable();
        assert_eq!(got, expected);
    }
}

#[test]
fn tls_carries_what_tcp_does() {
    let node = node();
    let ca = authority(&node).display().to_string();
    let port = node.address("mqtts").port().to_string();
    let over_tls = ["-h", "localhost", "-p", &port, "--cafile", &ca];
    let mut words = over_tls.to_vec();
    words.extend(["-q", "1", "-t", "a", "-C", "2"]);
    let subscriber = subscribed(&node, &words);
    let mut words = over_tls.to_vec();
    words.extend(["-q", "1", "-t", "a", "-m", "by tls"]);
    publish(&node, &words);
    publish(&node, &["-q", "1", "-t", "a", "-m", "by tcp"]);
    assert_eq!(messages(&subscriber.success()), ["1 0 a by tls", "1 0 a by tcp"]);
}

#[test]
fn a_session_keeps_messages_for_every_version() {
    let node = node();
    for version in VERSIONS {
        let kept = ["-V", version, "-c", "-i", version, "-q", "2", "-t", version];
        // -E: ends as soon as the subscription is granted.
        subscribe(&node, &[&kept[..], &["-E"]].concat());
        for n in 0..20 {
            publish(&node, &["-q", ["1", "2"][n % 2], "-t", version, "-m", &n.to_string()]);
        }
        let output = subscribe(&node, &[&kept[..], &["-C", "20"]].concat());
        let (one, two): (Vec<u32>, Vec<u32>) =
            output.lines().map(|n| n.parse::<u32>().unwrap()).partition(|n| n % 2 == 0);
        // Order is promised for each QoS by itself.
        assert_eq!(one, (0..20).step_by(2).collect::<Vec<_>>(), "{version}");
        assert_eq!(two, (1..20).step_by(2).collect::<Vec<_>>(), "{version}");
    }
}

#[test]
fn a_session_with_an_expiry_is_gone_after_a_clean_start() {
    let node = node();
    let kept = ["-V", "mqttv5", "-c", "-x", "600", "-i", "phone", "-q", "1", "-t", "news"];
    subscribe(&node, &[&kept[..], &["-E"]].concat());
    publish(&node, &["-q", "1", "-t", "news", "-m", "kept"]);
    assert_eq!(subscribe(&node, &[&kept[..], &["-C", "1"]].concat()), "kept\n");
    publish(&node, &["-q", "1", "-t", "news", "-m", "forgotten"]);
    // Without -c: a clean start.
    subscribe(&node, &["-V", "mqttv5", "-i", "phone", "-q", "1", "-t", "news", "-E"]);
    subscribe(&node, &[&kept[..], &["-E"]].concat());
    publish(&node, &["-q", "1", "-t", "news", "-m", "after"]);
    assert_eq!(subscribe(&node, &[&kept[..], &["-C", "1"]].concat()), "after\n");
}

#[test]
fn ten_thousand_lines_arrive_in_order_at_every_qos() {
    let node = node();
    let mut lines = tempfile::NamedTempFile::new().unwrap();
    let expected: String = (0..10_000).map(|n| format!("{n}\n")).collect();
    lines.write_all(expected.as_bytes()).unwrap();
    for qos in ["0", "1", "2"] {
        let mut subscriber = Running::start(
            &mut tool(
                "mosquitto_sub",
                &node,
                &["-d", "-q", qos, "-t", "load", "-F", "got %p", "-C", "10000"],
            ),
            None,
        );
        subscriber.says("Subscribed (mid:");
        let mut publisher = tool("mosquitto_pub", &node, &["-q", qos, "-t", "load", "-l"]);
        Running::start(&mut publisher, Some(lines.path())).success();
        let output = subscriber.success();
        let got: String = messages(&output).iter().map(|line| format!("{line}\n")).collect();
        assert!(got == expected, "QoS {qos}: {} lines, not in order", got.lines().count());
    }
}

#[test]
fn a_retained_message_is_kept_and_taken_away() {
    let node = node();
    publish(&node, &["-q", "1", "-r", "-t", "kept/a", "-m", "first"]);
    publish(&node, &["-q", "1", "-r", "-t", "kept/a", "-m", "second"]);
    publish(&node, &["-q", "0", "-r", "-t", "kept/b", "-m", "b"]);
    for version in VERSIONS {
        let output = subscribe(&node, &["-V", version, "-t", "kept/#", "-C", "2", "-F", "%r %t %p"]);
        let mut got: Vec<_> = output.lines().collect();
        got.sort_unstable();
        assert_eq!(got, ["1 kept/a second", "1 kept/b b"], "{version}");
    }
    publish(&node, &["-q", "1", "-r", "-n", "-t", "kept/a"]);
    assert_eq!(subscribe(&node, &["-t", "kept/#", "-C", "1"]), "b\n");
}

#[test]
fn a_killed_client_s_will_is_published() {
    let node = node();
    let watcher = subscribed(&node, &["-q", "2", "-t", "will", "-C", "3"]);
    for version in VERSIONS {
        let will = ["--will-topic", "will", "--will-payload", version, "--will-qos", "1"];
        let words = [&["-V", version, "-t", "anything"], &will[..]].concat();
        subscribed(&node, &words).kill();
    }
    let output = watcher.success();
    let mut got = messages(&output);
    got.sort_unstable();
    assert_eq!(got, ["1 0 will mqttv31", "1 0 will mqttv311", "1 0 will mqttv5"]);
}

#[test]
fn properties_of_mqtt_5_pass_through() {
    let node = node();
    let format = "got %C|%R|%D|%F|%P|%E|%S|%p";
    let words = ["-V", "mqttv5", "-t", "a", "-C", "1", "-d", "-F", format];
    let words = [&words[..], &["-D", "subscribe", "subscription-identifier", "42"]].concat();
    let mut subscriber = Running::start(&mut tool("mosquitto_sub", &node, &words), None);
    subscriber.says("Subscribed (mid:");
    let property = |words: &[&'static str]| [&["-D", "publish"], words].concat();
    let properties = [
        property(&["content-type", "text/plain"]),
        property(&["response-topic", "answers"]),
        property(&["correlation-data", "id-7"]),
        property(&["payload-format-indicator", "1"]),
        property(&["user-property", "b", "1"]),
        property(&["user-property", "a", "2"]),
        property(&["message-expiry-interval", "86400"]),
    ];
    publish(&node, &[&["-V", "mqttv5", "-t", "a", "-m", "payload"], &properties.concat()[..]].concat());
    let output = subscriber.success();
    let got: Vec<_> = messages(&output)[0].split('|').collect();
    assert_eq!(got[..4], ["text/plain", "answers", "id-7", "1"]);
    assert_eq!(got[4], "b:1 a:2", "in order");
    assert!((86_000..=86_400).contains(&got[5].parse::<u32>().unwrap()), "{got:?}");
    assert_eq!(got[6..], ["42", "payload"]);
}

#[test]
fn a_request_is_answered() {
    let node = node();
    let answer = [&["-V", "mqttv5", "-t", "ask", "-C", "1", "-d"], &["-F", "got %R %D %p"][..]].concat();
    let mut server = Running::start(&mut tool("mosquitto_sub", &node, &answer), None);
    server.says("Subscribed (mid:");
    let ask = [
        "-V",
        "mqttv5",
        "-t",
        "ask",
        "-e",
        "answers",
        "-m",
        "question",
        "-D",
        "publish",
        "correlation-data",
        "c",
    ];
    let client = Running::start(&mut tool("mosquitto_rr", &node, &ask), None);
    assert_eq!(messages(&server.success()), ["answers c question"]);
    publish(
        &node,
        &["-V", "mqttv5", "-t", "answers", "-m", "answer", "-D", "publish", "correlation-data", "c"],
    );
    assert_eq!(client.success(), "answer\n");
}

#[test]
fn members_of_a_group_share_the_work() {
    let node = node();
    for version in ["mqttv311", "mqttv5"] {
        let words = ["-V", version, "-q", "1", "-t", "$share/team/work", "-C", "10"];
        let members = [subscribed(&node, &words), subscribed(&node, &words)];
        for n in 0..20 {
            publish(&node, &["-q", "1", "-t", "work", "-m", &n.to_string()]);
        }
        let mut got: Vec<u32> = Vec::new();
        for member in members {
            let output = member.success();
            got.extend(
                messages(&output).iter().map(|line| line.rsplit(' ').next().unwrap().parse::<u32>().unwrap()),
            );
        }
        got.sort_unstable();
        assert_eq!(got, (0..20).collect::<Vec<_>>(), "{version}");
    }
}

#[test]
fn a_file_of_900_kib_arrives_byte_for_byte() {
    let node = node();
    let bytes: Vec<u8> = (0..900 * 1024u32).map(|n| (n * 31 % 251) as u8).collect();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&bytes).unwrap();
    let path = file.path().display().to_string();
    publish(&node, &["-q", "1", "-r", "-t", "file", "-f", &path]);
    let output = tempfile::NamedTempFile::new().unwrap();
    let status = tool("mosquitto_sub", &node, &["-q", "1", "-t", "file", "-C", "1", "-N"])
        .stdout(output.reopen().unwrap())
        .status()
        .unwrap();
    assert!(status.success());
    assert!(std::fs::read(output.path()).unwrap() == bytes, "not the same bytes");
}
