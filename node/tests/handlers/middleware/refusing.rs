//! What middleware refuses, and how each version of MQTT is told.

use weir_model::Qos::{AtLeastOnce, AtMostOnce, ExactlyOnce};
use weir_wire::mqtt::ReasonCode::{self, NotAuthorized, Success, UnspecifiedError};

use super::client::{CLEAN, Client, How, KEPT, OLD};
use super::{HandlerHook, asked, node, stands};
use crate::scene::{admin, calls, example, upload};

#[tokio::test]
async fn a_client_that_is_not_let_in_hears_why() {
    let node = node().start();
    let admin = admin(&node).await;
    upload(&admin, "gate", example("gatekeeper")).await.expect("kept");
    let config = [("connect.users", "ann"), ("connect.deny", "spy")];
    stands(&admin, "gate", asked("gate", &[HandlerHook::Connect], &config)).await;
    let refused = |client_id, how| Client::try_connect(&node, client_id, how).err().expect("refused");
    let (code, why) = refused("spy", CLEAN);
    assert_eq!((code, why.as_deref()), (NotAuthorized, Some("this client is not let in")));
    assert_eq!(refused("eve", CLEAN).1.as_deref(), Some("this user is not let in"));
    assert_eq!(refused("eve", OLD), (ReasonCode::from_v3_connack(5).expect("a code"), None));
    Client::connect(&node, "ann", OLD).leave();
    let metrics = node.metrics();
    assert_eq!(metrics.value(r#"weir_broker_middleware_refused_total{hook="connect"}"#), 3.0);
    assert_eq!(metrics.sum("weir_gateway_access_refused_total"), 3.0);
}

#[tokio::test]
async fn a_topic_that_is_not_authorized_is_told_in_the_words_of_each_version() {
    let node = node().start();
    let admin = admin(&node).await;
    upload(&admin, "gate", example("gatekeeper")).await.expect("kept");
    let config = [("publish.deny", "no/#"), ("subscribe.deny", "secret/#")];
    stands(&admin, "gate", asked("gate", &[HandlerHook::Authorize], &config)).await;
    let mut new = Client::subscribed(&node, "new", CLEAN, "no/#", AtMostOnce);
    let mut old = Client::connect(&node, "old", OLD);
    let (code, why) = new.publish("no/1", "x", AtLeastOnce);
    assert_eq!((code, why.as_deref()), (NotAuthorized, Some("publish to no/1 is not allowed")));
    assert_eq!(new.publish("no/1", "x", ExactlyOnce).0, NotAuthorized);
    // It is told as taken, and dropped (MQTT 3.1.1, 3.3.5-2).
    assert_eq!(old.publish("no/1", "x", AtLeastOnce).0, Success);
    new.publish("no/1", "x", AtMostOnce);
    assert_eq!(new.rest(), []);
    let (code, why) = new.subscribe("#", AtMostOnce);
    assert_eq!((code, why.as_deref()), (NotAuthorized, Some("subscribe to # is not allowed")));
    assert_eq!(new.subscribe("$share/g/secret/x", AtMostOnce).0, NotAuthorized);
    assert_eq!(old.subscribe("secret/x", AtMostOnce), (UnspecifiedError, None));
    assert!(!old.subscribe("open/#", AtMostOnce).0.is_error());
    node.balanced();
}

#[tokio::test]
async fn a_message_that_is_refused_ends_there_and_its_publisher_is_told() {
    let node = node().start();
    let admin = admin(&node).await;
    upload(&admin, "gate", example("gatekeeper")).await.expect("kept");
    stands(&admin, "gate", asked("gate", &[HandlerHook::Publish], &[("payload.max", "3")])).await;
    let mut new = Client::subscribed(&node, "new", CLEAN, "t", AtLeastOnce);
    let mut old = Client::connect(&node, "old", OLD);
    let (code, why) = new.publish("t", "long", AtLeastOnce);
    assert_eq!((code, why.as_deref()), (NotAuthorized, Some("4 bytes are more than 3")));
    assert_eq!(new.publish("t", "long", ExactlyOnce).0, NotAuthorized);
    assert_eq!(new.retain("t", "long").0, NotAuthorized);
    assert_eq!(old.publish("t", "long", AtLeastOnce).0, Success);
    new.publish("t", "long", AtMostOnce);
    assert_eq!(new.rest(), []);
    assert_eq!(new.publish("t", "ok", ExactlyOnce).0, Success);
    assert_eq!(new.payload(), "ok");
    assert_eq!(calls(&admin, "gate", "refused").await, 5);
    let metrics = node.metrics();
    assert_eq!(metrics.value(r#"weir_broker_messages_refused_total{reason="middleware"}"#), 5.0);
    node.balanced();
}

#[tokio::test]
async fn a_delivery_that_is_refused_is_nobody_elses() {
    let node = node().start();
    let admin = admin(&node).await;
    upload(&admin, "gate", example("gatekeeper")).await.expect("kept");
    let config = [("deliver.allow", "to/{client_id}, all")];
    stands(&admin, "gate", asked("gate", &[HandlerHook::Deliver], &config)).await;
    let mut ann = Client::subscribed(&node, "ann", CLEAN, "#", AtLeastOnce);
    let mut bob = Client::subscribed(&node, "bob", KEPT, "#", AtLeastOnce);
    let mut publisher = Client::connect(&node, "p", CLEAN);
    for qos in [AtMostOnce, AtLeastOnce] {
        publisher.publish("to/ann", "1", qos);
        publisher.publish("all", "2", qos);
        assert_eq!((ann.payload(), ann.payload()), ("1".to_owned(), "2".to_owned()));
        assert_eq!(bob.payload(), "2");
    }
    assert_eq!(bob.rest(), []);
    bob.leave();
    // It waits for nobody who may not have it, also after a restart of the connection.
    publisher.publish("to/ann", "3", AtLeastOnce);
    let mut bob = Client::connect(&node, "bob", KEPT);
    assert_eq!(bob.rest(), []);
    publisher.retain("to/ann", "kept");
    let mut later = Client::subscribed(&node, "later", How { ..CLEAN }, "to/+", AtLeastOnce);
    assert_eq!(later.rest(), []);
    let dropped = r#"weir_broker_copies_dropped_total{reason="middleware"}"#;
    assert_eq!(node.metrics().value(dropped), 5.0);
    node.balanced();
}
