//! Filters that are none: refused one by one in the SUBACK, and the connection goes on.

use weir_testkit::{Closed, Node, RawMqtt};

use super::frames::{V5, V311, connected, frame, subscribe, text};

/// Good UTF-8 and no filter (MQTT-4.7.1-1 to MQTT-4.7.1-3, MQTT-4.8.2-1, MQTT-4.8.2-2).
fn no_filters() -> Vec<String> {
    let short =
        ["a/#/b", "a#", "#a", "a+", "+a/b", "a/+b", "$share/ab", "$share//x", "$share/g/", "$share/a+b/x"];
    let mut filters: Vec<String> = short.map(str::to_owned).into();
    filters.push("/".repeat(65_535));
    filters
}

fn suback(raw: &mut RawMqtt) -> u8 {
    let suback = raw.frame();
    assert_eq!(suback[0], 0x90, "{suback:02x?}");
    *suback.last().expect("a code")
}

#[test]
fn a_filter_that_is_none_gets_0x8f_and_in_3_1_1_0x80() {
    let node = Node::of(env!("CARGO_BIN_EXE_weir")).store("memory").start();
    for (level, code) in [(V5, 0x8F), (V311, 0x80)] {
        let mut raw = connected(&node, level);
        for filter in no_filters() {
            raw.send(&subscribe(level, &filter));
            assert_eq!(suback(&mut raw), code, "{:.20}", filter);
        }
        raw.send(&subscribe(level, "still/good"));
        assert_eq!(suback(&mut raw), 0);
    }
}

#[test]
fn an_empty_filter_is_refused_or_ends_the_connection() {
    let node = Node::of(env!("CARGO_BIN_EXE_weir")).store("memory").start();
    let mut raw = connected(&node, V5);
    raw.send(&subscribe(V5, ""));
    match raw.frame_or_end() {
        Ok(said) if said[0] == 0x90 => assert_eq!(said.last(), Some(&0x8F)),
        Ok(said) => assert!(said[0] == 0xE0 && [0x81, 0x8F].contains(&said[2]), "{said:02x?}"),
        Err(closed) => assert_eq!(closed, Closed::Fin),
    }
}

#[test]
fn one_bad_filter_among_good_ones_spoils_only_itself() {
    let node = Node::of(env!("CARGO_BIN_EXE_weir")).store("memory").start();
    let mut raw = connected(&node, V5);
    let filters = [&text("a")[..], &[1], &text("b/#/c"), &[1], &text("c"), &[2]].concat();
    raw.send(&frame(0x82, &[&[0, 9, 0], &filters[..]].concat()));
    assert_eq!(raw.frame(), [0x90, 6, 0, 9, 0, 1, 0x8F, 2]);
}
