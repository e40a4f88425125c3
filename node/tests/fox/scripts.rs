//! What clients do, told by scripts.

use crate::scene::{self, Scene};

#[test]
fn hyper_net_client_finds_what_it_knows() {
    Scene::new().run("hyper.mjs");
}

#[test]
fn a_body_is_the_same_for_clients_of_all_protocols() {
    Scene::new().run("bodies.mjs");
}

#[test]
fn mqtt_clients_name_their_realm_and_call_procedures() {
    Scene::new().run("mqtt.mjs");
}

#[test]
fn a_request_needs_the_right_to_call_and_to_answer() {
    Scene::with(
        "[[rule]]
         allow = ['publish', 'subscribe', 'call', 'register']
         filters = ['open/#', 'answers/#']
         [[rule]]
         allow = ['publish', 'subscribe', 'register']
         filters = ['closed/#']",
    )
    .run("rights.mjs");
}

#[test]
fn what_a_client_of_hyper_may_cost_is_bounded() {
    Scene::set(&[
        ("gateway.connect_timeout_ms", 500),
        ("gateway.wamp.message_bytes_max", 10_000),
        ("broker.subscriptions_max", 10),
        ("broker.calls.registrations_max", 10),
        ("broker.calls.calls_max", 10),
    ])
    .run("bounds.mjs");
}

#[test]
fn a_request_at_one_node_calls_what_is_registered_at_another() {
    let redis = weir_testkit::Redis::start();
    scene::Together::start(&redis.url()).run("cluster.mjs");
}

#[test]
fn quirks_are_there_in_realms_that_ask_for_them_and_in_no_other() {
    Scene::new().run("quirks.mjs");
}
