//! What cannot be middleware is refused by name, and what is, is shown.

use std::process::Command;

use weir_admin::tonic::Code;

use super::{
    CLEAN, Client, HandlerHook, HandlersReadLogsRequest, HandlersUnbindRequest, NotAuthorized, asked, node,
    refusal, stands, with,
};
use crate::scene::{PROGRAM, admin, bind, binding, example, example_file, from_topics, upload};
use weir_admin::proto::handler_binding_spec::Source;
use weir_model::Qos::AtLeastOnce;

#[tokio::test]
async fn what_means_nothing_for_middleware_is_refused_by_its_name() {
    let node = node().start();
    let admin = admin(&node).await;
    upload(&admin, "gate", example("gatekeeper")).await.expect("kept");
    upload(&admin, "pp", example("ping-pong")).await.expect("kept");
    let good = || asked("gate", &[HandlerHook::Publish], &[]);
    let (code, detail) = refusal(bind(&admin, "b", from_topics("gate", "a/#", &[])).await);
    assert_eq!((code, detail.reason.as_str()), (Code::FailedPrecondition, "source"));
    let (code, detail) = refusal(bind(&admin, "b", asked("pp", &[HandlerHook::Publish], &[])).await);
    assert_eq!((code, detail.reason.as_str()), (Code::FailedPrecondition, "source"));
    let field = async |spec| refusal(bind(&admin, "b", spec).await).1.field;
    assert_eq!(field(asked("gate", &[], &[])).await, "spec.middleware.hooks");
    assert_eq!(field(asked("gate", &[HandlerHook::Unspecified], &[])).await, "spec.middleware.hooks");
    let mut spec = good();
    spec.outputs = vec!["a".to_owned()];
    assert_eq!(field(spec).await, "outputs");
    let mut spec = good();
    spec.shadow = "live".to_owned();
    assert_eq!(field(spec).await, "shadow");
    let mut spec = good();
    spec.queue_max = 7;
    assert_eq!(field(spec).await, "queue_max");
    let mut spec = good();
    spec.limits.get_or_insert_default().time_ms = 1001;
    assert_eq!(field(spec).await, "limits.time_ms");
    assert_eq!(
        field(with(good(), |middleware| middleware.on_failure = 7)).await,
        "spec.middleware.on_failure"
    );
    let shared = with(good(), |middleware| middleware.filters = vec!["$share/g/a".to_owned()]);
    assert_eq!(field(shared).await, "filters");
}

#[tokio::test]
async fn a_binding_tells_where_it_is_asked_and_its_log_whom_it_refused() {
    let node = node().start();
    let admin = admin(&node).await;
    upload(&admin, "gate", example("gatekeeper")).await.expect("kept");
    let mut quick = asked("gate", &[HandlerHook::Connect], &[]);
    quick.limits = None;
    stands(&admin, "quick", quick).await;
    let told = async |name| binding(&admin, name).await.binding.expect("a binding").spec.expect("a spec");
    assert_eq!(told("quick").await.limits.expect("limits").time_ms, 10);
    let spec = asked("gate", &[HandlerHook::Authorize], &[("publish.deny", "no")]);
    stands(&admin, "gate", with(spec, |middleware| middleware.order = -3)).await;
    let told = told("gate").await;
    let Some(Source::Middleware(middleware)) = told.source else { panic!("{:?}", told.source) };
    assert_eq!((middleware.order, middleware.hooks().collect()), (-3, vec![HandlerHook::Authorize]));
    let unbind = HandlersUnbindRequest { name: "quick".to_owned(), ..Default::default() };
    admin.handlers().unbind(unbind).await.expect("unbound");
    let mut publisher = Client::connect(&node, "p", CLEAN);
    assert_eq!(publisher.publish("no", "x", AtLeastOnce).0, NotAuthorized);
    let request = HandlersReadLogsRequest { name: "gate".to_owned(), last: 10, ..Default::default() };
    let mut lines = admin.handlers().read_logs(request).await.expect("logs").into_inner();
    let line = lines.message().await.expect("an answer").expect("a line");
    assert_eq!(line.text, "refused: authorize of `p`, `no`: publish to no is not allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_deployed_and_shown_from_a_shell() {
    let node = node().start();
    let server = format!("http://{}", node.address("admin"));
    let weir = |words: &[&str]| {
        let output = Command::new(PROGRAM).arg("handler").args(words).args(["--server", &server]).output();
        let output = output.expect("the command");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let file = example_file("gatekeeper").display().to_string();
    weir(&[
        "deploy",
        &file,
        "--middleware",
        "publish,deliver",
        "--filter",
        "a/#",
        "--order",
        "-1",
        "--on-failure",
        "pass",
        "--config",
        "payload.max=3",
    ]);
    assert!(weir(&["bindings"]).contains("middleware publish,deliver a/#"));
    let shown: serde_json::Value =
        serde_json::from_str(&weir(&["binding", "gatekeeper", "--json"])).expect("JSON");
    let expected = serde_json::json!({ "hooks": ["publish", "deliver"], "filters": ["a/#"], "order": -1, "on_failure": "pass" });
    assert_eq!(shown["middleware"], expected);
    let mut publisher = Client::connect(&node, "p", CLEAN);
    assert_eq!(publisher.publish("a/b", "long", AtLeastOnce).0, NotAuthorized);
}
