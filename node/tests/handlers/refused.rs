//! An event that its destination never takes is tried as often as the binding says, then put aside; the next ones go.

use weir_admin::proto::{HandlerBindingSpec, HandlersReadLogsRequest};
use weir_bench::Client;
use weir_bench::client::Options;
use weir_testkit::{Node, PATIENCE};

use crate::poison::said;
use crate::probe::{Told, from_in, prepare, subscribe};
use crate::scene::{admin, bind, binding, node, publish, read, records, text, until};

/// A node with room for one retained value.
fn small() -> Node {
    node().listen("http").set("store.retained_messages_max", 1).start()
}

fn may_keep(dead_letter: &str) -> HandlerBindingSpec {
    let outputs = ["first/+", "second/+", "kept/+", "queued/+"].map(str::to_owned).to_vec();
    HandlerBindingSpec { outputs, dead_letter: dead_letter.to_owned(), ..from_in() }
}

const GIVEN_UP: &str = r#"weir_broker_binding_outputs_total{result="given_up"}"#;
const REFUSED: &str = r#"weir_broker_binding_outputs_total{result="refused"}"#;

#[tokio::test]
async fn an_event_without_room_is_a_dead_letter_after_its_tries_and_the_next_ones_go() {
    let node = small();
    let admin = admin(&node).await;
    prepare(&admin, 1).await;
    bind(&admin, "b", may_keep("dead")).await.expect("bound");
    publish(&admin, "in/a", r#"{"to": "kept/one", "retain": true}"#).await;
    publish(&admin, "in/a", r#"{"to": "kept/two", "retain": true}"#).await;
    publish(&admin, "in/a", r#"{"seq": 3}"#).await;
    let dead = records(&admin, "dead", 1).await;
    assert_eq!(text(&dead[0]), ("kept/two", r#"{"to": "kept/two", "retain": true}"#));
    let said = said(&dead[0]);
    assert_eq!((said["reason"], said["deliveries"]), ("refused", "3"));
    assert_eq!((said["stream"], said["group"]), ("in", "$handler.b"));
    assert_eq!(said["error"], "as much is retained as may be");
    assert_eq!(Told::of(&records(&admin, "first", 1).await[0]).seq, 3);
    until("the count", async || (node.metrics().value(GIVEN_UP) == 1.0).then_some(())).await;
    assert_eq!(node.metrics().value(REFUSED), 3.0);
    assert_eq!(binding(&admin, "b").await.group.expect("a group").dead_lettered, 1);
    let request = HandlersReadLogsRequest { name: "b".to_owned(), last: 10, ..Default::default() };
    let mut lines = admin.handlers().read_logs(request).await.expect("logs").into_inner();
    let line = lines.message().await.expect("an answer").expect("a line");
    assert_eq!(line.text, "refused: an event to `kept/two`, 3 times: as much is retained as may be");
}

#[tokio::test]
async fn without_a_stream_for_dead_letters_it_is_counted_and_gone() {
    let node = small();
    let admin = admin(&node).await;
    prepare(&admin, 1).await;
    bind(&admin, "b", may_keep("")).await.expect("bound");
    for kept in ["one", "two", "three"] {
        publish(&admin, "in/a", &format!(r#"{{"to": "kept/{kept}", "retain": true}}"#)).await;
    }
    publish(&admin, "in/a", r#"{"seq": 4}"#).await;
    assert_eq!(Told::of(&records(&admin, "first", 1).await[0]).seq, 4);
    until("the count", async || (node.metrics().value(GIVEN_UP) == 2.0).then_some(())).await;
    assert_eq!(binding(&admin, "b").await.group.expect("a group").dropped, 2);
    assert_eq!(read(&admin, "dead").await, []);
}

#[tokio::test]
async fn a_queue_that_is_full_for_a_while_is_waited_for_and_nothing_is_lost() {
    let node =
        node().listen("http").set("store.queue_messages_max", 2).set("store.queue_full", "refuse").start();
    let admin = admin(&node).await;
    prepare(&admin, 1).await;
    bind(&admin, "b", HandlerBindingSpec { attempts_max: Some(0), ..may_keep("dead") }).await.expect("bound");
    let url = url::Url::parse(&format!("mqtt://{}", node.address("mqtt"))).expect("a URL");
    let options = Options {
        client_id: "slow".to_owned(),
        clean_start: false,
        session_expiry_seconds: Some(3600),
        timeout: PATIENCE,
        ..Options::default()
    };
    let mut slow = Client::connect(&url, &options).await.expect("connected");
    subscribe(&mut slow, "queued/+").await;
    slow.disconnect().await.expect("gone");
    for nth in 0..5 {
        publish(&admin, "in/a", &format!(r#"{{"to": "queued/a", "seq": {nth}}}"#)).await;
    }
    until("a refusal", async || (node.metrics().value(REFUSED) >= 2.0).then_some(())).await;
    let mut slow = Client::connect(&url, &options).await.expect("connected");
    for nth in 0..5 {
        let (_, payload) = crate::probe::next(&mut slow).await;
        assert_eq!(payload, format!(r#"{{"to": "queued/a", "seq": {nth}}}"#));
    }
    assert_eq!(read(&admin, "dead").await, []);
}
