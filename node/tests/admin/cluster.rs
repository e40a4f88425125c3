//! From any node of a cluster the sessions of all are seen and ended, and each node can be drained.

use std::collections::BTreeMap;

use weir_admin::client::Client as Admin;
use weir_admin::proto::{
    ClusterDrainRequest, ClusterListNodesRequest, EventKind, NodeState, SessionsDeleteRequest,
    SessionsGetRequest, SessionsKickRequest, SessionsListRequest, WatchEventsRequest,
};
use weir_admin::tonic::Code;
use weir_testkit::{Cluster, Redis};

use crate::scene::{PROGRAM, admin, clean, connect, ended, kept, refusal, subscribe, until};

struct Scene {
    cluster: Cluster,
    _redis: Redis,
}

impl Scene {
    fn start() -> Scene {
        let redis = Redis::start();
        let cluster =
            Cluster::of(PROGRAM, &redis.url()).nodes(2).each(|_, node| node.listen("admin")).start();
        Scene { cluster, _redis: redis }
    }

    async fn admin(&self, node: usize) -> Admin {
        admin(self.cluster.node(node)).await
    }
}

/// The sessions that a node tells of, each with the node it is at.
async fn listed(admin: &Admin) -> BTreeMap<String, String> {
    let page = admin.sessions().list(SessionsListRequest { page_size: 50, ..Default::default() }).await;
    let page = page.expect("a page").into_inner();
    assert!(page.missing_nodes.is_empty(), "{:?}", page.missing_nodes);
    page.sessions.into_iter().map(|session| (session.client_id, session.node_id)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_every_node_are_listed_shown_kicked_and_deleted_from_any() {
    let scene = Scene::start();
    let mut kept_there = connect(scene.cluster.node(1), &kept("kept-there")).await;
    let mut clean_there = connect(scene.cluster.node(1), &clean("clean-there")).await;
    subscribe(&mut clean_there, "x/+").await;
    let _here = connect(scene.cluster.node(0), &kept("kept-here")).await;
    let away = connect(scene.cluster.node(1), &kept("away")).await;
    away.disconnect().await.expect("a goodbye");
    let near = scene.admin(0).await;
    let expected =
        [("away", ""), ("clean-there", "node-1"), ("kept-here", "node-0"), ("kept-there", "node-1")]
            .map(|(name, node)| (name.to_owned(), node.to_owned()));
    until("all sessions", async || (listed(&near).await == BTreeMap::from(expected.clone())).then_some(()))
        .await;
    let there = SessionsListRequest { node_id: "node-1".to_owned(), ..Default::default() };
    let there = near.sessions().list(there).await.expect("a page").into_inner().sessions;
    assert_eq!(
        there.iter().map(|one| one.client_id.as_str()).collect::<Vec<_>>(),
        ["clean-there", "kept-there"]
    );

    let get = |name: &str| SessionsGetRequest { client_id: name.to_owned(), ..Default::default() };
    let shown = near.sessions().get(get("clean-there")).await.expect("shown").into_inner();
    assert_eq!(
        (shown.subscriptions[0].filter.as_str(), shown.session.expect("one").persistent),
        ("x/+", false)
    );

    for (name, client) in [("kept-there", &mut kept_there), ("clean-there", &mut clean_there)] {
        let kick = SessionsKickRequest { client_id: name.to_owned(), ..Default::default() };
        let kicked = near.sessions().kick(kick).await.expect("kicked").into_inner();
        assert_eq!((kicked.node_id.as_str(), ended(client).await), ("node-1", 0x98), "{name}");
    }
    let mut back = connect(scene.cluster.node(1), &kept("kept-there")).await;
    assert!(back.session_present());
    until("the mirror", async || (listed(&near).await.get("kept-there")? == "node-1").then_some(())).await;
    for name in ["kept-there", "away"] {
        let delete = SessionsDeleteRequest { client_id: name.to_owned(), ..Default::default() };
        near.sessions().delete(delete).await.expect("deleted");
    }
    assert_eq!(ended(&mut back).await, 0x98);
    let far = scene.admin(1).await;
    for admin in [&near, &far] {
        until("both to be gone", async || {
            let left = listed(admin).await;
            (!left.contains_key("kept-there") && !left.contains_key("away")).then_some(())
        })
        .await;
    }
    assert_eq!(refusal(near.sessions().get(get("away")).await).0, Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_answer_is_named_and_not_waited_for() {
    let scene = Scene::start();
    let mut client = connect(scene.cluster.node(1), &kept("there")).await;
    let near = scene.admin(0).await;
    until("the mirror", async || listed(&near).await.contains_key("there").then_some(())).await;
    scene.cluster.stop(1);
    let page = near.sessions().list(SessionsListRequest::default()).await.expect("a page").into_inner();
    assert_eq!(page.sessions.iter().map(|one| one.client_id.as_str()).collect::<Vec<_>>(), ["there"]);
    assert_eq!(page.missing_nodes, ["node-1"]);
    let kick = SessionsKickRequest { client_id: "there".to_owned(), ..Default::default() };
    let (code, detail) = refusal(near.sessions().kick(kick).await);
    scene.cluster.cont(1);
    assert_eq!((code, detail.reason.as_str()), (Code::Unavailable, "node_unreachable"));
    drop(client.ping().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_listed_and_another_one_is_drained() {
    let mut scene = Scene::start();
    let near = scene.admin(0).await;
    let nodes = near.cluster().list_nodes(ClusterListNodesRequest {}).await.expect("listed").into_inner();
    assert_eq!(nodes.store, "redis");
    let told: Vec<_> =
        nodes.nodes.iter().map(|node| (node.node_id.as_str(), node.is_this, node.linked)).collect();
    assert_eq!(told, [("node-0", true, true), ("node-1", false, true)]);
    until("both to serve", async || {
        let nodes =
            near.cluster().list_nodes(ClusterListNodesRequest {}).await.expect("listed").into_inner().nodes;
        nodes.iter().all(|node| node.state() == NodeState::Live && node.serves).then_some(())
    })
    .await;

    let kinds = vec![EventKind::MemberLeft.into()];
    let events = near.watch().events(WatchEventsRequest { kinds, ..Default::default() }).await;
    let mut events = events.expect("watching").into_inner();
    let mut client = connect(scene.cluster.node(1), &kept("c")).await;
    let drain = |node: &str| ClusterDrainRequest { node_id: node.to_owned(), ..Default::default() };
    assert_eq!(refusal(near.cluster().drain(drain("node-7")).await).1.field, "node_id");
    let begun = near.cluster().drain(drain("node-1")).await.expect("begun").into_inner();
    assert_eq!((begun.node_id.as_str(), begun.connected_sessions), ("node-1", 1));
    // USE_ANOTHER_SERVER, with the node to use.
    assert_eq!(ended(&mut client).await, 0x9c);
    scene.cluster.wait_for_end(1);
    assert_eq!(events.message().await.expect("told").expect("an event").member, "node-1");
}
