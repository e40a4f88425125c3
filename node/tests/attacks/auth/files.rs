//! Broken and empty files.

use std::path::Path;

use weir_testkit::eventually;

use super::token::{SECRET, code, enter, guarded, of, pair, signed};
use crate::frames::{V5, V311, connect, frame, publish, subscribe};
use crate::scene::{Scene, balances, node};

/// Puts a file in its place whole.
fn replace(file: &Path, text: &str) {
    let next = file.with_extension("next");
    std::fs::write(&next, text).expect("a file");
    std::fs::rename(next, file).expect("a file");
}

#[test]
fn a_key_file_that_breaks_keeps_the_old_key_and_is_reported() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("secret");
    replace(&file, SECRET);
    let builder = node().set("access.jwt.secret_file", file.display()).set("access.reload_seconds", 1);
    let scene = Scene::of_users(builder, pair());
    let mut guest = enter(&scene.node, "guest", 0x02, &[], &of("guest"));
    let failures = || scene.node.metrics().sum("weir_access_reload_failures_total");
    // Emptied, then gone.
    replace(&file, "");
    eventually("an empty file to be reported", || (failures() >= 1.0).then_some(()));
    assert_eq!(code(&scene.node, V5, &of("guest")), 0, "the old key stays");
    let empty = signed(&serde_json::json!({ "alg": "HS256" }), &serde_json::json!({ "user_id": "v" }), b"");
    assert_eq!(code(&scene.node, V5, &empty), 0x86, "nothing is no key");
    let before = failures();
    std::fs::remove_file(&file).expect("it was there");
    eventually("a missing file to be reported", || (failures() > before).then_some(()));
    assert_eq!(code(&scene.node, V5, &of("guest")), 0, "the old key stays");
    guest.send(&frame(0xC0, &[]));
    assert_eq!(guest.frame(), [0xD0, 0], "nobody was thrown out");
    drop(guest);
    scene.survives(0);
}

#[test]
fn a_broken_key_file_keeps_a_node_from_starting_and_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("key.pem");
    for text in ["", "no key\n", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
        replace(&file, text);
        let started = node().set("access.jwt.public_key_file", file.display()).try_start();
        let refused = started.err().unwrap_or_else(|| panic!("it starts with {text:?} as a key"));
        assert!(refused.status.is_some_and(|status| !status.success()));
        assert!(refused.said.contains("key.pem"), "{}", refused.said);
    }
}

#[test]
fn an_empty_policy_file_allows_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("policy.toml");
    replace(&file, "");
    let node = guarded().set("access.policy", file.display()).start();
    let mut raw = enter(&node, "anybody", 0x02, &[], &of("anybody"));
    for filter in ["#", "+", "anybody/#", "$SYS/#", "$share/g/#", "$share/g/anybody"] {
        raw.send(&subscribe(V5, filter));
        assert_eq!(raw.frame().last(), Some(&0x87), "{filter}");
    }
    for topic in ["anybody/x", "$SYS/x", "$delayed/0/x"] {
        raw.send(&publish(0, topic, b"\0x"));
        raw.send(&publish(2, topic, &[0, 1, 0]));
        assert_eq!(raw.frame(), [0x40, 3, 0, 1, 0x87], "{topic}");
        raw.send(&publish(4, topic, &[0, 1, 0]));
        assert_eq!(raw.frame(), [0x50, 3, 0, 1, 0x87], "{topic}");
    }
    drop(raw);
    // Nobody is anybody without a token.
    let mut raw = weir_testkit::RawMqtt::connect(node.address("mqtt"));
    raw.send(&connect(V311, "nobody"));
    assert!([4, 5].contains(&raw.frame()[3]));
    balances(&node);
}

#[test]
fn a_policy_file_that_breaks_keeps_the_old_rules_and_one_that_empties_denies_all() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("policy.toml");
    let open = "[[rule]]\nallow = [\"publish\", \"subscribe\"]\nfilters = [\"#\"]\n";
    replace(&file, open);
    let builder = guarded().set("access.policy", file.display()).set("access.reload_seconds", 1);
    let scene = Scene::of_users(builder, pair());
    replace(&file, "[[rule]]\nallow = [\"everything\"]\n");
    scene.counts("weir_access_reload_failures_total", 1.0);
    scene.serves_others();
    let mut raw = enter(&scene.node, "anybody", 0x02, &[], &of("anybody"));
    raw.send(&subscribe(V5, "a"));
    assert_eq!(raw.frame().last(), Some(&0));
    // All but the pair's own.
    replace(
        &file,
        "[[rule]]\nroles = [\"authenticated\"]\nallow = [\"publish\", \"subscribe\"]\nfilters = [\"pair/#\"]\n",
    );
    eventually("the new rules", || {
        raw.send(&publish(2, "a", &[0, 1, 0]));
        // What the old rules let through comes back, too.
        let puback = std::iter::from_fn(|| Some(raw.frame())).find(|frame| frame[0] == 0x40)?;
        (puback.get(4) == Some(&0x87)).then_some(())
    });
    // It was subscribed; now nothing comes.
    raw.send(&publish(0, "a", b"\0x"));
    raw.send(&frame(0xC0, &[]));
    assert_eq!(raw.frame(), [0xD0, 0]);
    drop(raw);
    scene.survives(0);
}
