//! No file descriptors left.

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use weir_testkit::{Node, RawMqtt, eventually};

use crate::crowd::{Attacker, enter, raise_open_files};
use crate::frames::{V5, connect_with, frame, publish, text};
use crate::scene::{Scene, node};

/// Descriptors left to the node when the attack begins.
const LEFT: u64 = 20;

/// Takes all but a few of the descriptors from a running node: its own limits were made for more.
fn leave_few_files(node: &Node) {
    let open = open_files(node) as u64;
    let pid = i32::try_from(node.pid()).ok().and_then(Pid::from_raw);
    let limit = Rlimit { current: Some(open + LEFT), maximum: Some(20_000) };
    prlimit(pid, Resource::Nofile, limit).expect("the limit of a child");
}

/// Tries until it is let in; returns whether a session was present, too.
fn enter_at_last(node: &Node, client_id: &str, flags: u8, properties: &[u8]) -> (RawMqtt, bool) {
    let connect = connect_with("MQTT", V5, flags, properties, &text(client_id));
    eventually("somebody to be let in", || {
        let mut raw = RawMqtt::try_connect(node.address("mqtt")).ok()?;
        raw.try_send(&connect).ok()?;
        let connack = raw.frame_or_end().ok()?;
        (connack[3] == 0).then(|| (raw, connack[2] == 1))
    })
}

/// How many descriptors the node has open.
fn open_files(node: &Node) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", node.pid())).expect("a live node").count()
}

/// More connections than the node can hold; returns when its descriptors are used up.
fn exhaust(node: &Node) -> Vec<Attacker> {
    let attackers = (0..LEFT * 10).map(|_| Attacker::connect(node.address("mqtt"))).collect();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", node.pid())).expect("a live node");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("its limit");
    let max: usize = line.split_whitespace().nth(3).and_then(|max| max.parse().ok()).expect("a number");
    eventually("descriptors to be used up", || {
        // One may be kept to accept and close with.
        (open_files(node) + 2 >= max).then_some(())
    });
    attackers
}

#[test]
fn used_up_file_descriptors_harm_nobody_who_is_in_and_all_are_let_in_afterwards() {
    raise_open_files();
    let scene = Scene::of(node().set("gateway.connect_timeout_ms", 60_000));
    leave_few_files(&scene.node);
    let attackers = exhaust(&scene.node);
    scene.serves_others();
    drop(attackers);
    let newcomer = enter_at_last(&scene.node, "newcomer", 0x02, &[]);
    scene.counts("weir_gateway_accept_errors_total", 1.0);
    drop(newcomer);
    scene.survives(LEFT * 10 * (16 << 10));
}

#[test]
fn what_is_acknowledged_without_file_descriptors_is_kept() {
    const MESSAGES: u16 = 100;
    raise_open_files();
    // New files of the log are wanted all the time.
    let builder = Node::of(env!("CARGO_BIN_EXE_weir"))
        .listen("http")
        .set("gateway.connect_timeout_ms", 60_000)
        .set("store.queue_bytes_max", 64 << 20)
        .set("store.log_segment_bytes", 1 << 20)
        .set("store.log_bytes_max", 4 << 20);
    let scene = Scene::of(builder);
    let mut sleeper = enter(&scene.node, "sleeper", 0x02, &[0x11, 0, 0, 14, 16]);
    sleeper.send(&frame(0x82, &[&[0, 1, 0][..], &text("kept"), &[1]].concat()));
    sleeper.frame();
    drop(sleeper);
    let mut publisher = enter(&scene.node, "publisher", 0x02, &[]);
    leave_few_files(&scene.node);
    let attackers = exhaust(&scene.node);
    let mut acknowledged = Vec::new();
    for number in 1..=MESSAGES {
        let id = number.to_be_bytes();
        publisher.send(&publish(0x02, "kept", &[&id[..], &[0], &id, &[0; 64 << 10]].concat()));
        match &publisher.frame()[..] {
            [0x40, 2, ..] | [0x40, _, _, _, 0, ..] => acknowledged.push(id),
            [0x40, _, _, _, code, ..] => assert_eq!(*code, 0x97, "refused, so certainly not done"),
            // Nobody knows whether it was done.
            said => {
                assert_eq!((said[0], said[2]), (0xE0, 0x88), "{said:02x?}");
                break;
            }
        }
    }
    scene.serves_others();
    drop(attackers);
    assert!(!acknowledged.is_empty());
    let (mut sleeper, present) = enter_at_last(&scene.node, "sleeper", 0x00, &[0x11, 0, 0, 14, 16]);
    assert!(present, "the session is there");
    for id in &acknowledged {
        let message = sleeper.frame();
        // Behind the topic, the packet id and no properties.
        let at = message.len() - (64 << 10) - 2;
        assert_eq!(message[at..at + 2], id[..]);
        let packet_id = &message[at - 3..at - 1];
        sleeper.send(&[&[0x40, 2][..], packet_id].concat());
    }
    // And it keeps again.
    eventually("the store to keep again", || {
        let (mut publisher, _) = enter_at_last(&scene.node, "", 0x02, &[]);
        publisher.send(&publish(0x02, "kept", &[0, 1, 0]));
        matches!(publisher.frame()[..], [0x40, 2, ..] | [0x40, _, _, _, 0, ..]).then_some(())
    });
    drop((sleeper, publisher));
    scene.survives(u64::from(MESSAGES) * (64 << 10) * 2);
}
