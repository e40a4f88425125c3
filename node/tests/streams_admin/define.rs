//! Streams are made once, altered by who has seen them as they are, and ended.

use weir_admin::FieldMask;
use weir_admin::proto::{
    StreamKey, StreamKeyKind, StreamRetention, StreamSpec, StreamsAlterRequest, StreamsCreateRequest,
    StreamsDeleteRequest, StreamsGetRequest, StreamsListRequest,
};
use weir_admin::tonic::Code;

use crate::scene::{admin, fill, node, payloads, publish, read, reading, refusal, stream};

fn create(name: &str, spec: StreamSpec) -> StreamsCreateRequest {
    StreamsCreateRequest { name: name.to_owned(), spec: Some(spec), ..Default::default() }
}

fn of(filter: &str) -> StreamSpec {
    StreamSpec { filters: vec![filter.to_owned()], ..StreamSpec::default() }
}

#[tokio::test]
async fn two_creators_at_once_have_made_it_once_and_another_stream_is_not_taken_for_it() {
    let node = node().start();
    let (one, two) = (admin(&node).await, admin(&node).await);
    let (mut first, mut second) = (one.streams(), two.streams());
    let both = tokio::join!(first.create(create("s", of("a/#"))), second.create(create("s", of("a/#"))));
    let (one, two) = (both.0.expect("made").into_inner(), both.1.expect("made").into_inner());
    assert_eq!(one.stream, two.stream);
    let (code, detail) = refusal(first.create(create("s", of("b/#"))).await);
    assert_eq!(
        (code, detail.reason.as_str(), detail.field.as_str()),
        (Code::AlreadyExists, "exists", "name")
    );
}

#[tokio::test]
async fn what_cannot_be_a_stream_is_refused_by_its_field() {
    let node = node().start();
    let admin = admin(&node).await;
    let long = "x".repeat(65_536);
    for name in ["", "a/b", "+", "a#", "$s", "a\nb", &long] {
        let (code, detail) = refusal(admin.streams().create(create(name, StreamSpec::default())).await);
        assert_eq!((code, detail.field.as_str()), (Code::InvalidArgument, "name"));
        let get = StreamsGetRequest { name: name.to_owned(), ..Default::default() };
        assert_eq!(refusal(admin.streams().get(get).await).0, Code::InvalidArgument);
    }
    let key = |kind: StreamKeyKind, name: &str| Some(StreamKey { kind: kind.into(), name: name.to_owned() });
    let compacted = Some(StreamRetention { compacted: true, ..Default::default() });
    let bad = [
        ("spec.filters", of("a/#/b")),
        ("spec.filters", of("$share/g/a")),
        ("spec.partitions", StreamSpec { partitions: 257, ..of("a") }),
        ("spec.key", StreamSpec { key: key(StreamKeyKind::UserProperty, ""), ..of("a") }),
        ("spec.key", StreamSpec { key: key(StreamKeyKind::JsonPointer, "a"), ..of("a") }),
        ("spec.key.kind", StreamSpec { key: Some(StreamKey { kind: 99, ..Default::default() }), ..of("a") }),
        (
            "spec.retention.compacted",
            StreamSpec { key: key(StreamKeyKind::None, ""), retention: compacted, ..of("a") },
        ),
    ];
    for (field, spec) in bad {
        let (code, detail) = refusal(admin.streams().create(create("s", spec)).await);
        assert_eq!((code, detail.field.as_str()), (Code::InvalidArgument, field));
    }
    let nowhere = StreamsCreateRequest { realm: "nowhere".to_owned(), ..create("s", of("a")) };
    assert_eq!(refusal(admin.streams().create(nowhere).await).1.field, "realm");
}

#[tokio::test]
async fn names_with_braces_and_spaces_are_names_and_the_list_is_paged() {
    let node = node().start();
    let admin = admin(&node).await;
    let mut names: Vec<_> = (0..25).map(|number| format!("{{s}} {number:02} ü")).collect();
    for name in &names {
        stream(&admin, name, &["a/#"]).await;
    }
    stream(&admin, "other", &[]).await;
    let (mut found, mut page_token) = (Vec::new(), String::new());
    loop {
        let name_prefix = "{s}".to_owned();
        let request = StreamsListRequest { page_size: 10, page_token, name_prefix, ..Default::default() };
        let page = admin.streams().list(request).await.expect("a page").into_inner();
        assert!(page.streams.len() <= 10);
        found.extend(page.streams.into_iter().map(|one| one.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    names.sort();
    assert_eq!(found, names);
}

#[tokio::test]
async fn a_stream_is_altered_by_who_has_seen_it_as_it_is_and_goes_on_in_a_new_generation() {
    let node = node().start();
    let admin = admin(&node).await;
    stream(&admin, "s", &["a/#"]).await;
    fill(&admin, "a/x", 3).await;
    let mask =
        |paths: &[&str]| Some(FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() });
    let alter = |spec: StreamSpec, paths: &[&str], version: u64| StreamsAlterRequest {
        name: "s".to_owned(),
        spec: Some(spec),
        update_mask: mask(paths),
        version,
        ..Default::default()
    };
    let wide = StreamSpec { partitions: 4, ..StreamSpec::default() };
    let (code, detail) = refusal(admin.streams().alter(alter(wide.clone(), &["shards"], 0)).await);
    assert_eq!((code, detail.field.as_str()), (Code::InvalidArgument, "update_mask"));
    let now =
        admin.streams().alter(alter(wide.clone(), &["partitions"], 0)).await.expect("altered").into_inner();
    let now = now.stream.expect("a stream");
    assert_eq!(now.spec.as_ref().map(|spec| (spec.partitions, spec.filters.len())), Some((4, 1)));
    let (code, detail) = refusal(admin.streams().alter(alter(wide, &["partitions"], now.version - 1)).await);
    assert_eq!((code, detail.field.as_str()), (Code::Aborted, "version"));
    publish(&admin, "a/y", "after").await;
    assert_eq!(payloads(&read(&admin, reading("s")).await), ["0", "1", "2", "after"]);
    let compacted = StreamRetention { compacted: true, ..Default::default() };
    let spec = StreamSpec { retention: Some(compacted), ..StreamSpec::default() };
    let (code, detail) = refusal(admin.streams().alter(alter(spec, &["retention.compacted"], 0)).await);
    assert_eq!((code, detail.reason.as_str()), (Code::FailedPrecondition, "incompatible"));
}

#[tokio::test]
async fn what_lies_in_a_stream_is_told_and_one_that_is_gone_is_not_found() {
    let node = node().start();
    let admin = admin(&node).await;
    stream(&admin, "s", &["a/#"]).await;
    fill(&admin, "a/x", 3).await;
    let get = || StreamsGetRequest { name: "s".to_owned(), ..Default::default() };
    let found = admin.streams().get(get()).await.expect("found").into_inner();
    let partition = &found.generations[0].partitions[0];
    assert_eq!((partition.records, partition.tail_number, partition.redis_key.as_str()), (3, 3, ""));
    assert!(partition.bytes >= 12 && !partition.tail_position.is_empty());
    let delete = || StreamsDeleteRequest { name: "s".to_owned(), ..Default::default() };
    admin.streams().delete(delete()).await.expect("deleted");
    assert_eq!(refusal(admin.streams().get(get()).await).0, Code::NotFound);
    assert_eq!(refusal(admin.streams().delete(delete()).await).0, Code::NotFound);
    stream(&admin, "s", &["a/#"]).await;
    assert!(read(&admin, reading("s")).await.is_empty());
}
