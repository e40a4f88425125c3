//! Who chooses among nodes hears by the health service that one is not to be given clients any more.

use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use weir_admin::client::{Client as Admin, Target};
use weir_admin::proto::ClusterDrainRequest;
use weir_admin::tonic::Streaming;
use weir_testkit::{Node, PATIENCE};

use crate::scene::{admin, clean, connect, node, target};

async fn watch(node: &Node, service: &str) -> Streaming<HealthCheckResponse> {
    let lasting = Target { calls_end: false, ..target(node) };
    let channel = Admin::connect(&lasting).await.expect("connected").channel;
    let ask = HealthCheckRequest { service: service.to_owned() };
    HealthClient::new(channel).watch(ask).await.expect("watching").into_inner()
}

/// Hears until it is so.
async fn hears(health: &mut Streaming<HealthCheckResponse>, status: ServingStatus) {
    loop {
        let heard = tokio::time::timeout(PATIENCE, health.message()).await.expect("in time");
        if heard.expect("the stream goes on").expect("not the end").status() == status {
            return;
        }
    }
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
        let mut health = watch(&node, service).await;
        hears(&mut health, ServingStatus::Serving).await;
        watches.push(health);
    }
    admin(&node).await.cluster().drain(ClusterDrainRequest::default()).await.expect("begun");
    for health in &mut watches {
        hears(health, ServingStatus::NotServing).await;
    }
}
