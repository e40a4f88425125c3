//! Which version counts is one row: promoted, shared by key and rolled back at once.

use weir_admin::proto::{
    HandlerShare, HandlerTestMessage, HandlersDeleteVersionRequest, HandlersRollbackRequest,
    HandlersSetAliasRequest, HandlersTestRequest,
};
use weir_admin::tonic::Code;

use crate::scene::{admin, example, node, refusal, upload};

fn alias(shares: &[(&str, u32)]) -> HandlersSetAliasRequest {
    let share =
        |(digest, percent): &(&str, u32)| HandlerShare { digest: (*digest).to_owned(), percent: *percent };
    HandlersSetAliasRequest {
        name: "h".to_owned(),
        shares: shares.iter().map(share).collect(),
        ..HandlersSetAliasRequest::default()
    }
}

#[tokio::test]
async fn an_alias_is_promoted_shared_and_rolled_back_and_never_points_at_nothing() {
    let node = node().start();
    let admin = admin(&node).await;
    let first = upload(&admin, "h", example("ping-pong")).await.expect("kept").digest;
    let second = upload(&admin, "h", example("contacts")).await.expect("kept").digest;
    let nothing = "ab".repeat(32);
    assert_eq!(refusal(admin.handlers().set_alias(alias(&[(&nothing, 100)])).await).0, Code::NotFound);
    let (code, detail) = refusal(admin.handlers().set_alias(alias(&[(&first, 50)])).await);
    assert_eq!((code, detail.field.as_str()), (Code::InvalidArgument, "shares"));
    let rollback = HandlersRollbackRequest { name: "h".to_owned(), ..Default::default() };
    assert_eq!(refusal(admin.handlers().rollback(rollback.clone()).await).0, Code::FailedPrecondition);
    admin.handlers().set_alias(alias(&[(&second, 100)])).await.expect("promoted");
    let shared = admin.handlers().set_alias(alias(&[(&second, 90), (&first, 10)])).await.expect("shared");
    assert_eq!(shared.into_inner().alias.expect("an alias").shares.len(), 2);
    let back = admin.handlers().rollback(rollback).await.expect("back").into_inner().alias.expect("an alias");
    assert_eq!((back.shares.len(), &back.shares[0].digest), (1, &second));
    let gone = HandlersDeleteVersionRequest { name: "h".to_owned(), digest: second, ..Default::default() };
    assert_eq!(refusal(admin.handlers().delete_version(gone).await).0, Code::FailedPrecondition);
    let gone = HandlersDeleteVersionRequest { name: "h".to_owned(), digest: first, ..Default::default() };
    admin.handlers().delete_version(gone).await.expect("gone");
}

#[tokio::test]
async fn a_test_calls_a_version_and_nothing_comes_of_it() {
    let node = node().start();
    let admin = admin(&node).await;
    upload(&admin, "h", example("ping-pong")).await.expect("kept");
    let message = |payload: &str| HandlerTestMessage {
        topic: "ping".to_owned(),
        payload: payload.as_bytes().to_vec().into(),
        ..HandlerTestMessage::default()
    };
    let request = HandlersTestRequest {
        name: "h".to_owned(),
        messages: vec![message(r#"{"seq": 1}"#), message("no")],
        ..HandlersTestRequest::default()
    };
    let outcomes = admin.handlers().test(request).await.expect("tried").into_inner().outcomes;
    assert_eq!((outcomes[0].result.as_str(), outcomes[0].events[0].topic.as_str()), ("done", "pong"));
    assert_eq!(outcomes[1].result, "rejected");
    assert!(outcomes[1].reason.contains("expected"), "{}", outcomes[1].reason);
}
