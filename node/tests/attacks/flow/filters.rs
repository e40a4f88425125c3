//! Subscriptions without end, and filters made to match slowly.

use weir_testkit::RawMqtt;
use weir_wire::mqtt::{Packet, Version, decode};

use crate::frames::{V5, connected, frame, publish, text};
use crate::pair::Pair;
use crate::scene::{Scene, node};

/// Levels of the topic that everything below matches.
const LEVELS: u32 = 10;

/// The `number`th way to match `a/a/..`: each bit says whether a level is `a` or `+`.
fn pattern(number: u32, levels: u32) -> String {
    let level = |bit| if number >> bit & 1 == 0 { "a" } else { "+" };
    (0..levels).map(level).collect::<Vec<_>>().join("/")
}

fn deep(levels: u32) -> String {
    pattern(0, levels)
}

/// A SUBSCRIBE with these filters at QoS 0 and these properties; the codes of its SUBACK.
fn subscribe(raw: &mut RawMqtt, properties: &[u8], filters: impl Iterator<Item = String>) -> Vec<u8> {
    let filters: Vec<u8> = filters.flat_map(|filter| [&text(filter)[..], &[0]].concat()).collect();
    raw.send(&frame(0x82, &[&[0, 1, properties.len() as u8][..], properties, &filters].concat()));
    let suback = raw.frame();
    let Ok(Packet::Suback(suback)) = decode(&suback, Version::V5) else { panic!("{:02x?}", &suback[..20]) };
    suback.codes.iter().map(|code| code.as_u8()).collect()
}

#[test]
fn a_thousand_overlapping_subscriptions_get_one_copy_with_every_id() {
    const OVERLAPPING: u32 = 1 << LEVELS;
    const MESSAGES: usize = 100;
    let scene = Scene::of(node());
    let mut raw = connected(&scene.node, V5);
    for number in 0..OVERLAPPING {
        // An id of two bytes.
        let id = [0x0B, number as u8 | 0x80, (number >> 7) as u8 + 1];
        assert_eq!(subscribe(&mut raw, &id, std::iter::once(pattern(number, LEVELS))), [0]);
    }
    let mut publisher = connected(&scene.node, V5);
    for _ in 0..MESSAGES {
        publisher.send(&publish(0, deep(LEVELS), b"\0once"));
        let copy = raw.frame();
        let Ok(Packet::Publish(copy)) = decode(&copy, Version::V5) else { panic!("no PUBLISH") };
        assert_eq!(copy.subscription_ids.iter().count(), OVERLAPPING as usize);
    }
    raw.send(&frame(0xC0, &[]));
    assert_eq!(raw.frame(), [0xD0, 0], "no copy twice");
    drop((raw, publisher));
    scene.survives(u64::from(OVERLAPPING) * 1024);
}

#[test]
fn a_subscribe_of_100_000_filters_is_answered_for_each_and_held_to_the_limit() {
    const FILTERS: usize = 100_000;
    const SUBSCRIPTIONS_MAX: usize = 10_000;
    let scene = Scene::of(node());
    let mut raw = connected(&scene.node, V5);
    let filters = || (0..FILTERS).map(|number| format!("{number:05}"));
    let codes = subscribe(&mut raw, &[], filters());
    assert_eq!(codes.len(), FILTERS);
    assert!(codes[..SUBSCRIPTIONS_MAX].iter().all(|code| *code == 0));
    assert!(codes[SUBSCRIPTIONS_MAX..].iter().all(|code| *code == 0x97));
    scene.serves_others();
    // And once more: those it has it may have again.
    assert_eq!(subscribe(&mut raw, &[], filters()), codes);
    scene.serves_others();
    drop(raw);
    // What each subscription takes, and the packet as read and as understood.
    scene.survives(SUBSCRIPTIONS_MAX as u64 * 1024 + 8 * FILTERS as u64 * 4);
}

#[test]
fn an_unsubscribe_of_100_000_filters_is_answered_for_each() {
    const FILTERS: usize = 100_000;
    const SUBSCRIPTIONS: usize = 10_000;
    let scene = Scene::of(node());
    let mut attackers: Vec<_> = (0..2).map(|_| connected(&scene.node, V5)).collect();
    let name = |number: usize| format!("{:05}", number % SUBSCRIPTIONS);
    let whole: Vec<u8> = (0..FILTERS).flat_map(|number| text(name(number))).collect();
    for raw in &mut attackers {
        assert_eq!(subscribe(raw, &[], (0..SUBSCRIPTIONS).map(name)).len(), SUBSCRIPTIONS);
    }
    // All at the same time.
    attackers.iter_mut().for_each(|raw| raw.send(&frame(0xA2, &[&[0, 1, 0][..], &whole].concat())));
    scene.serves_others();
    for raw in &mut attackers {
        let unsuback = raw.frame();
        let codes = &unsuback[unsuback.len() - FILTERS..];
        assert!(codes[..SUBSCRIPTIONS].iter().all(|code| *code == 0));
        assert!(codes[SUBSCRIPTIONS..].iter().all(|code| *code == 0x11), "no subscription existed");
    }
    drop(attackers);
    // What each subscription takes, and the packet as read and as understood.
    scene.survives(2 * (SUBSCRIPTIONS as u64 * 1024 + 4 * whole.len() as u64));
}

/// `+/a/+/+/..`: every filter of 17 levels there is, against topics that none of them matches.
#[test]
fn a_hundred_thousand_wildcard_filters_against_deep_topics_starve_nobody() {
    const WILDCARDS: u32 = 17;
    const FILTERS: usize = 100_000;
    const PER_SESSION: usize = 10_000;
    const PUBLISHES: usize = 500;
    let scene = Scene::of(node());
    let mut subscribers = Vec::new();
    for session in 0..FILTERS / PER_SESSION {
        let mut raw = connected(&scene.node, V5);
        let own = (session * PER_SESSION..).take(PER_SESSION / 2);
        // Half of them end where the topics do not.
        let filters = own.map(|number| format!("{}/end", pattern(number as u32, WILDCARDS)));
        let codes = subscribe(&mut raw, &[], filters);
        assert!(codes.iter().all(|code| *code == 0));
        subscribers.push(raw);
    }
    scene.serves_others();
    let heap: Vec<u8> = (0..PUBLISHES)
        .flat_map(|number| publish(0, format!("{}/{number}", deep(WILDCARDS)), b"\0"))
        .collect();
    // As many as the node has threads, and more.
    let mut attackers: Vec<_> = (0..4).map(|_| connected(&scene.node, V5)).collect();
    attackers.iter_mut().for_each(|raw| raw.send(&heap));
    scene.serves_others();
    let deep_pair = Pair::on(&scene.node, &format!("{}/pair", deep(WILDCARDS)));
    deep_pair.is_served();
    deep_pair.finish();
    drop((attackers, subscribers));
    scene.survives(FILTERS as u64 * 1024);
}
