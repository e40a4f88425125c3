//! Names of any kind and length in any call are answered for what they are, and harm nobody.

// One macro writes all requests; of some it says every field.
#![allow(clippy::needless_update)]

use weir_admin::FieldMask;
use weir_admin::client::Client as Admin;
use weir_admin::proto::topics_explain_request::Question;
use weir_admin::proto::topics_list_subscriptions_request::Of;
use weir_admin::proto::{
    AccountsCreateTokenRequest, AccountsRevokeTokenRequest, ClusterDrainRequest, ClusterRebalanceRequest,
    ExplainPublish, SessionsDeleteRequest, SessionsGetRequest, SessionsKickRequest, SessionsListRequest,
    StreamsAlterGroupRequest, StreamsAlterRequest, StreamsCreateGroupRequest, StreamsDeleteRequest,
    StreamsGetRequest, StreamsListGroupsRequest, StreamsPublishRequest, StreamsRedriveGroupRequest,
    StreamsSeekGroupRequest, TopicsDeleteRetainedRequest, TopicsExplainRequest, TopicsGetRetainedRequest,
    TopicsListRetainedRequest, TopicsListSubscriptionsRequest, WatchEventsRequest,
};
use weir_admin::tonic::{Code, Status};

use crate::scene::{admin, clean, connect, node};

/// How a call with such a name ended.
type Ended = (&'static str, Result<(), Status>);

/// Names that a careless program would take for a path, a pattern, a line's end or its own.
fn odd() -> Vec<String> {
    let short =
        ["a/b", "../../etc", "{x}", "{a}b{c}", "line\nbreak\r", "\0", "\u{1b}[2J", "+", "#", "$s", "*", " "];
    short.iter().map(ToString::to_string).chain(["x".repeat(65_536), "/".repeat(65_536)]).collect()
}

macro_rules! asked {
    ($admin:ident . $service:ident . $method:ident ( $message:ident { $($field:ident: $value:expr),* } )) => {
        (
            concat!(stringify!($service), ".", stringify!($method), " ", $(stringify!($field), " "),*),
            $admin.$service().$method($message { $($field: $value,)* ..Default::default() }).await.map(drop),
        )
    };
}

async fn of_sessions_and_nodes(admin: &Admin, name: &str) -> Vec<Ended> {
    let name = || name.to_owned();
    vec![
        asked!(admin.sessions.list(SessionsListRequest { realm: name() })),
        asked!(admin.sessions.list(SessionsListRequest { client_id_prefix: name(), node_id: name() })),
        asked!(admin.sessions.list(SessionsListRequest { page_token: name() })),
        asked!(admin.sessions.get(SessionsGetRequest { realm: name(), client_id: name() })),
        asked!(admin.sessions.kick(SessionsKickRequest { client_id: name() })),
        asked!(admin.sessions.kick(SessionsKickRequest { client_id: "c".into(), realm: name() })),
        asked!(admin.sessions.delete(SessionsDeleteRequest { client_id: name() })),
        asked!(admin.cluster.drain(ClusterDrainRequest { node_id: name() })),
        asked!(admin.cluster.rebalance(ClusterRebalanceRequest { dry_run: true, reason: name() })),
        asked!(
            admin.accounts.create_token(AccountsCreateTokenRequest { name: name(), scopes: vec![name()] })
        ),
        asked!(admin.accounts.revoke_token(AccountsRevokeTokenRequest { id: name() })),
        asked!(admin.watch.events(WatchEventsRequest { client_id_prefix: name() })),
    ]
}

async fn of_topics(admin: &Admin, name: &str) -> Vec<Ended> {
    let name = || name.to_owned();
    let publish = || Some(Question::Publish(ExplainPublish { topic: name(), ..ExplainPublish::default() }));
    vec![
        asked!(admin.topics.list_retained(TopicsListRetainedRequest { filter: name() })),
        asked!(admin.topics.list_retained(TopicsListRetainedRequest { realm: name(), page_token: name() })),
        asked!(admin.topics.get_retained(TopicsGetRetainedRequest { topic: name() })),
        asked!(admin.topics.delete_retained(TopicsDeleteRetainedRequest { filter: name() })),
        asked!(
            admin.topics.list_subscriptions(TopicsListSubscriptionsRequest { of: Some(Of::Topic(name())) })
        ),
        asked!(
            admin.topics.list_subscriptions(TopicsListSubscriptionsRequest { of: Some(Of::Filter(name())) })
        ),
        asked!(admin.topics.explain(TopicsExplainRequest { client_id: "c".into(), question: publish() })),
        asked!(admin.topics.explain(TopicsExplainRequest { client_id: name(), question: publish() })),
    ]
}

async fn of_streams(admin: &Admin, name: &str) -> Vec<Ended> {
    let name = || name.to_owned();
    let mask = || Some(FieldMask { paths: vec![name()] });
    vec![
        asked!(admin.streams.get(StreamsGetRequest { name: name() })),
        asked!(admin.streams.get(StreamsGetRequest { name: "s".into(), realm: name() })),
        asked!(admin.streams.delete(StreamsDeleteRequest { name: name() })),
        asked!(admin.streams.alter(StreamsAlterRequest { name: "s".into(), update_mask: mask() })),
        asked!(admin.streams.list_groups(StreamsListGroupsRequest { stream: name() })),
        asked!(admin.streams.create_group(StreamsCreateGroupRequest { stream: name(), group: name() })),
        asked!(admin.streams.alter_group(StreamsAlterGroupRequest {
            stream: "s".into(),
            group: "g".into(),
            update_mask: mask()
        })),
        asked!(admin.streams.seek_group(StreamsSeekGroupRequest { stream: name(), group: "g".into() })),
        asked!(admin.streams.redrive_group(StreamsRedriveGroupRequest {
            stream: "s".into(),
            group: name(),
            from_position: name()
        })),
        asked!(admin.streams.publish(StreamsPublishRequest { topic: name(), idempotency_key: name() })),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_name_is_a_bug_of_the_node() {
    let node = node().start();
    let admin = admin(&node).await;
    let mut client = connect(&node, &clean("c")).await;
    for name in odd() {
        let all = [
            of_sessions_and_nodes(&admin, &name).await,
            of_topics(&admin, &name).await,
            of_streams(&admin, &name).await,
        ];
        for (what, ended) in all.into_iter().flatten() {
            let expected = [Code::InvalidArgument, Code::NotFound, Code::FailedPrecondition];
            if let Err(status) = ended {
                let short: String = name.chars().take(20).collect();
                assert!(expected.contains(&status.code()), "{what}with {short:?}: {status:?}");
                assert!(status.message().len() < 2000, "{what}with {short:?} says too much");
            }
        }
    }
    client.ping().await.expect("nobody else has noticed");
    assert_eq!(node.metrics().value("weir_admin_requests_total{service=\"streams\",code=\"internal\"}"), 0.0);
}
