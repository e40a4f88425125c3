//! Reading by gRPC: from any place, to the end or on and on.

use std::time::Duration;

use weir_admin::proto::{
    StreamEnd, StreamPartitionPosition, StreamStart, StreamsDeleteRequest, StreamsReadRequest,
    stream_start::From,
};
use weir_admin::tonic::Code;

use crate::scene::{
    admin, fill, follow, message, node, payloads, publish, read, reading, refusal, soon, stream, until,
};

fn from(from: From) -> Option<StreamStart> {
    Some(StreamStart { from: Some(from) })
}

#[tokio::test]
async fn a_stream_is_read_from_its_ends_a_position_or_a_time_and_up_to_a_limit() {
    let node = node().start();
    let admin = admin(&node).await;
    stream(&admin, "s", &["a/#"]).await;
    fill(&admin, "a/x", 3).await;
    publish(&admin, "a/y", "3").await;
    let all = read(&admin, reading("s")).await;
    assert_eq!(payloads(&all), ["0", "1", "2", "3"]);
    let after = StreamsReadRequest { start: from(From::After(all[1].position.clone())), ..reading("s") };
    assert_eq!(payloads(&read(&admin, after).await), ["2", "3"]);
    let partition = StreamPartitionPosition { partition: 0, position: all[2].position.clone() };
    let after = StreamsReadRequest { after: vec![partition], ..reading("s") };
    assert_eq!(payloads(&read(&admin, after).await), ["3"]);
    let latest = StreamsReadRequest { start: from(From::End(StreamEnd::Latest.into())), ..reading("s") };
    assert!(read(&admin, latest).await.is_empty());
    let long_ago = StreamsReadRequest { start: from(From::UnixMs(1)), records_max: 2, ..reading("s") };
    assert_eq!(payloads(&read(&admin, long_ago).await), ["0", "1"]);
    let far = StreamsReadRequest { start: from(From::UnixMs(u64::MAX / 2)), ..reading("s") };
    assert!(read(&admin, far).await.is_empty());
    let filtered = StreamsReadRequest { filter: "a/y".to_owned(), ..reading("s") };
    assert_eq!(payloads(&read(&admin, filtered).await), ["3"]);
}

#[tokio::test]
async fn who_follows_gets_what_is_appended_after_its_first_answer_and_hears_of_the_end() {
    let node = node().start();
    let admin = admin(&node).await;
    stream(&admin, "s", &["a/#"]).await;
    publish(&admin, "a/x", "before").await;
    let start = from(From::End(StreamEnd::Latest.into()));
    let request = StreamsReadRequest { start, follow: true, ..reading("s") };
    let mut answers = admin.streams().read(request).await.expect("a call").into_inner();
    fill(&admin, "a/x", 5).await;
    assert_eq!(payloads(&follow(&mut answers, 5).await), ["0", "1", "2", "3", "4"]);
    admin
        .streams()
        .delete(StreamsDeleteRequest { name: "s".to_owned(), ..Default::default() })
        .await
        .expect("gone");
    let end = soon("the end", answers.message()).await;
    assert_eq!(refusal(end).0, Code::NotFound);
}

#[tokio::test]
async fn a_reading_that_cannot_be_is_refused_by_its_field() {
    let node = node().start();
    let admin = admin(&node).await;
    stream(&admin, "s", &["a/#"]).await;
    let after =
        |partition, position: &str| StreamPartitionPosition { partition, position: position.to_owned() };
    let bad = [
        ("start", StreamsReadRequest { start: from(From::After("now".to_owned())), ..reading("s") }),
        ("start", StreamsReadRequest { start: from(From::End(9)), ..reading("s") }),
        ("after", StreamsReadRequest { after: vec![after(7, "1:2-3")], ..reading("s") }),
        ("after", StreamsReadRequest { after: vec![after(0, "x")], ..reading("s") }),
        ("filter", StreamsReadRequest { filter: "a/#/b".to_owned(), ..reading("s") }),
        ("filter", StreamsReadRequest { filter: "$share/g/a".to_owned(), ..reading("s") }),
        ("name", reading("a/b")),
    ];
    for (field, request) in bad {
        let (code, detail) = refusal(admin.streams().read(request).await);
        assert_eq!((code, detail.field.as_str()), (Code::InvalidArgument, field));
    }
    assert_eq!(refusal(admin.streams().read(reading("none")).await).0, Code::NotFound);
}

#[tokio::test]
async fn a_slow_reader_costs_no_memory_and_gets_everything_in_the_end() {
    let node = node().start();
    let admin = admin(&node).await;
    stream(&admin, "s", &["a/#"]).await;
    let payload = "x".repeat(256 << 10);
    for _ in 0..160 {
        admin.streams().publish(message("a/x", &payload)).await.expect("published");
    }
    let before = node.resident_bytes();
    let request = || StreamsReadRequest { follow: true, ..reading("s") };
    let mut readers = Vec::new();
    for _ in 0..8 {
        readers.push(admin_reading(&node, request()).await);
    }
    // Others are served meanwhile.
    fill(&admin, "b", 50).await;
    let grown = node.resident_bytes().saturating_sub(before);
    assert!(grown < 150 << 20, "8 readers of 40 MiB each cost {grown} bytes");
    for (_, answers) in &mut readers {
        assert_eq!(follow(answers, 160).await.len(), 160);
    }
}

/// One that reads over a connection of its own, and takes nothing yet.
async fn admin_reading(
    node: &weir_testkit::Node,
    request: StreamsReadRequest,
) -> (weir_admin::client::Client, weir_admin::tonic::Streaming<weir_admin::proto::StreamsReadResponse>) {
    let admin = admin(node).await;
    let answers = admin.streams().read(request).await.expect("a call").into_inner();
    (admin, answers)
}

#[tokio::test]
async fn a_call_too_many_is_refused_and_a_cancelled_one_gives_its_place_back() {
    let node = node().set("admin.stream_calls_max", 2).start();
    let admin = admin(&node).await;
    stream(&admin, "s", &["a/#"]).await;
    let request = || StreamsReadRequest { follow: true, ..reading("s") };
    let first = admin.streams().read(request()).await.expect("a call");
    let _second = admin.streams().read(request()).await.expect("a call");
    let (code, detail) = refusal(admin.streams().read(request()).await);
    assert_eq!((code, detail.reason.as_str()), (Code::ResourceExhausted, "busy"));
    drop(first);
    until("the place", async || admin.streams().read(request()).await.ok()).await;
}

#[tokio::test]
async fn a_deadline_ends_a_reading_that_would_go_on() {
    let node = node().start();
    let admin = admin(&node).await;
    stream(&admin, "s", &["a/#"]).await;
    let mut request = weir_admin::tonic::Request::new(StreamsReadRequest { follow: true, ..reading("s") });
    request.set_timeout(Duration::from_millis(200));
    let mut answers = admin.streams().read(request).await.expect("a call").into_inner();
    let end = soon("the end", answers.message()).await.expect_err("its time is over");
    assert!([Code::DeadlineExceeded, Code::Cancelled].contains(&end.code()), "{end:?}");
}
