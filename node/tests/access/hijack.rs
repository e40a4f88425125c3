//! A session belongs to the user who opened it: nobody else gets it, or disturbs it.

use weir_bench::client::Options;
use weir_testkit::Node;
use weir_wire::mqtt::{ReasonCode, Version};

use crate::scene::{
    SECRET, bearing, connect, kept, message, options, publish, refusal, subscribe, text, token, user,
    with_tokens,
};

const SHARED: &str = "the-client-id";

fn of(name: &str) -> Options {
    Options { client_id: SHARED.to_owned(), ..user(name) }
}

/// Somebody else comes with the client id, in every way, and is refused each time.
async fn is_tried(node: &Node) {
    for version in [Version::V5, Version::V311] {
        for clean_start in [true, false] {
            let thief = Options { version, clean_start, ..of("bob") };
            assert_eq!(refusal(node, &thief).await, ReasonCode::ClientIdentifierNotValid);
            let nobody = Options { version, clean_start, ..options(SHARED) };
            assert_eq!(refusal(node, &nobody).await, ReasonCode::ClientIdentifierNotValid);
        }
    }
}

fn start() -> Node {
    with_tokens().set("access.anonymous", "loopback").start()
}

async fn says(node: &Node, words: &[&str]) {
    let mut publisher = connect(node, &user("carl")).await;
    for word in words {
        publish(&mut publisher, &message("news", word)).await.expect("taken");
    }
    publisher.disconnect().await.expect("goodbye");
}

#[tokio::test]
async fn a_live_session_is_not_taken_over_by_somebody_else() {
    let node = start();
    for owner in [of("ann"), kept(of("ann"))] {
        let mut ann = connect(&node, &owner).await;
        subscribe(&mut ann, "news").await;
        is_tried(&node).await;
        says(&node, &["still mine"]).await;
        assert_eq!(text(&mut ann).await, "still mine");
        // Herself may, with another token.
        let claims = serde_json::json!({"user_id": "ann", "jti": "another"});
        let again = bearing(&token(&claims, SECRET, None), SHARED);
        let mut again = connect(&node, &Options { session_expiry_seconds: Some(0), ..again }).await;
        assert_eq!(crate::scene::ended(&mut ann).await, 0x8e);
        publish(&mut again, &message("x", "")).await.expect("taken");
        again.disconnect().await.expect("goodbye");
    }
    let refused = node.metrics().value("weir_gateway_access_refused_total{reason=\"client_id\"}");
    assert_eq!(refused, 16.0);
    node.balanced();
}

#[tokio::test]
async fn a_session_that_is_away_is_kept_for_its_owner_also_over_a_restart() {
    let node = start();
    let mut ann = connect(&node, &kept(of("ann"))).await;
    subscribe(&mut ann, "news").await;
    ann.disconnect().await.expect("goodbye");
    is_tried(&node).await;
    says(&node, &["one", "two"]).await;
    let node = node.restart();
    is_tried(&node).await;
    says(&node, &["three"]).await;
    let mut ann = connect(&node, &kept(of("ann"))).await;
    assert!(ann.session_present());
    for word in ["one", "two", "three"] {
        assert_eq!(text(&mut ann).await, word);
    }
    is_tried(&node).await;
    drop(ann);
    node.balanced();
}

/// What is over is nobody's.
#[tokio::test]
async fn the_client_id_of_an_ended_session_is_free() {
    let node = start();
    let ann = connect(&node, &kept(of("ann"))).await;
    let over = weir_wire::mqtt::Disconnect {
        session_expiry_seconds: Some(0),
        ..weir_wire::mqtt::Disconnect::new(ReasonCode::Success)
    };
    ann.disconnect_with(&over).await.expect("goodbye");
    let mut bob = connect(&node, &of("bob")).await;
    assert!(!bob.session_present());
    publish(&mut bob, &message("x", "")).await.expect("taken");
}
