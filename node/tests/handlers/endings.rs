//! What ends while it runs ends cleanly or is refused by name; secrets change under a binding and are told to nobody.

use weir_admin::client::Client as Admin;
use weir_admin::proto::{
    HandlersDeleteRequest, HandlersDeleteSecretRequest, HandlersDeleteVersionRequest, HandlersGetRequest,
    HandlersListBindingsRequest, HandlersListRequest, HandlersListSecretsRequest, HandlersReadLogsRequest,
    HandlersSetSecretRequest, HandlersUnbindRequest,
};
use weir_admin::tonic::Code;

use crate::probe::{Load, Told, assert_each_once, bound, from_in, prepare, program};
use crate::scene::{admin, bind, binding, calls, node, publish, read, records, refusal, until, upload};
use crate::shares::{set_alias, whole};

fn delete() -> HandlersDeleteRequest {
    HandlersDeleteRequest { name: "probe".to_owned(), ..Default::default() }
}

async fn unbind(admin: &Admin) {
    let request = HandlersUnbindRequest { name: "b".to_owned(), ..Default::default() };
    admin.handlers().unbind(request).await.expect("unbound");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_running_binding_uses_is_not_deleted_and_the_refusal_names_the_binding() {
    let node = node().start();
    let admin = admin(&node).await;
    bound(&admin, 2).await;
    let load = Load::start(&node);
    load.more(20).await;
    let (code, detail) = refusal(admin.handlers().delete(delete()).await);
    assert_eq!((code, detail.reason.as_str()), (Code::FailedPrecondition, "in_use"));
    let status = admin.handlers().delete(delete()).await.expect_err("a refusal");
    assert!(status.message().contains("`b`"), "{}", status.message());
    let second = upload(&admin, "probe", program("02")).await.expect("kept").digest;
    set_alias(&admin, "live", &whole(&second), (0, 0)).await.expect("promoted");
    let version = |digest: &str| HandlersDeleteVersionRequest {
        name: "probe".to_owned(),
        digest: digest.to_owned(),
        ..Default::default()
    };
    let (code, detail) = refusal(admin.handlers().delete_version(version(&second)).await);
    assert_eq!((code, detail.reason.as_str()), (Code::FailedPrecondition, "in_use"));
    // The one that was called until now is nobody's any more, though calls of it may be under way.
    let request = HandlersGetRequest { name: "probe".to_owned(), ..Default::default() };
    let handler =
        admin.handlers().get(request).await.expect("found").into_inner().handler.expect("a handler");
    admin.handlers().delete_version(version(&handler.versions[0].digest)).await.expect("gone");
    load.more(20).await;
    let sent = load.finish().await;
    assert_each_once(&admin, sent).await;
}

#[tokio::test]
async fn a_binding_that_ends_in_the_middle_of_a_call_leaves_a_node_that_binds_it_anew() {
    let node = node().start();
    let admin = admin(&node).await;
    prepare(&admin, 1).await;
    bind(&admin, "b", from_in()).await.expect("bound");
    publish(&admin, "in/a", r#"{"seq": 1}"#).await;
    records(&admin, "first", 1).await;
    for nth in 0..4 {
        publish(&admin, &format!("in/{nth}"), r#"{"seq": 2, "spin": 300}"#).await;
    }
    unbind(&admin).await;
    let request = HandlersListBindingsRequest::default();
    let left = admin.handlers().list_bindings(request).await.expect("listed").into_inner().bindings;
    assert_eq!(left, []);
    admin.handlers().delete(delete()).await.expect("gone");
    upload(&admin, "probe", program("02")).await.expect("kept");
    bind(&admin, "b", from_in()).await.expect("bound anew");
    publish(&admin, "in/last", r#"{"seq": 3}"#).await;
    // It begins anew, with the oldest record and without state; what was published before is known where it went.
    until("no lag", async || (binding(&admin, "b").await.group?.lag == 0).then_some(())).await;
    let found = records(&admin, "first", 6).await;
    let mut topics: Vec<_> = found.iter().map(|record| record.topic.as_str()).collect();
    topics.sort_unstable();
    assert_eq!(topics, ["first/0", "first/1", "first/2", "first/3", "first/a", "first/last"]);
    assert!(found.iter().map(Told::of).all(|told| told.count == 1), "{found:?}");
    assert_eq!(calls(&admin, "b", "trapped").await, 0);
}

/// Everything that a reader is told of handlers, and the node's log.
async fn told_everywhere(admin: &Admin, node: &weir_testkit::Node) -> String {
    let get = HandlersGetRequest { name: "probe".to_owned(), ..Default::default() };
    let logs = HandlersReadLogsRequest { name: "b".to_owned(), last: 1000, ..Default::default() };
    let mut handlers = admin.handlers();
    let mut told = format!(
        "{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{}",
        handlers.list(HandlersListRequest::default()).await.expect("listed"),
        handlers.get(get).await.expect("found"),
        handlers.list_bindings(HandlersListBindingsRequest::default()).await.expect("listed"),
        binding(admin, "b").await,
        handlers.list_secrets(HandlersListSecretsRequest::default()).await.expect("listed"),
        node.stderr(),
    );
    let mut lines = handlers.read_logs(logs).await.expect("logs").into_inner();
    while let Some(line) = lines.message().await.expect("a line") {
        told.push_str(&line.text);
    }
    told
}

#[tokio::test]
async fn a_secret_that_is_set_anew_reaches_the_next_calls_and_no_reader() {
    let node = node().log("debug").start();
    let admin = admin(&node).await;
    prepare(&admin, 1).await;
    let set = |value: &str| HandlersSetSecretRequest {
        name: "token".to_owned(),
        value: value.to_owned(),
        ..Default::default()
    };
    admin.handlers().set_secret(set("hush-one")).await.expect("set");
    let mut spec = from_in();
    spec.secrets.insert("api-key".to_owned(), "token".to_owned());
    bind(&admin, "b", spec).await.expect("bound");
    let order = r#"{"config": "api-key"}"#;
    publish(&admin, "in/a", order).await;
    assert_eq!(Told::of(&records(&admin, "first", 1).await[0]).config.as_deref(), Some("hush-one"));
    admin.handlers().set_secret(set("hush-two")).await.expect("set");
    until("the new one", async || {
        publish(&admin, "in/a", order).await;
        let found = read(&admin, "first").await;
        let last = found.iter().map(Told::of).next_back()?.config?;
        (last == "hush-two").then_some(())
    })
    .await;
    let used = HandlersDeleteSecretRequest { name: "token".to_owned(), ..Default::default() };
    let (code, detail) = refusal(admin.handlers().delete_secret(used).await);
    assert_eq!((code, detail.reason.as_str()), (Code::FailedPrecondition, "in_use"));
    let told = told_everywhere(&admin, &node).await;
    assert!(told.contains("api-key") && !told.contains("hush"), "{told}");
}
