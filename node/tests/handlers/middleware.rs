//! Promise: middleware is asked before anything goes on, and what it says is what happens.

use weir_admin::client::Client as Admin;
use weir_admin::proto::handler_binding_spec::Source;
use weir_admin::proto::{
    HandlerBindingSpec, HandlerHook, HandlerLimits, HandlerMiddleware, HandlerOnFailure, HandlerShare,
    HandlersAlterBindingRequest, HandlersPauseRequest, HandlersReadLogsRequest, HandlersResumeRequest,
    HandlersSetAliasRequest, HandlersUnbindRequest,
};
use weir_model::Qos::{AtLeastOnce, AtMostOnce, ExactlyOnce};
use weir_testkit::node::Builder;
use weir_wire::mqtt::ReasonCode::{self, NotAuthorized, Success};

use crate::scene::{admin, bind, calls, example, refusal, stream, until, upload};
use client::{CLEAN, Client, How, KEPT};

mod client;
mod definition;
mod elsewhere;
mod guests;
mod refusing;

const SECRET: &str = r#"{"card":2,"password":1}"#;
const NO_PASSWORD: &str = r#"{"card":2,"password":"[redacted]"}"#;
const NOTHING: &str = r#"{"card":"[redacted]","password":"[redacted]"}"#;

/// A node whose ledger can be looked at.
fn node() -> Builder {
    crate::scene::node().listen("http")
}

/// A binding of middleware that is asked here.
fn asked(handler: &str, hooks: &[HandlerHook], config: &[(&str, &str)]) -> HandlerBindingSpec {
    let middleware = HandlerMiddleware {
        hooks: hooks.iter().map(|hook| (*hook).into()).collect(),
        ..HandlerMiddleware::default()
    };
    HandlerBindingSpec {
        handler: handler.to_owned(),
        source: Some(Source::Middleware(middleware)),
        config: config.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        // Other tests run here too.
        limits: Some(HandlerLimits { time_ms: 1000, ..HandlerLimits::default() }),
        ..HandlerBindingSpec::default()
    }
}

/// The same with something of the middleware otherwise.
fn with(mut spec: HandlerBindingSpec, change: impl FnOnce(&mut HandlerMiddleware)) -> HandlerBindingSpec {
    let Some(Source::Middleware(middleware)) = &mut spec.source else { panic!("no middleware") };
    change(middleware);
    spec
}

/// Where middleware stands in a binding of that name, from now on. Who connects afterwards finds its program loaded.
async fn stands(admin: &Admin, name: &str, spec: HandlerBindingSpec) {
    bind(admin, name, spec).await.expect("bound");
}

async fn redacting(admin: &Admin, hooks: &[HandlerHook]) {
    upload(admin, "redact", example("redact")).await.expect("kept");
    let config = [("publish.fields", "password"), ("deliver.fields", "card"), ("deliver.clear", "auditor")];
    stands(admin, "redact", asked("redact", hooks, &config)).await;
}

#[tokio::test]
async fn a_changed_publish_is_what_everybody_gets_and_what_is_kept() {
    let node = node().start();
    let admin = admin(&node).await;
    redacting(&admin, &[HandlerHook::Publish]).await;
    let mut receiver = Client::subscribed(&node, "ann", CLEAN, "login/#", AtLeastOnce);
    let mut publisher = Client::connect(&node, "p", CLEAN);
    for qos in [AtMostOnce, AtLeastOnce, ExactlyOnce] {
        assert_eq!(publisher.publish("login/1", SECRET, qos).0, Success);
        let got = receiver.next();
        assert_eq!((got.payload.as_str(), got.qos), (NO_PASSWORD, qos.min(AtLeastOnce)));
    }
    publisher.retain("login/2", SECRET);
    assert_eq!(receiver.payload(), NO_PASSWORD);
    let mut later = Client::subscribed(&node, "bob", CLEAN, "login/2", AtMostOnce);
    assert_eq!(later.payload(), NO_PASSWORD);
    assert_eq!(calls(&admin, "redact", "done").await, 4);
    node.balanced();
}

#[tokio::test]
async fn what_is_delivered_is_changed_for_one_receiver_and_not_for_the_other() {
    let node = node().start();
    let admin = admin(&node).await;
    redacting(&admin, &[HandlerHook::Publish, HandlerHook::Deliver]).await;
    let mut receivers = [AtMostOnce, AtLeastOnce].map(|qos| {
        let name = |who: &str| format!("{who}{}", if qos == AtMostOnce { "" } else { "1" });
        let ann = Client::subscribed(&node, &name("ann"), CLEAN, "login", qos);
        (qos, ann)
    });
    let mut auditor = Client::subscribed(&node, "auditor", CLEAN, "login", AtMostOnce);
    let mut publisher = Client::connect(&node, "p", CLEAN);
    for qos in [AtMostOnce, AtLeastOnce] {
        publisher.publish("login", SECRET, qos);
        assert_eq!(auditor.payload(), NO_PASSWORD);
        for (mine, receiver) in &mut receivers {
            let got = receiver.next();
            assert_eq!((got.payload.as_str(), got.qos), (NOTHING, qos.min(*mine)));
        }
    }
    node.balanced();
}

#[tokio::test]
async fn what_waited_in_a_queue_and_what_is_retained_is_changed_when_it_is_sent() {
    let node = node().start();
    let admin = admin(&node).await;
    redacting(&admin, &[HandlerHook::Deliver]).await;
    Client::subscribed(&node, "kept", KEPT, "login", AtLeastOnce).leave();
    let mut publisher = Client::connect(&node, "p", CLEAN);
    publisher.publish("login", SECRET, AtLeastOnce);
    publisher.retain("last", SECRET);
    let hidden = r#"{"card":"[redacted]","password":1}"#;
    let mut kept = Client::connect(&node, "kept", KEPT);
    assert_eq!(kept.payload(), hidden);
    for (who, qos) in [("q0", AtMostOnce), ("q1", AtLeastOnce)] {
        let mut later = Client::subscribed(&node, who, CLEAN, "last", qos);
        let got = later.next();
        assert_eq!((got.payload.as_str(), got.retain, got.qos), (hidden, true, qos));
    }
    assert_eq!(kept.subscribe("last", AtLeastOnce).0, ReasonCode::GrantedQos1);
    assert_eq!(kept.payload(), hidden);
    stream(&admin, "logins", "login", 1).await;
    let mut reader = Client::subscribed(&node, "reader", CLEAN, "$stream/logins", AtLeastOnce);
    publisher.publish("login", SECRET, AtLeastOnce);
    assert_eq!(reader.payload(), hidden);
    node.balanced();
}

#[tokio::test]
async fn the_lowest_order_is_asked_first_and_may_be_altered() {
    let node = node().start();
    let admin = admin(&node).await;
    upload(&admin, "redact", example("redact")).await.expect("kept");
    upload(&admin, "gate", example("gatekeeper")).await.expect("kept");
    let hidden = asked("redact", &[HandlerHook::Publish], &[("publish.fields", "password")]);
    stands(&admin, "redact", with(hidden, |middleware| middleware.order = 0)).await;
    let small = asked("gate", &[HandlerHook::Publish], &[("payload.max", "30")]);
    stands(&admin, "gate", with(small.clone(), |middleware| middleware.order = -1)).await;
    let mut receiver = Client::subscribed(&node, "ann", CLEAN, "t", AtLeastOnce);
    let mut publisher = Client::connect(&node, "p", CLEAN);
    let long = format!(r#"{{"password":"{}"}}"#, "x".repeat(100));
    assert_eq!(publisher.publish("t", &long, AtLeastOnce).0, NotAuthorized);
    let request = HandlersAlterBindingRequest {
        name: "gate".to_owned(),
        spec: Some(with(small, |middleware| middleware.order = 1)),
        update_mask: Some(prost_types::FieldMask { paths: vec!["middleware".to_owned()] }),
        ..HandlersAlterBindingRequest::default()
    };
    admin.handlers().alter_binding(request).await.expect("altered");
    assert_eq!(publisher.publish("t", &long, AtLeastOnce).0, Success);
    assert_eq!(receiver.payload(), r#"{"password":"[redacted]"}"#);
}

#[tokio::test]
async fn one_that_loops_is_cut_off_and_its_binding_says_what_that_means() {
    let node = node().start();
    let admin = admin(&node).await;
    upload(&admin, "loop", guests::looping()).await.expect("kept");
    let limits = Some(HandlerLimits { time_ms: 20, ..HandlerLimits::default() });
    let spec = HandlerBindingSpec { limits, ..asked("loop", &[HandlerHook::Publish], &[]) };
    let pass = with(spec.clone(), |middleware| middleware.on_failure = HandlerOnFailure::Pass.into());
    stands(&admin, "loop", spec).await;
    let mut receiver = Client::subscribed(&node, "ann", CLEAN, "t", AtLeastOnce);
    let mut publisher = Client::connect(&node, "p", CLEAN);
    let (code, why) = publisher.publish("t", "1", AtLeastOnce);
    assert_eq!((code, why.as_deref()), (NotAuthorized, Some("middleware `loop` does not answer")));
    assert_eq!(calls(&admin, "loop", "trapped").await, 1);
    let request = HandlersUnbindRequest { name: "loop".to_owned(), ..Default::default() };
    admin.handlers().unbind(request).await.expect("unbound");
    stands(&admin, "loop", pass).await;
    Client::connect(&node, "waits", CLEAN).leave();
    assert_eq!(publisher.publish("t", "2", AtLeastOnce).0, Success);
    assert_eq!(receiver.payload(), "2");
    assert_eq!(calls(&admin, "loop", "trapped").await, 2);
    node.balanced();
}

#[tokio::test]
async fn what_goes_to_another_topic_is_judged_as_if_it_had_been_published_there() {
    let node = node().start();
    let admin = admin(&node).await;
    upload(&admin, "h", guests::moving("moved/to")).await.expect("kept");
    stands(&admin, "m", with(asked("h", &[HandlerHook::Publish], &[]), |m| m.filters = vec!["a/#".into()]))
        .await;
    let mut receiver = Client::subscribed(&node, "ann", CLEAN, "#", AtLeastOnce);
    let mut publisher = Client::connect(&node, "p", CLEAN);
    assert_eq!(publisher.publish("a/b", "x", ExactlyOnce).0, Success);
    let got = receiver.next();
    assert_eq!((got.topic.as_str(), got.payload.as_str(), got.qos), ("moved/to", "moved", AtMostOnce));
    publisher.publish("other", "x", AtLeastOnce);
    assert_eq!(receiver.next().topic, "other");
    upload(&admin, "bad", guests::moving("$SYS/x")).await.expect("kept");
    stands(&admin, "b", with(asked("bad", &[HandlerHook::Publish], &[]), |m| m.filters = vec!["b".into()]))
        .await;
    Client::connect(&node, "waits", CLEAN).leave();
    assert_eq!(publisher.publish("b", "x", AtLeastOnce).0, NotAuthorized);
    assert_eq!(receiver.rest(), []);
    node.balanced();
}

#[tokio::test]
async fn a_will_passes_what_a_publish_passes() {
    let node = node().start();
    let admin = admin(&node).await;
    upload(&admin, "gate", example("gatekeeper")).await.expect("kept");
    let config = [("publish.deny", "wills/no"), ("payload.max", "3")];
    let hooks = [HandlerHook::Authorize, HandlerHook::Publish];
    stands(&admin, "gate", with(asked("gate", &hooks, &config), |m| m.filters = vec!["wills/#".into()]))
        .await;
    let refused = Client::try_connect(&node, "a", How { will: Some("wills/no"), ..CLEAN });
    assert_eq!(refused.err().expect("refused").0, NotAuthorized);
    let mut watcher = Client::subscribed(&node, "w", CLEAN, "#", AtLeastOnce);
    // Too large for the publish hook.
    drop(Client::connect(&node, "b", How { will: Some("wills/yes"), ..CLEAN }));
    until("the will to be refused", async || (calls(&admin, "gate", "refused").await == 2).then_some(()))
        .await;
    drop(Client::connect(&node, "c", How { will: Some("other"), ..CLEAN }));
    assert_eq!(watcher.next().topic, "other");
    node.balanced();
}

#[tokio::test]
async fn a_paused_one_is_not_there_and_a_resumed_one_is() {
    let node = node().start();
    let admin = admin(&node).await;
    upload(&admin, "gate", example("gatekeeper")).await.expect("kept");
    stands(&admin, "gate", asked("gate", &[HandlerHook::Authorize], &[("publish.deny", "t")])).await;
    let mut publisher = Client::connect(&node, "p", CLEAN);
    assert_eq!(publisher.publish("t", "x", AtLeastOnce).0, NotAuthorized);
    let asked = calls(&admin, "gate", "refused").await;
    assert_eq!(publisher.publish("t", "x", AtLeastOnce).0, NotAuthorized);
    assert_eq!(calls(&admin, "gate", "refused").await, asked, "the connection remembers");
    let pause = HandlersPauseRequest { name: "gate".to_owned(), ..Default::default() };
    admin.handlers().pause(pause).await.expect("paused");
    assert!(!publisher.publish("t", "x", AtLeastOnce).0.is_error());
    let resume = HandlersResumeRequest { name: "gate".to_owned(), ..Default::default() };
    admin.handlers().resume(resume).await.expect("resumed");
    assert_eq!(publisher.publish("t", "x", AtLeastOnce).0, NotAuthorized);
}

#[tokio::test]
async fn another_version_counts_as_soon_as_its_alias_says_so() {
    let node = node().start();
    let admin = admin(&node).await;
    upload(&admin, "h", example("gatekeeper")).await.expect("kept");
    let second = upload(&admin, "h", example("redact")).await.expect("kept").digest;
    let config = [("publish.deny", "t"), ("publish.fields", "password")];
    stands(&admin, "h", asked("h", &[HandlerHook::Authorize, HandlerHook::Publish], &config)).await;
    let mut receiver = Client::subscribed(&node, "ann", CLEAN, "t", AtLeastOnce);
    let mut publisher = Client::connect(&node, "p", CLEAN);
    assert_eq!(publisher.publish("t", SECRET, AtLeastOnce).0, NotAuthorized);
    let shares = vec![HandlerShare { digest: second, percent: 100 }];
    let request = HandlersSetAliasRequest { name: "h".to_owned(), shares, ..Default::default() };
    admin.handlers().set_alias(request).await.expect("promoted");
    until("the other version", async || {
        (publisher.publish("t", SECRET, AtLeastOnce).0 == Success).then_some(())
    })
    .await;
    assert_eq!(receiver.payload(), NO_PASSWORD);
}

#[tokio::test]
async fn a_version_that_fails_too_often_goes_back_to_the_one_before() {
    let node = node().start();
    let admin = admin(&node).await;
    upload(&admin, "h", example("redact")).await.expect("kept");
    let second = upload(&admin, "h", guests::looping()).await.expect("kept").digest;
    let limits = Some(HandlerLimits { time_ms: 20, ..HandlerLimits::default() });
    stands(&admin, "h", HandlerBindingSpec { limits, ..asked("h", &[HandlerHook::Publish], &[]) }).await;
    let mut publisher = Client::connect(&node, "p", CLEAN);
    assert!(!publisher.publish("t", "x", AtLeastOnce).0.is_error());
    let request = HandlersSetAliasRequest {
        name: "h".to_owned(),
        shares: vec![HandlerShare { digest: second, percent: 100 }],
        guard_percent: 50,
        guard_calls_min: 3,
        ..HandlersSetAliasRequest::default()
    };
    admin.handlers().set_alias(request).await.expect("promoted");
    until("three that fail", async || {
        publisher.publish("t", "x", AtLeastOnce);
        (calls(&admin, "h", "trapped").await >= 3).then_some(())
    })
    .await;
    until("the version before", async || {
        (!publisher.publish("t", "x", AtLeastOnce).0.is_error()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_node_that_starts_lets_nobody_past_and_has_who_comes_wait_for_its_programs() {
    let node = node().start();
    let before = admin(&node).await;
    upload(&before, "gate", example("gatekeeper")).await.expect("kept");
    let config = [("publish.deny", "no"), ("connect.deny", "spy")];
    stands(&before, "gate", asked("gate", &[HandlerHook::Connect, HandlerHook::Authorize], &config)).await;
    let node = node.restart();
    let mut publisher = Client::connect(&node, "p", CLEAN);
    assert_eq!(publisher.publish("no", "x", AtLeastOnce).0, NotAuthorized);
    assert!(!publisher.publish("yes", "x", AtLeastOnce).0.is_error());
    let (code, why) = Client::try_connect(&node, "spy", CLEAN).err().expect("refused");
    assert_eq!((code, why.as_deref()), (NotAuthorized, Some("this client is not let in")));
}

#[tokio::test]
async fn nobody_is_asked_where_nothing_is_bound_or_about_what_it_was_not_bound_to() {
    let node = node().start();
    let admin = admin(&node).await;
    let mut receiver = Client::subscribed(&node, "ann", CLEAN, "#", AtLeastOnce);
    let mut publisher = Client::connect(&node, "p", CLEAN);
    publisher.publish("t", "x", AtLeastOnce);
    assert_eq!(receiver.payload(), "x");
    assert_eq!(node.metrics().sum("weir_runtime_calls_total"), 0.0);
    upload(&admin, "gate", example("gatekeeper")).await.expect("kept");
    let hooks = [HandlerHook::Authorize, HandlerHook::Publish, HandlerHook::Deliver];
    let spec = asked("gate", &hooks, &[("payload.max", "0")]);
    stands(&admin, "gate", with(spec, |middleware| middleware.filters = vec!["a/+".into()])).await;
    Client::connect(&node, "waits", CLEAN).leave();
    publisher.publish("t", "x", AtLeastOnce);
    assert_eq!(receiver.payload(), "x");
    assert_eq!(calls(&admin, "gate", "done").await, 0);
    assert_eq!(publisher.publish("a/b", "x", AtLeastOnce).0, NotAuthorized);
    assert_eq!((calls(&admin, "gate", "done").await, calls(&admin, "gate", "refused").await), (1, 1));
}
