//! Who chooses among nodes hears by the health service when one is to be given clients, and when no more.

use std::net::SocketAddr;

use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use weir_admin::client::{Client as Admin, Target};
use weir_admin::proto::{ClusterDrainRequest, SessionsListRequest};
use weir_admin::tonic::{Code, Streaming};
use weir_testkit::node::Builder;
use weir_testkit::{Cluster, Node, PATIENCE, Redis, eventually};

use crate::scene::{PROGRAM, admin, clean, connect, node, refusal};

/// Somebody whose calls last as long as they may.
async fn lasting(address: SocketAddr) -> Admin {
    let server = format!("http://{address}");
    let target = Target { server, timeout: PATIENCE, calls_end: false, ..Target::default() };
    Admin::connect(&target).await.expect("connected")
}

async fn watch(admin: &Admin, service: &str) -> Streaming<HealthCheckResponse> {
    let channel = admin.channel.clone();
    let ask = HealthCheckRequest { service: service.to_owned() };
    HealthClient::new(channel).watch(ask).await.expect("watching").into_inner()
}

/// What it hears next.
async fn next(health: &mut Streaming<HealthCheckResponse>) -> ServingStatus {
    let heard = tokio::time::timeout(PATIENCE, health.message()).await.expect("in time");
    heard.expect("the stream goes on").expect("not the end").status()
}

/// Hears until it is so.
async fn hears(health: &mut Streaming<HealthCheckResponse>, status: ServingStatus) {
    while next(health).await != status {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_serves_until_it_drains_as_a_whole_and_by_each_service() {
    let node = node().set("cluster.drain_per_second", 1).start();
    let mut clients = Vec::new();
    for number in 0..5 {
        clients.push(connect(&node, &clean(&format!("c{number}"))).await);
    }
    let services = ["", "weir.admin.v1.Sessions", "weir.admin.v1.Streams"];
    let mut watches = Vec::new();
    for service in services {
        let mut health = watch(&lasting(node.address("admin")).await, service).await;
        hears(&mut health, ServingStatus::Serving).await;
        watches.push(health);
    }
    admin(&node).await.cluster().drain(ClusterDrainRequest::default()).await.expect("begun");
    for health in &mut watches {
        hears(health, ServingStatus::NotServing).await;
    }
}

/// Where a node that is not ready yet is administered.
fn administered(starting: &Node) -> SocketAddr {
    eventually("administration to listen", || {
        let said = starting.stderr();
        let line = said.lines().find(|line| line.contains("administration listens"))?;
        let address = line.split("address=").nth(1)?.split_whitespace().next()?;
        address.parse().ok()
    })
}

/// Health says NOT_SERVING of a node that is held from its start, and SERVING once it is let go: on one stream.
async fn serves_once_let_go(held: Builder, let_go: impl FnOnce()) {
    let starting = held.spawn();
    let admin = lasting(tokio::task::block_in_place(|| administered(&starting))).await;
    let mut watches = [watch(&admin, "").await, watch(&admin, "weir.admin.v1.Sessions").await];
    for health in &mut watches {
        assert_eq!(next(health).await, ServingStatus::NotServing);
    }
    let (code, detail) = refusal(admin.sessions().list(SessionsListRequest::default()).await);
    assert_eq!((code, detail.reason.as_str()), (Code::Unavailable, "not_here"));
    tokio::task::block_in_place(let_go);
    for health in &mut watches {
        hears(health, ServingStatus::Serving).await;
    }
    let node = tokio::task::block_in_place(|| starting.ready()).expect("it is ready");
    admin.sessions().list(SessionsListRequest::default()).await.expect("answered");
    drop(node);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_redis_is_late_serves_once_it_has_come() {
    let mut redis = Redis::start();
    redis.stop();
    serves_once_let_go(node().store(&redis.url()), || redis.restart()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_joins_serves_once_it_has_caught_up() {
    let redis = Redis::start();
    // A node that stands still is not given up for as long as its lease lasts.
    let patient = |node: Builder| node.set("store.redis.lease_ms", 60_000);
    let cluster = Cluster::of(PROGRAM, &redis.url()).nodes(1).each(move |_, node| patient(node)).start();
    cluster.stop(0);
    let joining = Node::of(PROGRAM).on_own_address().listen("http").listen("peer").listen("admin");
    let joining = patient(joining).arg("--join").arg(cluster.peer_address(0)).store(&redis.url());
    let joining = joining.set("cluster.start_wait_seconds", 600);
    let joining = cluster.certificates().given_to("joining", joining);
    serves_once_let_go(joining, || cluster.cont(0)).await;
}
