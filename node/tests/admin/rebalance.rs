//! Clients of a node that has more than its share are sent to one that has less, at a pace, and nobody twice.

use weir_admin::client::{Client as Admin, Target};
use weir_admin::proto::{
    ClusterListNodesRequest, ClusterRebalanceRequest, ClusterRebalanceResponse, RebalanceNode, RebalancePhase,
};
use weir_admin::tonic::{Code, Status};
use weir_bench::Client;
use weir_bench::client::{Error, Options};
use weir_testkit::{Cluster, PATIENCE, Redis};
use weir_wire::mqtt::Version;

use crate::scene::{PROGRAM, at, clean, connect, json, kept, refusal, target, until};

struct Scene {
    cluster: Cluster,
    near: Admin,
    _redis: Redis,
}

impl Scene {
    /// Two nodes that know of each other that they serve.
    async fn start() -> Scene {
        let redis = Redis::start();
        let cluster =
            Cluster::of(PROGRAM, &redis.url()).nodes(2).each(|_, node| node.listen("admin")).start();
        let lasting = Target { calls_end: false, ..target(cluster.node(0)) };
        let near = Admin::connect(&lasting).await.expect("connected");
        until("both to serve", async || {
            let nodes = near.cluster().list_nodes(ClusterListNodesRequest {}).await.ok()?.into_inner().nodes;
            (nodes.len() == 2 && nodes.iter().all(|node| node.serves && node.linked)).then_some(())
        })
        .await;
        Scene { cluster, near, _redis: redis }
    }

    /// Connects so many clients to a node.
    async fn crowd(&self, node: usize, names: std::ops::Range<usize>) -> Vec<Client> {
        let mut clients = Vec::new();
        for number in names {
            clients.push(connect(self.cluster.node(node), &kept(&format!("c{number}"))).await);
        }
        clients
    }

    async fn rebalance(&self, request: ClusterRebalanceRequest) -> Vec<ClusterRebalanceResponse> {
        self.try_to(request).await.expect("it goes on to its end")
    }

    async fn try_to(
        &self,
        request: ClusterRebalanceRequest,
    ) -> Result<Vec<ClusterRebalanceResponse>, Status> {
        let mut answers = self.near.cluster().rebalance(request).await?.into_inner();
        let mut all = Vec::new();
        while let Some(answer) = tokio::time::timeout(PATIENCE, answers.message()).await.expect("in time")? {
            all.push(answer);
        }
        Ok(all)
    }
}

fn figures(node: &RebalanceNode) -> (&str, u64, u64, u64) {
    (&node.node_id, node.surplus, node.moved, node.kept)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_told_and_with_a_dry_run_nobody_moves() {
    let scene = Scene::start().await;
    let mut clients = scene.crowd(0, 0..5).await;
    let plan = scene.rebalance(ClusterRebalanceRequest { dry_run: true, ..Default::default() }).await;
    assert_eq!(plan.len(), 1);
    assert_eq!((plan[0].phase(), plan[0].moved, plan[0].left), (RebalancePhase::Planned, 0, 2));
    let told: Vec<_> = plan[0]
        .nodes
        .iter()
        .map(|node| (node.node_id.as_str(), node.connected_sessions, node.share))
        .collect();
    assert_eq!(told, [("node-0", 5, 3), ("node-1", 0, 2)]);
    let said = at(scene.cluster.node(0), &["node", "rebalance", "--dry-run", "--json"]);
    assert_eq!(json(&said)["left"], 2);
    for client in &mut clients {
        client.ping().await.expect("it is still there");
    }
    let fast = ClusterRebalanceRequest { per_second: 10_001, ..Default::default() };
    let (code, detail) = refusal(scene.try_to(fast).await);
    assert_eq!((code, detail.field.as_str()), (Code::InvalidArgument, "per_second"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_surplus_is_told_which_node_to_use_and_is_not_moved_again_within_the_pause() {
    let scene = Scene::start().await;
    let clients = scene.crowd(0, 0..6).await;
    let done = scene.rebalance(ClusterRebalanceRequest::default()).await;
    let last = done.last().expect("an end");
    assert_eq!((last.phase(), last.moved, last.left), (RebalancePhase::Done, 3, 0));
    assert_eq!(
        last.nodes.iter().map(figures).collect::<Vec<_>>(),
        [("node-0", 3, 3, 0), ("node-1", 0, 0, 0)]
    );
    let (mut moved, mut stay) = (Vec::new(), Vec::new());
    let there = scene.cluster.node(1).address("mqtt").to_string();
    for (number, mut client) in clients.into_iter().enumerate() {
        match client.ping().await {
            Ok(()) => stay.push(client),
            Err(Error::Disconnected { code, server_reference, .. }) => {
                assert_eq!((code.as_u8(), server_reference.as_ref()), (0x9c, Some(&there)));
                moved.push(connect(scene.cluster.node(1), &kept(&format!("c{number}"))).await);
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((moved.len(), stay.len()), (3, 3));
    assert!(moved.iter().all(Client::session_present));
    // The other way round there is a surplus now, of clients that have just come.
    for client in stay {
        client.disconnect().await.expect("a goodbye");
    }
    until("nobody at the first node", async || {
        let plan = scene.rebalance(ClusterRebalanceRequest { dry_run: true, ..Default::default() }).await;
        (plan[0].nodes[0].connected_sessions == 0 && plan[0].nodes[1].connected_sessions == 3).then_some(())
    })
    .await;
    let again = scene.rebalance(ClusterRebalanceRequest::default()).await;
    let last = again.last().expect("an end");
    assert_eq!(
        last.nodes.iter().map(figures).collect::<Vec<_>>(),
        [("node-0", 0, 0, 0), ("node-1", 1, 0, 1)]
    );
    for client in &mut moved {
        client.ping().await.expect("it is still there");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_cannot_be_told_stay_unless_they_are_asked_for() {
    let scene = Scene::start().await;
    let mut clients = Vec::new();
    for name in ["a", "b"] {
        let old = Options { version: Version::V311, ..clean(name) };
        clients.push(connect(scene.cluster.node(0), &old).await);
    }
    let kept = scene.rebalance(ClusterRebalanceRequest::default()).await;
    assert_eq!(figures(&kept.last().expect("an end").nodes[0]), ("node-0", 1, 0, 1));
    let moved = scene.rebalance(ClusterRebalanceRequest { include_v3: true, ..Default::default() }).await;
    assert_eq!(figures(&moved.last().expect("an end").nodes[0]), ("node-0", 1, 1, 0));
    let mut closed = 0;
    for client in &mut clients {
        closed += usize::from(client.ping().await.is_err());
    }
    assert_eq!(closed, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pace_is_kept_one_at_a_time_moves_and_who_hangs_up_ends_it() {
    let scene = Scene::start().await;
    let mut clients = scene.crowd(0, 0..20).await;
    let slow = ClusterRebalanceRequest { per_second: 1, ..Default::default() };
    let mut answers = scene.near.cluster().rebalance(slow.clone()).await.expect("begun").into_inner();
    let mut moved = 0;
    while moved < 2 {
        let answer = answers.message().await.expect("told").expect("not the end");
        assert!(answer.moved <= moved + 1, "one a second, not {answer:?}");
        moved = answer.moved;
    }
    let (code, detail) = refusal(scene.try_to(slow).await);
    assert_eq!((code, detail.reason.as_str()), (Code::Aborted, "busy"));
    drop(answers);
    until("the end of it", async || {
        let log = scene.cluster.node(0).stderr();
        log.contains("cut_short").then_some(())
    })
    .await;
    let mut gone = 0;
    for client in &mut clients {
        gone += u64::from(client.ping().await.is_err());
    }
    assert!((moved..=moved + 2).contains(&gone), "{gone} are gone");
}
