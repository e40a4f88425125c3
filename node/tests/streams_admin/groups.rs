//! Groups are made once, altered, paused, moved, redriven and ended.

use weir_admin::FieldMask;
use weir_admin::proto::stream_start::From;
use weir_admin::proto::{
    GroupSpec, StreamEnd, StreamStart, StreamsAlterGroupRequest, StreamsCreateGroupRequest,
    StreamsDeleteGroupRequest, StreamsListGroupsRequest, StreamsPauseGroupRequest,
    StreamsRedriveGroupRequest, StreamsResumeGroupRequest, StreamsSeekGroupRequest,
};
use weir_admin::tonic::Code;

use crate::scene::{
    Member, admin, fill, group, node, payloads, publish, read, reading, refusal, stream, text_of,
};

const S: &str = "s";
const G: &str = "{g} 1";

fn create(spec: GroupSpec) -> StreamsCreateGroupRequest {
    StreamsCreateGroupRequest { stream: S.into(), group: G.into(), spec: Some(spec), ..Default::default() }
}

#[tokio::test]
async fn a_group_is_made_once_altered_by_its_fields_listed_and_ended() {
    let node = node().start();
    let admin = admin(&node).await;
    stream(&admin, S, &["a/#"]).await;
    let (mut one, mut two) = (admin.streams(), admin.streams());
    let both = tokio::join!(
        one.create_group(create(GroupSpec::default())),
        two.create_group(create(GroupSpec::default()))
    );
    assert_eq!(both.0.expect("made").into_inner(), both.1.expect("made").into_inner());
    let other = GroupSpec { deliveries_max: Some(1), ..GroupSpec::default() };
    assert_eq!(refusal(one.create_group(create(other.clone())).await).0, Code::AlreadyExists);
    let alter = |spec: GroupSpec, path: &str| StreamsAlterGroupRequest {
        stream: S.into(),
        group: G.into(),
        spec: Some(spec),
        update_mask: Some(FieldMask { paths: vec![path.to_owned()] }),
        ..Default::default()
    };
    let now = one
        .alter_group(alter(other, "deliveries_max"))
        .await
        .expect("altered")
        .into_inner()
        .group
        .expect("one");
    let spec = now.spec.clone().expect("a spec");
    assert_eq!((spec.deliveries_max, spec.ack_wait_ms), (Some(1), Some(30_000)));
    let seen = now.version;
    let late = |version| StreamsAlterGroupRequest {
        version,
        ..alter(GroupSpec { ack_wait_ms: Some(7000), ..GroupSpec::default() }, "ack_wait_ms")
    };
    let both = (one.alter_group(late(seen)).await, two.alter_group(late(seen)).await);
    assert!(both.0.expect("altered").into_inner().group.expect("one").version > seen);
    let (code, detail) = refusal(both.1);
    assert_eq!((code, detail.reason.as_str(), detail.field.as_str()), (Code::Aborted, "changed", "version"));
    let bad = [
        ("update_mask", "start", GroupSpec::default()),
        ("spec.dead_letter", "dead_letter", GroupSpec { dead_letter: "none".into(), ..Default::default() }),
        ("spec.ack_wait_ms", "ack_wait_ms", GroupSpec { ack_wait_ms: Some(0), ..Default::default() }),
        ("spec.backoff_ms", "backoff_ms", GroupSpec { backoff_ms: vec![1; 65], ..Default::default() }),
    ];
    for (field, path, spec) in bad {
        let (code, detail) = refusal(one.alter_group(alter(spec, path)).await);
        assert_eq!((code, detail.field.as_str()), (Code::InvalidArgument, field));
    }
    let list = || StreamsListGroupsRequest { stream: S.into(), ..Default::default() };
    let listed = one.list_groups(list()).await.expect("a page").into_inner();
    assert_eq!(listed.groups.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), [G]);
    let delete = || StreamsDeleteGroupRequest { stream: S.into(), group: G.into(), ..Default::default() };
    one.delete_group(delete()).await.expect("deleted");
    assert_eq!(refusal(one.delete_group(delete()).await).0, Code::NotFound);
    assert!(one.list_groups(list()).await.expect("a page").into_inner().groups.is_empty());
}

#[tokio::test]
async fn a_paused_group_gets_nothing_until_it_goes_on_and_a_moved_one_goes_on_there() {
    let node = node().start();
    let admin = admin(&node).await;
    stream(&admin, S, &["a/#"]).await;
    group(&admin, S, G, GroupSpec::default()).await;
    fill(&admin, "a/x", 3).await;
    let pause = StreamsPauseGroupRequest { stream: S.into(), group: G.into(), ..Default::default() };
    let paused = admin.streams().pause_group(pause).await.expect("paused").into_inner();
    assert!(paused.group.expect("one").paused);
    let mut member = Member::join(&admin, S, G).await;
    let resume = StreamsResumeGroupRequest { stream: S.into(), group: G.into(), ..Default::default() };
    admin.streams().resume_group(resume).await.expect("resumed");
    let records = member.take(3).await;
    assert!(member.ack(&records).await.refused.is_empty());
    let seek =
        |start| StreamsSeekGroupRequest { stream: S.into(), group: G.into(), start, ..Default::default() };
    assert_eq!(refusal(admin.streams().seek_group(seek(None)).await).1.field, "start");
    let start = StreamStart { from: Some(From::End(StreamEnd::Earliest.into())) };
    admin.streams().seek_group(seek(Some(start))).await.expect("moved");
    assert_eq!(text_of(&member.take(3).await), ["0", "1", "2"]);
}

#[tokio::test]
async fn dead_letters_are_published_again_to_where_they_came_from() {
    let node = node().start();
    let admin = admin(&node).await;
    stream(&admin, S, &["a/#"]).await;
    stream(&admin, "dead", &[]).await;
    let spec = GroupSpec { deliveries_max: Some(1), dead_letter: "dead".into(), ..GroupSpec::default() };
    group(&admin, S, G, spec).await;
    group(&admin, S, "plain", GroupSpec::default()).await;
    publish(&admin, "a/x", "once more").await;
    let mut member = Member::join(&admin, S, G).await;
    let record = member.take(1).await;
    assert!(member.nack(&record[0], None).await.refused.is_empty());
    crate::scene::until("the dead letter", async || {
        (!read(&admin, reading("dead")).await.is_empty()).then_some(())
    })
    .await;
    let redrive = |group: &str| StreamsRedriveGroupRequest {
        stream: S.into(),
        group: group.to_owned(),
        ..Default::default()
    };
    let done = admin.streams().redrive_group(redrive(G)).await.expect("redriven").into_inner();
    assert_eq!(done.redriven, 1);
    assert_eq!(payloads(&read(&admin, reading(S)).await), ["once more", "once more"]);
    assert_eq!(text_of(&member.take(1).await), ["once more"]);
    let (code, detail) = refusal(admin.streams().redrive_group(redrive("plain")).await);
    assert_eq!((code, detail.reason.as_str()), (Code::FailedPrecondition, "no_dead_letters"));
}

/// Has a group give up these records, and waits until they are dead letters.
async fn give_up(admin: &weir_admin::client::Client, group: &str, topic: &str, count: usize) {
    let before = read(admin, reading("dead")).await.len();
    let mut member = Member::join(admin, S, group).await;
    fill(admin, topic, count).await;
    for record in member.take(count).await {
        assert!(member.nack(&record, None).await.refused.is_empty());
    }
    crate::scene::until("the dead letters", async || {
        (read(admin, reading("dead")).await.len() == before + count).then_some(())
    })
    .await;
    member.leave().await;
}

#[tokio::test]
async fn only_the_dead_letters_that_are_meant_are_published_again_and_none_twice() {
    let node = node().start();
    let admin = admin(&node).await;
    stream(&admin, S, &["a/#"]).await;
    stream(&admin, "dead", &[]).await;
    let spec = || GroupSpec { deliveries_max: Some(1), dead_letter: "dead".into(), ..GroupSpec::default() };
    group(&admin, S, G, spec()).await;
    give_up(&admin, G, "a/x", 4).await;
    let late = StreamStart { from: Some(From::End(StreamEnd::Latest.into())) };
    group(&admin, S, "h", GroupSpec { start: Some(late), ..spec() }).await;
    give_up(&admin, "h", "a/h", 2).await;
    let letters = read(&admin, reading("dead")).await;
    let asked = |group: &str| StreamsRedriveGroupRequest {
        stream: S.into(),
        group: group.into(),
        ..Default::default()
    };
    let redrive = async |request| {
        let done = admin.streams().redrive_group(request).await.expect("redriven").into_inner();
        (done.redriven, done.passed_over)
    };
    let (second, third) = (letters[1].position.clone(), letters[2].position.clone());
    let middle = StreamsRedriveGroupRequest { from_position: second, until_position: third, ..asked(G) };
    assert_eq!(redrive(middle.clone()).await, (2, 4));
    // The same again finds them done, however often.
    assert_eq!(redrive(middle).await.0, 0);
    assert_eq!(redrive(asked("h")).await, (2, 2));
    let one = StreamsRedriveGroupRequest { records_max: 1, ..asked(G) };
    assert_eq!((redrive(one).await.0, redrive(asked(G)).await.0, redrive(asked(G)).await.0), (1, 1, 0));
    let records = read(&admin, reading(S)).await;
    let mut again: Vec<_> = payloads(&records[6..]).into_iter().map(str::to_owned).collect();
    again.sort();
    assert_eq!(again, ["0", "0", "1", "1", "2", "3"]);
    for (field, from, until) in [("from_position", "1", ""), ("until_position", "9:9-9", "1:1-1")] {
        let (from_position, until_position) = (from.to_owned(), until.to_owned());
        let bad = StreamsRedriveGroupRequest { from_position, until_position, ..asked(G) };
        assert_eq!(refusal(admin.streams().redrive_group(bad).await).1.field, field);
    }
}
