//! What a consumer hears when its stream is taken away or trimmed under it, and when it does not do what it should.

use weir_admin::proto::streams_consume_response::Response as Heard;
use weir_admin::proto::{
    GroupSpec, StreamRetention, StreamSpec, StreamsCreateRequest, StreamsDeleteRequest, StreamsGetRequest,
};
use weir_admin::tonic::Code;

use crate::administered::{
    Member, admin, fill, group, node, payloads, publish, read, reading, reasons, refusal, soon, stream,
    text_of, until,
};

async fn delete(admin: &weir_admin::client::Client) {
    let delete = StreamsDeleteRequest { name: "s".to_owned(), ..Default::default() };
    admin.streams().delete(delete).await.expect("deleted");
}

#[tokio::test]
async fn a_member_whose_stream_is_deleted_is_told_which_and_its_records_are_nobody_s() {
    let node = node().start();
    let admin = admin(&node).await;
    stream(&admin, "s", &["a/#"]).await;
    group(&admin, "s", "g", GroupSpec::default()).await;
    fill(&admin, "a/x", 3).await;
    let mut member = Member::join(&admin, "s", "g").await;
    member.take(3).await;
    delete(&admin).await;
    let end = loop {
        match member.hear().await {
            // Those it held are taken back before it is ended.
            Ok(Some(Heard::Taken(_))) => {}
            end => break end,
        }
    };
    let (code, detail) = refusal(end);
    assert_eq!((code, detail.field.as_str()), (Code::NotFound, "join.stream"));
    // One that is made anew under its name has none of its records or groups.
    stream(&admin, "s", &["a/#"]).await;
    publish(&admin, "a/x", "new").await;
    group(&admin, "s", "g", GroupSpec::default()).await;
    let mut member = Member::join(&admin, "s", "g").await;
    assert_eq!(text_of(&member.take(1).await), ["new"]);
}

#[tokio::test]
async fn records_let_go_under_a_group_and_under_a_reader_are_counted_and_both_go_on() {
    let node = node().start();
    let admin = admin(&node).await;
    let retention = Some(StreamRetention { records_max: 10, ..Default::default() });
    let spec = StreamSpec { filters: vec!["a/#".to_owned()], retention, ..Default::default() };
    let create = StreamsCreateRequest { name: "s".to_owned(), spec: Some(spec), ..Default::default() };
    admin.streams().create(create).await.expect("made");
    group(&admin, "s", "g", GroupSpec::default()).await;
    fill(&admin, "a/x", 5).await;
    let mut member = Member::join_with(&admin, "s", "g", 5).await;
    let held = member.take(5).await;
    // What it holds is let go too, and is its own to finish all the same.
    fill(&admin, "a/y", 2000).await;
    assert_eq!(reasons(&member.ack(&held).await), [""; 0]);
    let last = soon("the last one", async {
        loop {
            let record = member.take(1).await;
            let text = text_of(&record).remove(0);
            assert!(member.ack(&record).await.refused.is_empty());
            if text == "1999" {
                return text;
            }
        }
    });
    assert_eq!(last.await, "1999");
    let get = StreamsGetRequest { name: "s".to_owned(), ..Default::default() };
    let state = admin.streams().get(get).await.expect("found").into_inner().groups.remove(0);
    assert!(state.lag == 0 && state.lost > 0, "{state:?}");
    assert_eq!(payloads(&read(&admin, reading("s")).await).len(), 10);
}

#[tokio::test]
async fn who_never_answers_and_who_gives_everything_back_hold_nobody_up() {
    let node = node().start();
    let admin = admin(&node).await;
    stream(&admin, "s", &["a/#"]).await;
    stream(&admin, "dead", &[]).await;
    let spec = GroupSpec {
        ack_wait_ms: Some(200),
        deliveries_max: Some(4),
        dead_letter: "dead".to_owned(),
        ..GroupSpec::default()
    };
    group(&admin, "s", "g", spec).await;
    let _silent = Member::join_with(&admin, "s", "g", 5).await;
    let mut refuser = Member::join_with(&admin, "s", "g", 5).await;
    let refusing = tokio::spawn(async move {
        loop {
            let record = refuser.take(1).await;
            refuser.nack(&record[0], Some(0)).await;
        }
    });
    let mut worker = Member::join_with(&admin, "s", "g", 5).await;
    for number in 0..50 {
        publish(&admin, &format!("a/{number}"), &number.to_string()).await;
    }
    let working = tokio::spawn(async move {
        loop {
            let record = worker.take(1).await;
            let answer = worker.ack(&record).await;
            // It may have been too late for the ack wait.
            assert!(
                reasons(&answer).iter().all(|reason| ["taken_back", "others", "finished"].contains(reason))
            );
        }
    });
    // Each is finished by the one that works, or a dead letter by the others' doing.
    until("everything to be finished", async || {
        let get = StreamsGetRequest { name: "s".to_owned(), ..Default::default() };
        let state = admin.streams().get(get).await.expect("found").into_inner().groups.remove(0);
        (state.lag == 0).then_some(())
    })
    .await;
    refusing.abort();
    working.abort();
    let dead = read(&admin, reading("dead")).await;
    let reason = |name: &str, record: &weir_admin::proto::StreamRecord| {
        record.user_properties.iter().find(|one| one.name == name).map(|one| one.value.clone())
    };
    for record in &dead {
        let said = reason("weir-dead-reason", record).expect("a reason");
        assert!(["nacked", "unanswered"].contains(&said.as_str()), "{said}");
        assert_eq!(reason("weir-dead-deliveries", record).as_deref(), Some("4"));
    }
}
