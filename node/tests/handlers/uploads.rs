//! What is uploaded is kept whole or not at all, and what is no handler is refused by name.

use weir_admin::proto::handlers_upload_request::Part;
use weir_admin::proto::{
    HandlerUpload, HandlersDeleteRequest, HandlersGetRequest, HandlersListRequest,
    HandlersListSecretsRequest, HandlersSetSecretRequest,
};
use weir_admin::tonic::Code;

use crate::scene::{
    admin, bind, example, from_stream, from_topics, header, node, refusal, send, stream, upload,
};

#[tokio::test]
async fn an_upload_is_a_version_and_the_same_bytes_are_the_same_version_after_a_restart_too() {
    let node = node().start();
    let before = admin(&node).await;
    let first = upload(&before, "pp", example("ping-pong")).await.expect("kept");
    assert_eq!((first.number, first.digest.len()), (1, 64));
    assert_eq!(upload(&before, "pp", example("ping-pong")).await.expect("kept"), first);
    let node = node.restart();
    let after = admin(&node).await;
    let request = HandlersGetRequest { name: "pp".to_owned(), ..Default::default() };
    let handler =
        after.handlers().get(request).await.expect("found").into_inner().handler.expect("a handler");
    assert_eq!((handler.world.as_str(), handler.versions), ("command", vec![first.clone()]));
    assert_eq!(
        (handler.aliases[0].name.as_str(), &handler.aliases[0].shares[0].digest),
        ("live", &first.digest)
    );
}

#[tokio::test]
async fn what_is_no_handler_is_refused_by_name_and_leaves_nothing() {
    let node = node().start();
    let admin = admin(&node).await;
    let (code, detail) = refusal(upload(&admin, "x", b"garbage".to_vec()).await);
    assert_eq!((code, detail.reason.as_str()), (Code::InvalidArgument, "bad_program"));
    let mut half = example("ping-pong");
    half.truncate(half.len() / 2);
    assert_eq!(refusal(upload(&admin, "x", half).await).0, Code::InvalidArgument);
    let (code, detail) = refusal(upload(&admin, "a/b", example("ping-pong")).await);
    assert_eq!((code, detail.field.as_str()), (Code::InvalidArgument, "header.name"));
    let wrong = HandlerUpload { name: "x".to_owned(), digest: "0".repeat(64), ..Default::default() };
    let parts = vec![Part::Header(wrong), Part::Chunk(example("ping-pong").into())];
    assert_eq!(refusal(send(&admin, parts).await).0, Code::DataLoss);
    let short = HandlerUpload { name: "x".to_owned(), bytes: 1 << 20, ..Default::default() };
    let (code, detail) =
        refusal(send(&admin, vec![Part::Header(short), Part::Chunk(vec![0; 10].into())]).await);
    assert_eq!((code, detail.field.as_str()), (Code::InvalidArgument, "header.bytes"));
    assert_eq!(refusal(send(&admin, vec![Part::Chunk(vec![0].into())]).await).0, Code::InvalidArgument);
    assert_eq!(refusal(send(&admin, vec![header("x"), header("x")]).await).0, Code::InvalidArgument);
    let listed = admin.handlers().list(HandlersListRequest::default()).await.expect("listed").into_inner();
    assert_eq!(listed.handlers, []);
}

#[tokio::test]
async fn two_uploads_of_one_name_at_once_are_two_versions() {
    let node = node().start();
    let admin = admin(&node).await;
    let (first, second) =
        tokio::join!(upload(&admin, "h", example("ping-pong")), upload(&admin, "h", example("contacts")));
    let mut numbers = [first.expect("kept").number, second.expect("kept").number];
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2]);
}

#[tokio::test]
async fn another_world_under_a_name_and_a_binding_that_cannot_be_are_refused_by_field() {
    let node = node().start();
    let admin = admin(&node).await;
    upload(&admin, "pp", example("ping-pong")).await.expect("kept");
    let (code, detail) = refusal(upload(&admin, "pp", example("redact")).await);
    assert_eq!((code, detail.reason.as_str()), (Code::FailedPrecondition, "world"));
    upload(&admin, "redact", example("redact")).await.expect("kept");
    let (code, detail) = refusal(bind(&admin, "b", from_topics("redact", "a/#", &[])).await);
    assert_eq!((code, detail.reason.as_str()), (Code::FailedPrecondition, "source"));
    assert_eq!(refusal(bind(&admin, "b", from_topics("nobody", "a/#", &[])).await).0, Code::NotFound);
    let (code, detail) = refusal(bind(&admin, "b", from_stream("pp", "nothing", &[])).await);
    assert_eq!((code, detail.field.as_str()), (Code::NotFound, "spec.stream"));
    let mut spec = from_topics("pp", "a/#", &[]);
    spec.alias = "canary".to_owned();
    assert_eq!(refusal(bind(&admin, "b", spec).await).0, Code::NotFound);
    let mut spec = from_topics("pp", "a/#", &[]);
    spec.concurrency = 1000;
    let (code, detail) = refusal(bind(&admin, "b", spec).await);
    assert_eq!((code, detail.field.as_str()), (Code::InvalidArgument, "concurrency"));
}

#[tokio::test]
async fn a_handler_that_is_bound_stays_and_secrets_are_never_told() {
    let node = node().start();
    let admin = admin(&node).await;
    upload(&admin, "pp", example("ping-pong")).await.expect("kept");
    stream(&admin, "pings", "ping", 1).await;
    let secret =
        HandlersSetSecretRequest { name: "key".to_owned(), value: "hush".to_owned(), ..Default::default() };
    admin.handlers().set_secret(secret).await.expect("set");
    let mut spec = from_stream("pp", "pings", &["pong"]);
    spec.secrets.insert("api-key".to_owned(), "missing".to_owned());
    assert_eq!(refusal(bind(&admin, "b", spec.clone()).await).0, Code::NotFound);
    spec.secrets.insert("api-key".to_owned(), "key".to_owned());
    bind(&admin, "b", spec).await.expect("bound");
    let request = HandlersDeleteRequest { name: "pp".to_owned(), ..Default::default() };
    let (code, detail) = refusal(admin.handlers().delete(request).await);
    assert_eq!((code, detail.reason.as_str()), (Code::FailedPrecondition, "in_use"));
    let names = admin.handlers().list_secrets(HandlersListSecretsRequest::default()).await.expect("listed");
    assert_eq!(names.into_inner().names, ["key"]);
    let told = format!("{:?}", crate::scene::binding(&admin, "b").await);
    assert!(told.contains("api-key") && !told.contains("hush"), "{told}");
}
