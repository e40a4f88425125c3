//! Two who make the same thing at once, at two nodes: it is made once, and each is told what there is.

use weir_admin::FieldMask;
use weir_admin::client::detail;
use weir_admin::proto::{
    GroupSpec, StreamRetention, StreamSpec, StreamsAlterRequest, StreamsCreateGroupRequest,
    StreamsCreateRequest, StreamsListGroupsRequest,
};
use weir_admin::tonic::Code;

use super::{STREAM, admin, make, scene};

/// How often they try: once they may come one after the other.
const ROUNDS: u32 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn two_who_make_a_stream_at_two_nodes_have_made_one() {
    let scene = scene();
    let (one, two) = (admin(scene.cluster.node(0)).await, admin(scene.cluster.node(1)).await);
    let create = |name: &str, partitions| StreamsCreateRequest {
        name: name.to_owned(),
        spec: Some(StreamSpec { filters: vec!["a/#".to_owned()], partitions, ..Default::default() }),
        ..Default::default()
    };
    for round in 0..ROUNDS {
        let (same, other) = (format!("same-{round}"), format!("other-{round}"));
        let (mut near, mut far) = (one.streams(), two.streams());
        let both = tokio::join!(near.create(create(&same, 2)), far.create(create(&same, 2)));
        let (first, second) = (both.0.expect("made").into_inner(), both.1.expect("made").into_inner());
        assert_eq!(first.stream, second.stream);
        let both = tokio::join!(near.create(create(&other, 2)), far.create(create(&other, 3)));
        let (made, refused) = match both {
            (Ok(made), Err(refused)) | (Err(refused), Ok(made)) => (made.into_inner(), refused),
            both => panic!("one of them makes it: {both:?}"),
        };
        assert!(made.stream.is_some());
        assert_eq!(refused.code(), Code::AlreadyExists, "{refused:?}");
        assert_eq!(detail(&refused).field, "name");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_make_a_group_at_two_nodes_have_made_one() {
    let scene = scene();
    let (one, two) = (admin(scene.cluster.node(0)).await, admin(scene.cluster.node(1)).await);
    make(&one, 2).await;
    let create = |group: &str, deliveries_max| StreamsCreateGroupRequest {
        stream: STREAM.to_owned(),
        group: group.to_owned(),
        spec: Some(GroupSpec { deliveries_max: Some(deliveries_max), ..Default::default() }),
        ..Default::default()
    };
    for round in 0..ROUNDS {
        let (same, other) = (format!("same-{round}"), format!("other-{round}"));
        let (mut near, mut far) = (one.streams(), two.streams());
        let both = tokio::join!(near.create_group(create(&same, 2)), far.create_group(create(&same, 2)));
        assert_eq!(both.0.expect("made").into_inner(), both.1.expect("made").into_inner());
        let both = tokio::join!(near.create_group(create(&other, 2)), far.create_group(create(&other, 3)));
        let (made, refused) = match both {
            (Ok(made), Err(refused)) | (Err(refused), Ok(made)) => (made.into_inner(), refused),
            both => panic!("one of them makes it: {both:?}"),
        };
        assert!(made.group.is_some());
        assert_eq!(refused.code(), Code::AlreadyExists, "{refused:?}");
    }
    let list = StreamsListGroupsRequest { stream: STREAM.to_owned(), page_size: 1000, ..Default::default() };
    let listed = two.streams().list_groups(list).await.expect("a page").into_inner();
    assert_eq!(listed.groups.len() as u32, 2 * ROUNDS + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_alter_a_stream_at_two_nodes_do_not_undo_each_other() {
    let scene = scene();
    let (one, two) = (admin(scene.cluster.node(0)).await, admin(scene.cluster.node(1)).await);
    make(&one, 2).await;
    let alter = |spec: StreamSpec, path: &str, version: u64| StreamsAlterRequest {
        name: STREAM.to_owned(),
        spec: Some(spec),
        update_mask: Some(FieldMask { paths: vec![path.to_owned()] }),
        version,
        ..Default::default()
    };
    let kept = |records_max| {
        let retention = StreamRetention { records_max, ..Default::default() };
        StreamSpec { retention: Some(retention), ..Default::default() }
    };
    let seen = one.streams().alter(alter(kept(1000), "retention.records_max", 0)).await.expect("altered");
    let mut version = seen.into_inner().stream.expect("a stream").version;
    for round in 0..ROUNDS {
        let (mut near, mut far) = (one.streams(), two.streams());
        let (a, b) = (u64::from(2000 + round), u64::from(3000 + round));
        let both = tokio::join!(
            near.alter(alter(kept(a), "retention.records_max", version)),
            far.alter(alter(kept(b), "retention.records_max", version))
        );
        let (altered, refused) = match both {
            (Ok(altered), Err(refused)) | (Err(refused), Ok(altered)) => (altered.into_inner(), refused),
            both => panic!("one of them alters it: {both:?}"),
        };
        assert_eq!((refused.code(), detail(&refused).field.as_str()), (Code::Aborted, "version"));
        version = altered.stream.expect("a stream").version;
    }
    let compacted = StreamRetention { compacted: true, ..Default::default() };
    let spec = StreamSpec { retention: Some(compacted), ..Default::default() };
    let refused = two.streams().alter(alter(spec, "retention.compacted", 0)).await.expect_err("a refusal");
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    assert_eq!(detail(&refused).field, "spec.retention.compacted");
}
