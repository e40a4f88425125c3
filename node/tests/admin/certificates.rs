//! A certificate lets do what it does until it is revoked, or its authority is believed no more: in calls that last, too.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use weir_admin::client::{Client as Admin, Target};
use weir_admin::proto::streams_consume_request::Request as Said;
use weir_admin::proto::{
    ConfigReloadRequest, ConsumeJoin, EventKind, StreamSpec, StreamsConsumeRequest,
    StreamsCreateGroupRequest, StreamsCreateRequest, StreamsListRequest, StreamsReadRequest,
    WatchEventsRequest, WatchEventsResponse,
};
use weir_admin::tonic::{Code, Streaming};
use weir_testkit::{Node, PATIENCE};

use crate::authority::{Authority, secure};
use crate::scene::{clean, closed, connect, refusal, token};
use crate::standing::{end, why};

/// A node that believes this authority and its list, and looks at the files when it is told to.
fn node(authority: &Authority) -> Node {
    authority.revoke(&[]);
    let list = format!("[{:?}]", authority.path("revoked.pem"));
    closed()
        .set("admin.security", "tls")
        .set("admin.tls.client_ca", authority.path("ca.pem").display())
        .set("admin.tls.client_crl", list)
        .set("admin.tls.reload_seconds", 0)
        .set("admin.certificate_scopes", "{ ops = [\"watch\", \"streams:*\"], root = [\"admin\"] }")
        .start()
}

/// Somebody with a certificate, whose calls last as long as they may.
async fn holder(node: &Node, authority: &Authority, name: &str) -> Result<Admin, weir_admin::client::Error> {
    let target = authority.shown(secure(node, &node.data_dir().join("dev-tls/ca.pem")), name);
    Admin::connect(&Target { calls_end: false, ..target }).await
}

async fn events(admin: &Admin) -> Streaming<WatchEventsResponse> {
    let request = WatchEventsRequest { kinds: vec![EventKind::Connected.into()], ..Default::default() };
    admin.watch().events(request).await.expect("watching").into_inner()
}

async fn reload(root: &Admin) {
    let told = root.config().reload(ConfigReloadRequest {}).await.expect("reloaded").into_inner();
    assert_eq!(told.problems, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_last_end_when_their_callers_certificate_is_revoked_and_no_others() {
    let authority = Authority::new();
    ["ops", "root"].iter().for_each(|name| authority.certify(name));
    let node = node(&authority);
    let root = holder(&node, &authority, "root").await.expect("connected");
    let ops = holder(&node, &authority, "ops").await.expect("connected");
    let spec = Some(StreamSpec { filters: vec!["a/#".to_owned()], ..StreamSpec::default() });
    let create = StreamsCreateRequest { name: "s".to_owned(), spec, ..Default::default() };
    ops.streams().create(create).await.expect("made");
    let (stream, group) = ("s".to_owned(), "g".to_owned());
    let create = StreamsCreateGroupRequest { stream, group, ..Default::default() };
    ops.streams().create_group(create).await.expect("made");

    let (mut theirs, mut others) = (events(&ops).await, events(&root).await);
    let read = StreamsReadRequest { name: "s".to_owned(), follow: true, ..Default::default() };
    let mut read = ops.streams().read(read).await.expect("read").into_inner();
    let (say, said) = mpsc::channel(4);
    let join = ConsumeJoin { stream: "s".to_owned(), group: "g".to_owned(), ..Default::default() };
    say.send(StreamsConsumeRequest { request: Some(Said::Join(join)) }).await.expect("room");
    let consume = ops.streams().consume(ReceiverStream::new(said)).await;
    let mut consume = consume.expect("consuming").into_inner();
    assert!(consume.message().await.expect("joined").is_some());

    authority.revoke(&["ops"]);
    reload(&root).await;
    let revoked = (Code::Unauthenticated, "revoked".to_owned());
    assert_eq!(why(&end(&mut theirs).await), revoked);
    assert_eq!(why(&end(&mut read).await), revoked);
    assert_eq!(why(&end(&mut consume).await), revoked);
    assert_eq!(node.metrics().value("weir_admin_calls_ended_total{reason=\"revoked\"}"), 3.0);
    let (code, detail) = refusal(ops.streams().list(StreamsListRequest::default()).await);
    assert_eq!((code, detail.reason), revoked, "on the same connection");
    let again = match holder(&node, &authority, "ops").await {
        Ok(again) => again.streams().list(StreamsListRequest::default()).await.is_ok(),
        Err(_) => false,
    };
    assert!(!again, "nor on a new one");

    let _client = connect(&node, &clean("c")).await;
    let heard = tokio::time::timeout(PATIENCE, others.message()).await.expect("in time");
    assert_eq!(heard.expect("it goes on").expect("an event").client_id, "c");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_ends_when_the_authority_of_its_callers_certificate_is_believed_no_more() {
    let (authority, next) = (Authority::new(), Authority::new());
    authority.certify("ops");
    let node = node(&authority);
    let mut theirs = events(&holder(&node, &authority, "ops").await.expect("connected").clone()).await;
    let text = token(&node, &["admin"], &[]);
    let root = Target { token: Some(text), ..secure(&node, &node.data_dir().join("dev-tls/ca.pem")) };
    let root = Admin::connect(&root).await.expect("connected");
    std::fs::copy(next.path("ca.pem"), authority.path("ca.pem")).expect("copied");
    reload(&root).await;
    assert_eq!(why(&end(&mut theirs).await), (Code::Unauthenticated, "revoked".to_owned()));
}
