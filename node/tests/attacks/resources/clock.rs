//! The clock is stepped by a day, forth and back.

use std::path::{Path, PathBuf};

use weir_testkit::{Node, RawMqtt};

use crate::crowd::enter;
use crate::frames::{V5, connect_with, frame, publish, subscribe, text};
use crate::scene::Scene;

/// The wall clock of one node, moved by libfaketime. Clocks that only run forward are left alone, as
/// a system's step leaves them alone.
struct Clock {
    offset: tempfile::NamedTempFile,
    library: PathBuf,
}

impl Clock {
    fn new() -> Clock {
        let clock = Clock { offset: tempfile::NamedTempFile::new().expect("a file"), library: library() };
        clock.step("+0");
        clock
    }

    /// Days from the true time, as `+1d`.
    fn step(&self, offset: &str) {
        // Read anew at every look at the clock; a shorter text must not leave the end of a longer one.
        let next = self.offset.path().with_extension("next");
        std::fs::write(&next, offset).expect("a file");
        std::fs::rename(next, self.offset.path()).expect("a file");
    }

    fn node(&self) -> Node {
        Node::of(env!("CARGO_BIN_EXE_weir"))
            .listen("http")
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", self.offset.path())
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .start()
    }
}

fn library() -> PathBuf {
    let places = std::fs::read_dir("/usr/lib").expect("libraries").filter_map(Result::ok);
    let within = |place: PathBuf| place.join("faketime/libfaketimeMT.so.1");
    let found = places.map(|entry| within(entry.path())).find(|file| Path::exists(file));
    found.expect("libfaketime is missing: run `cargo xtask tools`")
}

/// Publishes one message at QoS 1 and waits for its acknowledgement.
fn keep(raw: &mut RawMqtt, flags: u8, topic: &str, payload: &[u8]) {
    raw.send(&publish(flags | 0x02, topic, &[&[0, 1, 0][..], payload].concat()));
    let puback = raw.frame();
    assert!(puback[0] == 0x40 && puback.get(4).is_none_or(|code| *code < 0x80), "{puback:02x?}");
}

/// What a new subscriber is shown as the retained message.
fn retained(node: &Node, topic: &str) -> Vec<u8> {
    let mut raw = enter(node, "", 0x02, &[]);
    raw.send(&subscribe(V5, topic));
    assert_eq!(raw.frame()[0], 0x90);
    let message = raw.frame();
    assert_eq!(message[0], 0x31, "retained");
    message[message.len() - 1..].to_vec()
}

#[test]
fn a_clock_stepped_by_a_day_either_way_disconnects_nobody_and_loses_nothing() {
    let clock = Clock::new();
    let scene = Scene::around(clock.node());
    // A session that is away and never expires.
    let never = [0x11, 0xff, 0xff, 0xff, 0xff];
    let mut sleeper = enter(&scene.node, "sleeper", 0x02, &never);
    sleeper.send(&frame(0x82, &[&[0, 1, 0][..], &text("kept"), &[1]].concat()));
    sleeper.frame();
    drop(sleeper);
    // And one that is here, with a keep alive of ten seconds.
    let mut present = RawMqtt::connect(scene.node.address("mqtt"));
    let body = [&text("MQTT")[..], &[V5, 0x02, 0, 10, 0], &text("present")].concat();
    present.send(&frame(0x10, &body));
    assert_eq!(present.frame()[3], 0);
    let mut publisher = enter(&scene.node, "publisher", 0x02, &[]);
    let steps = ["+0", "+1d", "+0", "-1d", "+1d", "+0"];
    for (number, offset) in (0u8..).zip(steps) {
        clock.step(offset);
        scene.serves_others();
        keep(&mut publisher, 0, "kept", &[number]);
        keep(&mut publisher, 1, "last", &[number]);
        assert_eq!(retained(&scene.node, "last"), [number], "at {offset}");
        publisher.send(&publish(0, "$delayed/3600/later", b"\0x"));
        present.send(&frame(0xC0, &[]));
        assert_eq!(present.frame(), [0xD0, 0], "at {offset}");
    }
    let mut sleeper = RawMqtt::connect(scene.node.address("mqtt"));
    sleeper.send(&connect_with("MQTT", V5, 0x00, &never, &text("sleeper")));
    assert_eq!(sleeper.frame()[2..4], [1, 0], "the session is there");
    for number in 0..steps.len() as u8 {
        let message = sleeper.frame();
        assert_eq!((message[0] & 0xF0, message[message.len() - 1]), (0x30, number), "in order");
    }
    drop((sleeper, present, publisher));
    scene.survives(0);
}

#[test]
fn a_node_that_starts_a_day_before_its_own_data_keeps_order_and_takes_new_messages() {
    let clock = Clock::new();
    clock.step("+1d");
    let node = clock.node();
    let mut publisher = enter(&node, "publisher", 0x02, &[]);
    keep(&mut publisher, 1, "last", b"1");
    drop(publisher);
    clock.step("+0");
    let scene = Scene::around(node.restart());
    assert_eq!(retained(&scene.node, "last"), b"1");
    let mut publisher = enter(&scene.node, "publisher", 0x02, &[]);
    keep(&mut publisher, 1, "last", b"2");
    assert_eq!(retained(&scene.node, "last"), b"2");
    drop(publisher);
    scene.survives(0);
}
