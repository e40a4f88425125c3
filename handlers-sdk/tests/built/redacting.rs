//! Middleware.

use weir_model::{Qos, UnixMillis};
use weir_runtime::{Action, Client, Passage, Passing, Verdict, World};

use crate::node::Handler;

const NOW: UnixMillis = UnixMillis(1_000);

fn client(user: &str) -> Client<'_> {
    Client { client_id: "till", user: Some(user), realm: "default", protocol: "mqtt", address: "127.0.0.1" }
}

fn login(payload: &[u8]) -> Passing<'_> {
    Passing { topic: "login", payload, qos: Qos::AtLeastOnce, retain: true, properties: None }
}

#[tokio::test]
async fn configured_fields_are_hidden_on_their_way_in_and_out() {
    let config = [("publish.fields", "password"), ("deliver.fields", "mail"), ("deliver.clear", "auditor")];
    let handler = Handler::start("redact", World::Middleware, &config).await;
    let published = handler.pool.on_publish(&client("eve"), &login(br#"{"mail":"e@x","password":1}"#), NOW);
    let Passage::Change(published) = published.result.unwrap() else { panic!("not changed") };
    assert_eq!(published.payload, &br#"{"mail":"e@x","password":"[redacted]"}"#[..]);
    assert_eq!((&*published.topic, published.qos, published.retain), ("login", Qos::AtLeastOnce, true));

    let delivered = handler.pool.on_deliver(&client("eve"), &login(&published.payload), NOW);
    let Passage::Change(delivered) = delivered.result.unwrap() else { panic!("not changed") };
    assert_eq!(delivered.payload, &br#"{"mail":"[redacted]","password":"[redacted]"}"#[..]);
    let clear = handler.pool.on_deliver(&client("auditor"), &login(&published.payload), NOW);
    assert!(matches!(clear.result.unwrap(), Passage::Pass));
}

#[tokio::test]
async fn hooks_that_are_not_there_pass() {
    let handler = Handler::start("redact", World::Middleware, &[]).await;
    assert!(matches!(handler.pool.on_connect(&client("eve"), NOW).result.unwrap(), Verdict::Pass));
    let asked = handler.pool.on_authorize(&client("eve"), Action::Subscribe, "#", NOW);
    assert!(matches!(asked.result.unwrap(), Verdict::Pass));
    let published = handler.pool.on_publish(&client("eve"), &login(b"{}"), NOW);
    assert!(matches!(published.result.unwrap(), Passage::Pass));
}
