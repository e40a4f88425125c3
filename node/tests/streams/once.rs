//! Publishing once: a message that comes again under its idempotency key is answered, and nothing else.

use weir_broker::stream::Spec;
use weir_model::Qos;
use weir_wire::mqtt::ReasonCode;

use crate::client::{CLEAN, Client, KEPT};
use crate::scene::Running;

const KEY: &str = "weir-idempotency-key";

#[tokio::test(flavor = "multi_thread")]
async fn a_message_with_a_key_is_kept_and_delivered_once_however_often_it_comes() {
    let node = Running::start().await;
    node.stream("plant", Spec::default()).await;
    let mut kept = Client::connect(node.address, "kept", KEPT);
    kept.subscribe("plant/#", Qos::AtLeastOnce, None);
    let mut publisher = Client::connect(node.address, "publisher", CLEAN);
    let first = publisher.publish_and_ask("plant/a", "1", &[(KEY, "order-1")]);
    assert!(matches!(&first, (ReasonCode::Success, Some(_))), "{first:?}");
    assert_eq!(publisher.publish_and_ask("plant/a", "1", &[(KEY, "order-1")]), first);
    publisher.leave();
    // On another connection of the same client, too.
    let mut publisher = Client::connect(node.address, "publisher", CLEAN);
    assert_eq!(publisher.publish_and_ask("plant/a", "1", &[(KEY, "order-1")]), first);
    let (code, position) = publisher.publish_and_ask("plant/a", "2", &[(KEY, "order-2")]);
    assert!(code == ReasonCode::Success && position != first.1);
    // A key is its publisher's own.
    let mut other = Client::connect(node.address, "other", CLEAN);
    assert_ne!(other.publish_and_ask("plant/a", "3", &[(KEY, "order-1")]), first);
    assert_eq!(kept.payloads(3), ["1", "2", "3"]);
    let mut reader = Client::connect(node.address, "reader", CLEAN);
    reader.subscribe("$stream/plant", Qos::AtLeastOnce, Some("earliest"));
    assert_eq!(reader.payloads(3), ["1", "2", "3"]);
    let long = "k".repeat(256);
    assert_eq!(publisher.publish_with("plant/a", "4", &[(KEY, &long)]), ReasonCode::QuotaExceeded);
    for client in [kept, publisher, other, reader] {
        client.leave();
    }
    node.balanced();
}
