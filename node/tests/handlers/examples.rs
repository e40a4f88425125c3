//! The examples in `handlers/`, bound as their READMEs say and used by clients as anybody would.

use std::time::Duration;

use weir_admin::client::{Client as Admin, Target};
use weir_admin::proto::{HandlerBindingSpec, StreamKey, StreamKeyKind, StreamSpec, StreamsCreateRequest};
use weir_bench::client::{Message, Properties};
use weir_model::Qos;
use weir_testkit::Node;

use crate::foreign::{mqttjs, paho};
use crate::probe::{ample, client, next, send, subscribe};
use crate::scene::{admin, bind, calls, example, from_stream, from_topics, node, stream, until, upload};

/// The longest that a whole language may take to be compiled, by a compiler that is built for debugging.
const COMPILED_WITHIN: Duration = Duration::from_secs(170);

async fn started(name: &str) -> (Node, Admin) {
    let node = node().set("admin.deadline_seconds", COMPILED_WITHIN.as_secs()).start();
    let server = format!("http://{}", node.address("admin"));
    let target = Target { server, timeout: COMPILED_WITHIN, calls_end: false, ..Target::default() };
    let patient = Admin::connect(&target).await.expect("the node is administered");
    upload(&patient, name, example(name)).await.expect("kept");
    let admin = admin(&node).await;
    (node, admin)
}

/// A stream of these topics, whose records have no key.
async fn keyless(admin: &Admin, filters: &[&str]) {
    let key = Some(StreamKey { kind: StreamKeyKind::None.into(), name: String::new() });
    let filters = filters.iter().map(|filter| (*filter).to_owned()).collect();
    let spec = Some(StreamSpec { filters, partitions: 1, key, retention: None });
    let request = StreamsCreateRequest { name: "commands".to_owned(), spec, ..Default::default() };
    admin.streams().create(request).await.expect("made");
}

async fn contacts() -> (Node, Admin) {
    let (node, admin) = started("contacts").await;
    let commands = ["request_contact", "accept_contact", "get_contact_list", "+/get_contact_list"];
    keyless(&admin, &commands).await;
    let outputs = ["+/contact_requested", "+/contact_approved", "+/contact_list"];
    bind(&admin, "contacts", from_stream("contacts", "commands", &outputs)).await.expect("bound");
    (node, admin)
}

/// `ping-pong`, live; it works.
async fn ping_pong() -> (Node, Admin) {
    let (node, admin) = started("ping-pong").await;
    bind(&admin, "ping-pong", from_topics("ping-pong", "+/ping", &["+/pong", "answers/+"]))
        .await
        .expect("bound");
    let mut device = client(&node).await;
    until("the binding to work", async || {
        send(&mut device, "nobody/ping", r#"{"seq": 0}"#).await;
        (calls(&admin, "ping-pong", "done").await > 0).then_some(())
    })
    .await;
    (node, admin)
}

#[tokio::test]
async fn a_ping_gets_its_pong_and_a_request_its_answer() {
    let (node, _admin) = ping_pong().await;
    let mut device = client(&node).await;
    subscribe(&mut device, "68946/pong").await;
    subscribe(&mut device, "answers/68946").await;
    for seq in 0..20 {
        send(&mut device, "68946/ping", format!(r#"{{"seq": {seq}}}"#)).await;
        assert_eq!(next(&mut device).await, ("68946/pong".to_owned(), format!(r#"{{"seq":{seq}}}"#)));
    }
    let properties = Properties {
        response_topic: Some("answers/68946".to_owned()),
        correlation_data: Some(b"call 9".to_vec()),
        ..Properties::default()
    };
    let request = Message { properties, ..Message::new("68946/ping", r#"{"seq": 7}"#, Qos::AtLeastOnce) };
    device.publish(&request).await.expect("published");
    let answer = device.next().await.expect("an answer");
    assert_eq!((answer.topic.as_str(), answer.payload.as_slice()), ("answers/68946", &br#"{"seq":7}"#[..]));
    assert_eq!(answer.properties.correlation_data.as_deref(), Some(&b"call 9"[..]));
}

#[tokio::test]
async fn users_become_contacts_of_each_other_and_see_their_lists() {
    let (node, _admin) = contacts().await;
    let (mut asker, mut asked) = (client(&node).await, client(&node).await);
    subscribe(&mut asker, "68946/+").await;
    subscribe(&mut asked, "23412/+").await;
    let is = |topic: &str, payload: &str| (topic.to_owned(), payload.to_owned());
    send(&mut asker, "request_contact", r#"{"user_id": 68946, "contact_id": 23412}"#).await;
    assert_eq!(next(&mut asked).await, is("23412/contact_requested", r#"{"user_id":"68946"}"#));
    send(&mut asked, "accept_contact", r#"{"user_id": 23412, "contact_id": 68946}"#).await;
    assert_eq!(next(&mut asker).await, is("68946/contact_approved", r#"{"user_id":"23412"}"#));
    send(&mut asker, "get_contact_list", r#"{"user_id": 68946}"#).await;
    assert_eq!(next(&mut asker).await, is("68946/contact_list", r#"["23412"]"#));
    send(&mut asked, "23412/get_contact_list", "").await;
    // Its own command comes back to it too: it has subscribed to that.
    while next(&mut asked).await != is("23412/contact_list", r#"["68946"]"#) {}
}

#[tokio::test]
async fn apples_are_given_out_and_remembered_over_a_restart() {
    let (node, admin) = started("apples").await;
    keyless(&admin, &["get_apples", "get_more_apples", "+/get_apples", "+/get_more_apples"]).await;
    bind(&admin, "apples", from_stream("apples", "commands", &["+/got_apples"])).await.expect("bound");
    let mut device = client(&node).await;
    subscribe(&mut device, "+/got_apples").await;
    let got = |user: &str, apples: &str| (format!("{user}/got_apples"), apples.to_owned());
    for user in ["68946", "12345"] {
        send(&mut device, "get_apples", format!(r#"{{"user_id": {user}}}"#)).await;
        assert_eq!(next(&mut device).await, got(user, r#"["red","yellow","blue"]"#));
    }
    let node = node.restart();
    let mut device = client(&node).await;
    subscribe(&mut device, "+/got_apples").await;
    // A connection without a session may be told again what it was told shortly before the node died.
    send(&mut device, "68946/get_more_apples", "").await;
    while next(&mut device).await != got("68946", r#"["green","orange","pink"]"#) {}
    send(&mut device, "get_more_apples", r#"{"user_id": 12345}"#).await;
    assert_eq!(next(&mut device).await, got("12345", r#"["green","orange","pink"]"#));
}

/// Bound to a stream, so that what is said before the program is ready is not lost.
async fn of_another_language(name: &str, output: &str) -> (Node, Admin) {
    let (node, admin) = started(name).await;
    stream(&admin, "said", "shop/+/say", 1).await;
    let spec =
        HandlerBindingSpec { limits: Some(ample()), ..from_stream(name, "said", &[output, "answers/+"]) };
    bind(&admin, name, spec).await.expect("bound");
    (node, admin)
}

async fn is_answered(node: &Node, admin: &Admin, name: &str, output: &str, answers: [&str; 2]) {
    let mut device = client(node).await;
    subscribe(&mut device, output).await;
    send(&mut device, "shop/7/say", "good morning").await;
    send(&mut device, "shop/7/say", [0xff, 0xfe]).await;
    send(&mut device, "shop/7/say", "good night").await;
    for answer in answers {
        assert_eq!(next(&mut device).await.1, answer);
    }
    assert_eq!(calls(admin, name, "rejected").await, 1);
}

#[tokio::test]
async fn a_handler_in_python_answers_and_rejects_what_is_no_text() {
    let (node, admin) = of_another_language("python-echo", "shop/+/say/echo").await;
    is_answered(&node, &admin, "python-echo", "shop/7/say/echo", ["good morning", "good night"]).await;
}

#[tokio::test]
async fn a_handler_in_javascript_answers_and_rejects_what_is_no_text() {
    let (node, admin) = of_another_language("js-upper", "shop/+/say/loud").await;
    is_answered(&node, &admin, "js-upper", "shop/7/say/loud", ["GOOD MORNING", "GOOD NIGHT"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_js_pings_and_asks() {
    let (node, _admin) = ping_pong().await;
    tokio::task::block_in_place(|| mqttjs(&node, "a_ping_gets_its_pong_and_a_request_its_answer"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paho_makes_contacts() {
    let (node, _admin) = contacts().await;
    tokio::task::block_in_place(|| paho(&node, "users_become_contacts_of_each_other"));
}
