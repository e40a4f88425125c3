//! A call that lasts ends with what let its caller in: a token that is revoked, is over, or loses a scope.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use weir_admin::client::{Client as Admin, Target, detail};
use weir_admin::proto::streams_consume_request::Request as Said;
use weir_admin::proto::{
    AccountsRevokeTokenRequest, ConsumeJoin, StreamSpec, StreamsConsumeRequest, StreamsCreateGroupRequest,
    StreamsCreateRequest, StreamsPublishManyRequest, StreamsReadRequest, WatchEventsRequest,
    WatchStatsRequest,
};
use weir_admin::tonic::{Code, Status, Streaming};
use weir_testkit::{Node, PATIENCE};

use crate::scene::{bearer, closed, target, text, token, weir};

/// A caller whose calls last as long as they may.
async fn lasting(node: &Node, token: &str) -> Admin {
    let target = Target { token: Some(token.to_owned()), calls_end: false, ..target(node) };
    Admin::connect(&target).await.expect("connected")
}

fn id(token: &str) -> String {
    token.split('_').nth(1).expect("an id").to_owned()
}

/// How a call ends, whatever it says before.
pub async fn end<T>(answers: &mut Streaming<T>) -> Status {
    loop {
        match tokio::time::timeout(PATIENCE, answers.message()).await.expect("in time") {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended without saying why"),
            Err(status) => return status,
        }
    }
}

pub fn why(status: &Status) -> (Code, String) {
    (status.code(), detail(status).reason)
}

async fn events(admin: &Admin) -> Streaming<weir_admin::proto::WatchEventsResponse> {
    admin.watch().events(WatchEventsRequest::default()).await.expect("watching").into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_that_lasts_ends_when_its_token_is_revoked() {
    let node = closed().start();
    let root = bearer(&node, &["admin"]).await;
    let (name, group) = ("s".to_owned(), "g".to_owned());
    let spec = Some(StreamSpec { filters: vec!["a/#".to_owned()], ..StreamSpec::default() });
    root.streams().create(StreamsCreateRequest { name, spec, ..Default::default() }).await.expect("made");
    let create = StreamsCreateGroupRequest { stream: "s".to_owned(), group, ..Default::default() };
    root.streams().create_group(create).await.expect("made");

    let text = token(&node, &["watch", "streams:*"], &[]);
    let holder = lasting(&node, &text).await;
    let mut events = events(&holder).await;
    let stats = WatchStatsRequest { interval_ms: 60_000, ..Default::default() };
    let mut stats = holder.watch().stats(stats).await.expect("watching").into_inner();
    let read = StreamsReadRequest { name: "s".to_owned(), follow: true, ..Default::default() };
    let mut read = holder.streams().read(read).await.expect("read").into_inner();
    let (say, said) = mpsc::channel(4);
    let join = ConsumeJoin { stream: "s".to_owned(), group: "g".to_owned(), ..Default::default() };
    say.send(StreamsConsumeRequest { request: Some(Said::Join(join)) }).await.expect("room");
    let consume = holder.streams().consume(ReceiverStream::new(said)).await;
    let mut consume = consume.expect("consuming").into_inner();
    assert!(consume.message().await.expect("joined").is_some());
    let (_publishes, published) = mpsc::channel::<StreamsPublishManyRequest>(4);
    let publish = holder.streams().publish_many(ReceiverStream::new(published)).await;
    let mut publish = publish.expect("publishing").into_inner();

    root.accounts().revoke_token(AccountsRevokeTokenRequest { id: id(&text) }).await.expect("revoked");
    let revoked = (Code::Unauthenticated, "revoked".to_owned());
    assert_eq!(why(&end(&mut events).await), revoked);
    assert_eq!(why(&end(&mut stats).await), revoked);
    assert_eq!(why(&end(&mut read).await), revoked);
    assert_eq!(why(&end(&mut consume).await), revoked);
    assert_eq!(why(&end(&mut publish).await), revoked);
    assert_eq!(node.metrics().value("weir_admin_calls_ended_total{reason=\"revoked\"}"), 5.0);
}

#[tokio::test]
async fn a_token_that_is_revoked_beside_the_node_ends_its_calls_as_well() {
    let node = closed().start();
    let token = token(&node, &["watch"], &[]);
    let mut events = events(&lasting(&node, &token).await).await;
    let file = node.data_dir().join("admin-tokens.toml").display().to_string();
    let revoked = weir(&["token", "revoke", &id(&token), "--file", &file]);
    assert!(revoked.status.success(), "{}", text(&revoked));
    assert_eq!(why(&end(&mut events).await), (Code::Unauthenticated, "revoked".to_owned()));
}

#[tokio::test]
async fn a_call_ends_at_the_time_at_which_its_token_does() {
    let node = closed().start();
    let token = token(&node, &["watch"], &["--expires", "3s"]);
    let began = std::time::Instant::now();
    let mut events = events(&lasting(&node, &token).await).await;
    assert_eq!(why(&end(&mut events).await), (Code::Unauthenticated, "expired".to_owned()));
    assert!(began.elapsed() > Duration::from_millis(500), "it was let in at all");
}

#[tokio::test]
async fn a_scope_that_is_taken_away_ends_what_rests_on_it() {
    let node = closed().start();
    let token = token(&node, &["watch", "sessions:read"], &[]);
    let mut events = events(&lasting(&node, &token).await).await;
    let file = node.data_dir().join("admin-tokens.toml");
    let kept = std::fs::read_to_string(&file).expect("the tokens");
    let fewer = kept.replace("\"watch\"", "\"config:read\"");
    assert_ne!(kept, fewer);
    std::fs::write(&file, fewer).expect("written");
    assert_eq!(why(&end(&mut events).await), (Code::PermissionDenied, "scope".to_owned()));
}
