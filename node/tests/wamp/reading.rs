//! What a subscriber may ask for: conditions on the body, history, snapshots and retained values.

use weir_testkit::{Cluster, Node, Redis};

use crate::script;

const PROGRAM: &str = env!("CARGO_BIN_EXE_weir");

/// A history for the realm `default`, a short one for `short`, and a realm like those of fox-wamp.
const REALMS: &str = r#"[
    { name = "default", history = 1000 }, { name = "short", history = 5 }, { name = "fox", compat = "fox" }
]"#;

fn ws(node: &Node) -> String {
    format!("ws://{}/wamp", node.address("http"))
}

fn mqtt(node: &Node) -> String {
    format!("mqtt://{}", node.address("mqtt"))
}

fn node() -> Node {
    Node::of(PROGRAM).listen("http").env("WEIR__BROKER__REALM", REALMS).start()
}

fn check(name: &str) {
    let node = node();
    script::run_with("reading.mjs", &node, &[name.to_owned(), ws(&node), mqtt(&node)]);
    node.balanced();
}

#[test]
fn a_filter_holds_for_live_retained_and_recorded_events_of_both_protocols() {
    check("filters");
}

#[test]
fn retained_gives_values_and_what_becomes_of_them_and_nothing_else() {
    check("retained");
}

#[test]
fn after_begins_behind_exactly_the_publication_that_was_seen() {
    check("after");
}

#[test]
fn a_subscription_hears_everything_while_others_of_its_session_come_and_go() {
    check("crossing");
}

#[test]
fn a_snapshot_ends_by_itself() {
    check("snapshots");
}

#[test]
fn get_events_tells_what_was_recorded_of_a_subscription() {
    check("events");
}

#[test]
fn mqtt_5_reads_on_behind_a_publication_or_a_position() {
    check("mqtt_after");
}

#[test]
fn what_cannot_be_asked_is_refused_by_name_and_costs_nobody_else_anything() {
    check("bad_input");
}

#[test]
fn history_of_one_node_is_read_on_another_while_it_is_written_and_a_killed_node_takes_nothing_along() {
    let redis = Redis::start();
    let cluster = Cluster::of(PROGRAM, &redis.url())
        .nodes(2)
        .each(|_, node| node.env("WEIR__BROKER__REALM", REALMS))
        .start();
    let (a, b) = (cluster.node(0), cluster.node(1));
    let words = ["across".to_owned(), ws(a), ws(b), a.pid().to_string(), mqtt(b)];
    script::run_with("reading.mjs", b, &words);
}

#[test]
fn tokens_of_a_lock_rise_in_the_order_of_its_grants() {
    let redis = Redis::start();
    let cluster = Cluster::of(PROGRAM, &redis.url()).nodes(2).start();
    let (a, b) = (cluster.node(0), cluster.node(1));
    script::run_with("reading.mjs", a, &["tokens".to_owned(), ws(a), ws(b), mqtt(b)]);
}
