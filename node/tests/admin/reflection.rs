//! Programs that know nothing of this API find out by themselves: reflection and health, as grpcurl asks.

use tokio_stream::StreamExt as _;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use weir_admin::tonic::Code;

use crate::scene::{admin, closed, node, until};

fn question(message: MessageRequest) -> ServerReflectionRequest {
    ServerReflectionRequest { host: String::new(), message_request: Some(message) }
}

#[tokio::test]
async fn reflection_tells_every_service_and_its_messages() {
    let node = node().start();
    let mut client = ServerReflectionClient::new(admin(&node).await.channel);
    let questions = [
        question(MessageRequest::ListServices(String::new())),
        question(MessageRequest::FileContainingSymbol("weir.admin.v1.Sessions".to_owned())),
    ];
    let answers = client.server_reflection_info(tokio_stream::iter(questions)).await.expect("answered");
    let answers: Vec<_> = answers.into_inner().collect().await;
    let answers: Vec<_> =
        answers.into_iter().map(|answer| answer.expect("answered").message_response.expect("told")).collect();
    let MessageResponse::ListServicesResponse(services) = &answers[0] else { panic!("{answers:?}") };
    let names: Vec<_> = services.service.iter().map(|service| service.name.as_str()).collect();
    for name in ["Sessions", "Topics", "Cluster", "Accounts", "Config", "Watch"] {
        assert!(names.contains(&format!("weir.admin.v1.{name}").as_str()), "{name} in {names:?}");
    }
    assert!(names.contains(&"grpc.health.v1.Health"), "{names:?}");
    let MessageResponse::FileDescriptorResponse(files) = &answers[1] else { panic!("{answers:?}") };
    let says = |text: &str| {
        files
            .file_descriptor_proto
            .iter()
            .any(|file| file.windows(text.len()).any(|at| at == text.as_bytes()))
    };
    assert!(says("SessionsListRequest") && says("client_id_prefix"));
}

#[tokio::test]
async fn health_needs_no_credentials_and_reflection_does() {
    let node = closed().start();
    let channel = admin(&node).await.channel;
    let ask = HealthCheckRequest { service: "weir.admin.v1.Sessions".to_owned() };
    until("a node that serves", async || {
        let health =
            HealthClient::new(channel.clone()).check(ask.clone()).await.expect("answered").into_inner();
        (health.status() == ServingStatus::Serving).then_some(())
    })
    .await;
    let asked = tokio_stream::iter([question(MessageRequest::ListServices(String::new()))]);
    let refused = ServerReflectionClient::new(channel).server_reflection_info(asked).await;
    assert_eq!(refused.expect_err("refused").code(), Code::Unauthenticated);
}
