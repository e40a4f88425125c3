//! Publishers that send all they can.

use weir_testkit::{Closed, RawMqtt};

use crate::crowd::{Attacker, raise_open_files};
use crate::frames::{V5, V311, connect, connected, disconnected, frame, publish};
use crate::scene::{Scene, node};

/// The maximum packet size told to clients.
const PACKET_BYTES: u64 = 1 << 20;

#[test]
fn publishes_of_256_mb_are_told_0x95_however_much_of_them_comes() {
    const ATTACKERS: usize = 20;
    let scene = Scene::of(node());
    let head = [0x30, 0xff, 0xff, 0xff, 0x7f, 0, 1, b't'];
    let chunk = vec![b'x'; 64 << 10];
    for number in 0..ATTACKERS {
        let level = if number % 2 == 0 { V5 } else { V311 };
        let mut raw = connected(&scene.node, level);
        raw.send(&head);
        // It goes on sending; the node takes a while of it, so that its answer arrives, and cuts it then.
        let sent = (0..4096).take_while(|_| raw.try_send(&chunk).is_ok()).count();
        assert!(sent < 4096, "all of it was taken");
        if level == V5 {
            let said = raw.frame_or_end();
            assert!(said.as_ref().is_err() || said.as_ref().is_ok_and(|f| f[2] == 0x95), "{said:02x?}");
        }
        raw.end();
    }
    // Whoever stops is told in order.
    let mut raw = connected(&scene.node, V5);
    raw.send(&head);
    assert_eq!(disconnected(&mut raw), 0x95);
    scene.survives(0);
}

#[test]
fn packets_that_are_only_announced_take_no_memory() {
    const ATTACKERS: u64 = 1000;
    raise_open_files();
    let scene = Scene::of(node());
    // Just below the limit, and only its head.
    let announced = [&connect(V5, "")[..], &[0x30, 0xfb, 0xff, 0x3f, 0, 1, b't', 0]].concat();
    let mut attackers = Vec::new();
    for _ in 0..ATTACKERS {
        let mut attacker = Attacker::connect(scene.node.address("mqtt"));
        attacker.pour(&announced).expect("taken");
        attackers.push(attacker);
    }
    scene.counts("weir_broker_sessions_connected", ATTACKERS as f64);
    scene.serves_others();
    drop(attackers);
    scene.survives(ATTACKERS * (16 << 10));
}

#[test]
fn packets_whose_last_byte_never_comes_hold_what_was_sent_and_no_more() {
    const ATTACKERS: u64 = 60;
    let scene = Scene::of(node());
    let whole = publish(0, "t", &[&[0][..], &vec![b'x'; PACKET_BYTES as usize - 64]].concat());
    let mut attackers: Vec<_> = (0..ATTACKERS).map(|_| connected(&scene.node, V5)).collect();
    attackers.iter_mut().for_each(|raw| raw.send(&whole[..whole.len() - 1]));
    scene.serves_others();
    // Their last byte makes good packets of them.
    for raw in &mut attackers {
        raw.send(&[&whole[whole.len() - 1..], &frame(0xC0, &[])].concat());
        assert_eq!(raw.frame(), [0xD0, 0]);
    }
    drop(attackers);
    // A buffer that grows is there twice for a moment, and the allocator keeps what it was for a while.
    scene.survives(ATTACKERS * PACKET_BYTES * 3 / 2);
}

#[test]
fn a_large_packet_that_drips_byte_by_byte_starves_nobody() {
    const DRIPS: usize = 5000;
    let scene = Scene::of(node());
    let whole = publish(0, "t", &[&[0][..], &vec![b'x'; PACKET_BYTES as usize - 64]].concat());
    let (most, drips) = whole.split_at(whole.len() - DRIPS);
    let mut attackers: Vec<_> = (0..4).map(|_| connected(&scene.node, V5)).collect();
    attackers.iter_mut().for_each(|raw| raw.send(most));
    for (number, drip) in drips.iter().enumerate() {
        attackers.iter_mut().for_each(|raw| raw.send(&[*drip]));
        if number % 1000 == 0 {
            scene.serves_others();
        }
    }
    for raw in &mut attackers {
        raw.send(&frame(0xC0, &[]));
        assert_eq!(raw.frame(), [0xD0, 0]);
    }
    drop(attackers);
    scene.survives(4 * 2 * PACKET_BYTES);
}

/// Pours `bytes` over all connections by turns, until the whole has been taken; answers are thrown away.
fn pour(scene: &Scene, attackers: &mut [Attacker], bytes: &[u8], times: usize) {
    let mut sent = vec![0; attackers.len()];
    let whole = bytes.len() * times;
    while sent.iter().any(|sent| *sent < whole) {
        for (attacker, sent) in attackers.iter_mut().zip(&mut sent) {
            let left = (whole - *sent).min(bytes.len() - *sent % bytes.len());
            let from = *sent % bytes.len();
            *sent += attacker.pour(&bytes[from..from + left]).expect("open");
            assert!(!attacker.is_closed(&mut Vec::new()), "thrown out");
        }
    }
    scene.serves_others();
}

fn let_in(scene: &Scene, count: usize) -> Vec<Attacker> {
    let address = scene.node.address("mqtt");
    let enter = |_| {
        let mut attacker = Attacker::connect(address);
        attacker.pour(&connect(V311, "")).expect("taken");
        attacker
    };
    (0..count).map(enter).collect()
}

#[test]
fn a_publish_flood_of_small_messages_starves_nobody() {
    const ATTACKERS: usize = 4;
    let scene = Scene::of(node());
    let mut attackers = let_in(&scene, ATTACKERS);
    let mut stuck = connected(&scene.node, V5);
    stuck.send(&crate::frames::subscribe(V5, "flood/#"));
    assert_eq!(stuck.frame()[0], 0x90);
    let heap: Vec<u8> =
        (0..1000u32).flat_map(|n| publish(0, format!("flood/{}", n % 100), &n.to_be_bytes())).collect();
    for _ in 0..10 {
        pour(&scene, &mut attackers, &heap, 10);
    }
    drop((attackers, stuck));
    // One outbox.
    scene.survives(4 << 20);
}

#[test]
fn a_flood_of_qos1_and_qos2_starves_nobody() {
    const ATTACKERS: usize = 4;
    let scene = Scene::of(node());
    let mut attackers = let_in(&scene, ATTACKERS);
    let of_id = |id: u16| {
        let id = id.to_be_bytes();
        [publish(0x02, "flood", &id), publish(0x04, "flood", &id), frame(0x62, &id)].concat()
    };
    let heap: Vec<u8> = (1..=1000).flat_map(of_id).collect();
    for _ in 0..5 {
        pour(&scene, &mut attackers, &heap, 4);
    }
    drop(attackers);
    scene.survives(ATTACKERS as u64 * (8 << 20));
}

#[test]
fn a_retained_flood_is_refused_with_0x97_above_the_limit() {
    const RETAINED_MAX: u16 = 1000;
    let scene = Scene::of(node().set("store.retained_messages_max", RETAINED_MAX));
    let mut raw = connected(&scene.node, V5);
    let retain = |raw: &mut RawMqtt, number: u16, payload: &[u8]| {
        let id = number.to_be_bytes();
        raw.send(&publish(0x03, format!("retained/{number}"), &[&id[..], &[0], payload].concat()));
        let puback = raw.frame();
        assert_eq!(puback[..1], [0x40]);
        puback.get(4).copied().unwrap_or(0)
    };
    let held = (1..=RETAINED_MAX * 4).filter(|number| retain(&mut raw, *number, b"x") < 0x80).count();
    assert!(held <= RETAINED_MAX.into() && held > usize::from(RETAINED_MAX) / 2, "{held} are retained");
    // Replacing and deleting always goes through.
    assert!(retain(&mut raw, 1, b"y") < 0x80 && retain(&mut raw, 2, b"") < 0x80);
    drop(raw);
    scene.survives(u64::from(RETAINED_MAX) * (4 << 10));
}

#[test]
fn a_flood_over_3_1_1_that_must_be_refused_ends_with_the_connection() {
    let scene = Scene::of(node().set("store.retained_messages_max", 10));
    let mut raw = connected(&scene.node, V311);
    let end = (1..=100u16).find_map(|number| {
        let id = number.to_be_bytes();
        let sent = raw.try_send(&publish(0x03, format!("retained/{number}"), &[&id[..], b"x"].concat()));
        sent.ok().and_then(|()| raw.frame_or_end().err())
    });
    assert_eq!(end, Some(Closed::Fin), "3.1.1 has no refusal");
    scene.survives(0);
}
