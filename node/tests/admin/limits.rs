//! What a call may cost is bounded, and what is too much harms nobody else.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use weir_admin::proto::{ConfigValidateRequest, SessionsListRequest, WatchEventsRequest};
use weir_admin::tonic::{Code, Request};
use weir_testkit::{PATIENCE, eventually};

use crate::scene::{admin, node, refusal, target};

#[tokio::test]
async fn a_request_that_is_too_long_is_refused_and_the_connection_goes_on() {
    let node = node().set("admin.message_bytes_max", 100_000).start();
    let admin = admin(&node).await;
    let toml = "#".repeat(200_000);
    let (code, _) = refusal(admin.config().validate(ConfigValidateRequest { toml }).await);
    assert_eq!(code, Code::OutOfRange);
    admin.sessions().list(SessionsListRequest::default()).await.expect("answered");
}

#[tokio::test]
async fn a_deadline_that_is_none_is_refused() {
    let node = node().start();
    let admin = admin(&node).await;
    let mut request = Request::new(SessionsListRequest::default());
    request.metadata_mut().insert("grpc-timeout", "soon".parse().expect("a text"));
    assert_eq!(refusal(admin.sessions().list(request).await).0, Code::InvalidArgument);
    let series = "weir_admin_requests_total{service=\"sessions\",code=\"invalid_argument\"}";
    assert_eq!(node.metrics().value(series), 1.0);
}

#[tokio::test]
async fn a_connection_too_many_is_closed_and_a_free_place_is_given_again() {
    let node = node().set("admin.connections_max", 2).start();
    let (first, _second) = (admin(&node).await, admin(&node).await);
    let mut third = TcpStream::connect(node.address("admin")).expect("a connection");
    third.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let end = third.read(&mut [0; 64]);
    assert!(matches!(end, Ok(0)) || end.is_err(), "{end:?}");
    assert_eq!(node.metrics().value("weir_admin_connections_refused_total{reason=\"connections\"}"), 1.0);
    first.sessions().list(SessionsListRequest::default()).await.expect("answered");
    drop(first);
    crate::scene::until("a place", async || weir_admin::client::Client::connect(&target(&node)).await.ok())
        .await;
}

#[tokio::test]
async fn what_is_no_http2_harms_nobody() {
    let node = node().start();
    let admin = admin(&node).await;
    for bytes in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00", &[0xff; 4096]]
    {
        let mut raw = TcpStream::connect(node.address("admin")).expect("a connection");
        raw.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let _ = raw.write_all(bytes);
        let mut said = Vec::new();
        let _ = raw.read_to_end(&mut said);
    }
    admin.sessions().list(SessionsListRequest::default()).await.expect("answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_given_up_leave_nothing_behind() {
    let node = node().start();
    let admin = admin(&node).await;
    for _ in 0..50 {
        let mut watch = admin.watch();
        let asked = watch.events(WatchEventsRequest::default());
        let _ = tokio::time::timeout(Duration::from_micros(200), asked).await;
    }
    eventually("no watcher", || (node.metrics().value("weir_admin_watchers") == 0.0).then_some(()));
    admin.sessions().list(SessionsListRequest::default()).await.expect("answered");
}
