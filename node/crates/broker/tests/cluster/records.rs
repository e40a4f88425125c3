//! What a node makes of records that a peer should not have sent.

use std::sync::Arc;

use weir_cluster::record::{Outgoing, Run};
use weir_model::{DEFAULT_REALM, Qos};

use super::bed::Bed;
use super::client::{CLEAN, Client};

/// As many as peers may bring into being.
const REALMS: usize = 1024;

fn record<'a>(realm: &'a str, topic: &'a str, payload: &'a str) -> Outgoing<'a> {
    Outgoing {
        realm,
        topic,
        payload: payload.as_bytes(),
        qos: Qos::AtMostOnce,
        retain: false,
        expiry_ms_left: None,
        properties: None,
        position: None,
        numbered: &[],
        share: None,
        only_named: false,
    }
}

#[tokio::test]
async fn records_behind_one_of_a_refused_realm_go_to_nobody_who_wanted_another_topic() {
    let bed = Bed::of(&["a", "b"]).await;
    let (a, b) = (bed.node("a"), bed.node("b"));
    let mut client = Client::connect(&b, "c", CLEAN).await;
    client.subscribe("t", Qos::AtMostOnce).await;
    (0..REALMS).for_each(|number| drop(b.broker.realm_or_new(&Arc::from(format!("r{number}")))));

    let (mut bytes, mut run) = (Vec::new(), Run::default());
    let wanted = [(DEFAULT_REALM, "t", "1"), ("one too many", "u", "2"), ("one too many", "u", "3")];
    for (realm, topic, payload) in wanted.into_iter().chain([(DEFAULT_REALM, "t", "4")]) {
        run.push(&mut bytes, &record(realm, topic, payload));
    }
    a.link_to(&b).push_frames(0, &bytes, run.messages());
    client.takes_until(|client| client.payloads().contains(&"4")).await;
    assert_eq!(client.payloads(), ["1", "4"]);
}
