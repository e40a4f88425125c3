//! Every method asks for its scope, and who lacks it has changed nothing.

use std::collections::BTreeSet;
use std::path::Path;

use prost::Message as _;
use tonic_prost::ProstCodec;
use weir_admin::FieldMask;
use weir_admin::client::{Client as Admin, detail};
use weir_admin::proto::handlers_upload_request::Part;
use weir_admin::proto::{
    AccountsCreateTokenRequest, ClusterListNodesRequest, Handler, HandlerBinding, HandlerBindingSpec,
    HandlerShare, HandlerTopics, HandlerUpload, HandlerVersion, HandlersAlterBindingRequest,
    HandlersBindRequest, HandlersDeleteAliasRequest, HandlersDeleteRequest, HandlersDeleteSecretRequest,
    HandlersDeleteVersionRequest, HandlersListBindingsRequest, HandlersListRequest,
    HandlersListSecretsRequest, HandlersPauseRequest, HandlersReplayRequest, HandlersResumeRequest,
    HandlersRollbackRequest, HandlersSetAliasRequest, HandlersSetSecretRequest, HandlersTestRequest,
    HandlersUnbindRequest, HandlersUploadRequest, handler_binding_spec,
};
use weir_admin::tonic::client::Grpc;
use weir_admin::tonic::codegen::http::uri::PathAndQuery;
use weir_admin::tonic::{Code, Request, Status};

use crate::scene::{bearer, bearing, closed};

/// What each method asks. A new method is written down here, beside the scope it is meant for.
const ASKED: [(&str, &[&str]); 15] = [
    ("accounts:read", &["Accounts/List", "Accounts/ShowPolicy", "Accounts/ListTokens"]),
    (
        "accounts:write",
        &[
            "Accounts/Create",
            "Accounts/SetPassword",
            "Accounts/Delete",
            "Accounts/CreateToken",
            "Accounts/RevokeToken",
        ],
    ),
    ("cluster:read", &["Cluster/ListNodes"]),
    ("cluster:write", &["Cluster/Drain", "Cluster/Rebalance"]),
    ("config:read", &["Config/Show", "Config/Validate", "Config/Diff"]),
    ("config:write", &["Config/Reload"]),
    (
        "handlers:read",
        &[
            "Handlers/List",
            "Handlers/Get",
            "Handlers/ListBindings",
            "Handlers/GetBinding",
            "Handlers/ReadLogs",
            "Handlers/ListSecrets",
        ],
    ),
    (
        "handlers:write",
        &[
            "Handlers/Upload",
            "Handlers/Delete",
            "Handlers/DeleteVersion",
            "Handlers/SetAlias",
            "Handlers/Rollback",
            "Handlers/DeleteAlias",
            "Handlers/Bind",
            "Handlers/AlterBinding",
            "Handlers/Unbind",
            "Handlers/Pause",
            "Handlers/Resume",
            "Handlers/Replay",
            "Handlers/Test",
            "Handlers/SetSecret",
            "Handlers/DeleteSecret",
        ],
    ),
    ("sessions:read", &["Sessions/List", "Sessions/Get"]),
    ("sessions:write", &["Sessions/Kick", "Sessions/Delete"]),
    (
        "streams:read",
        &["Streams/List", "Streams/Get", "Streams/Read", "Streams/Consume", "Streams/ListGroups"],
    ),
    (
        "streams:write",
        &[
            "Streams/Create",
            "Streams/Alter",
            "Streams/Delete",
            "Streams/Publish",
            "Streams/PublishMany",
            "Streams/CreateGroup",
            "Streams/AlterGroup",
            "Streams/DeleteGroup",
            "Streams/PauseGroup",
            "Streams/ResumeGroup",
            "Streams/SeekGroup",
            "Streams/RedriveGroup",
        ],
    ),
    (
        "topics:read",
        &["Topics/ListRetained", "Topics/GetRetained", "Topics/ListSubscriptions", "Topics/Explain"],
    ),
    ("topics:write", &["Topics/DeleteRetained"]),
    ("watch", &["Watch/Events", "Watch/Stats"]),
];

/// Every `Service/Method` of the API, as its descriptors have it.
fn methods() -> BTreeSet<String> {
    let files = prost_types::FileDescriptorSet::decode(weir_admin::proto::DESCRIPTORS).expect("descriptors");
    let own = files.file.into_iter().filter(|file| file.package() == "weir.admin.v1");
    let services = own.flat_map(|file| file.service);
    let methods = services.flat_map(|service| {
        let name = service.name().to_owned();
        service.method.into_iter().map(move |method| format!("{name}/{}", method.name()))
    });
    methods.collect()
}

/// Calls a method with an empty request, whatever it takes.
async fn call(admin: &Admin, token: &str, method: &str) -> Result<(), Status> {
    let mut grpc = Grpc::new(admin.channel.clone());
    grpc.ready().await.expect("a connection");
    let mut request = Request::new(tokio_stream::once(()));
    let bearer = format!("Bearer {token}").parse().expect("a token");
    request.metadata_mut().insert("authorization", bearer);
    let path = PathAndQuery::try_from(format!("/weir.admin.v1.{method}")).expect("a path");
    grpc.streaming(request, path, ProstCodec::<(), ()>::default()).await.map(drop)
}

/// A token with all scopes but one.
async fn all_but(root: &Admin, scope: &str) -> String {
    let others = ASKED.iter().filter(|(other, _)| *other != scope);
    let request = AccountsCreateTokenRequest {
        name: "nearly-all".to_owned(),
        scopes: others.map(|(other, _)| (*other).to_owned()).collect(),
        expires_in_seconds: 600,
    };
    root.accounts().create_token(request).await.expect("made").into_inner().secret
}

#[test]
fn every_method_of_every_service_is_written_down_with_its_scope() {
    let written = ASKED.iter().flat_map(|(_, methods)| methods.iter().map(|method| (*method).to_owned()));
    assert_eq!(written.collect::<BTreeSet<_>>(), methods());
}

#[tokio::test]
async fn whoever_lacks_only_the_scope_of_a_method_is_refused_by_its_name() {
    let node = closed().start();
    let root = bearer(&node, &["admin"]).await;
    for (scope, methods) in ASKED {
        let token = all_but(&root, scope).await;
        for method in methods {
            let status = call(&root, &token, method).await.expect_err(method);
            let told = (status.code(), detail(&status).reason);
            assert_eq!(told, (Code::PermissionDenied, "scope".to_owned()), "{method}: {status:?}");
            assert!(status.message().contains(scope), "{method}: {}", status.message());
        }
    }
    let nodes = root.cluster().list_nodes(ClusterListNodesRequest {}).await.expect("it is not drained");
    assert!(nodes.into_inner().nodes[0].serves);
}

/// All there is of handlers, as whoever may see it is told.
async fn seen(root: &Admin) -> (Vec<Handler>, Vec<HandlerBinding>, Vec<String>) {
    let handlers = root.handlers().list(HandlersListRequest::default()).await.expect("listed");
    let bindings = root.handlers().list_bindings(HandlersListBindingsRequest::default()).await;
    let secrets = root.handlers().list_secrets(HandlersListSecretsRequest::default()).await;
    let (bindings, secrets) = (bindings.expect("listed").into_inner(), secrets.expect("listed").into_inner());
    (handlers.into_inner().handlers, bindings.bindings, secrets.names)
}

async fn upload(admin: &Admin, name: &str) -> Result<HandlerVersion, Status> {
    let directory = std::env::var_os("WEIR_HANDLERS").expect("`cargo xtask handlers` says where it is");
    let program = Path::new(&directory).join("ping-pong.wasm");
    let program = std::fs::read(&program).unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let header = Part::Header(HandlerUpload { name: name.to_owned(), ..HandlerUpload::default() });
    let chunks = program.chunks(64 << 10).map(|chunk| Part::Chunk(chunk.to_vec().into()));
    let parts = std::iter::once(header).chain(chunks).map(|part| HandlersUploadRequest { part: Some(part) });
    let answer = admin.handlers().upload(tokio_stream::iter(parts.collect::<Vec<_>>())).await?;
    Ok(answer.into_inner().version.expect("a version"))
}

fn binding(handler: &str) -> HandlerBindingSpec {
    let source = handler_binding_spec::Source::Topics(HandlerTopics { filters: vec!["ping".to_owned()] });
    HandlerBindingSpec {
        handler: handler.to_owned(),
        source: Some(source),
        outputs: vec!["pong".to_owned()],
        ..HandlerBindingSpec::default()
    }
}

/// Tries every change there is to the handler `pp`, its binding `b` and the secret `key`.
async fn try_all(by: &Admin, digest: &str) -> Vec<(&'static str, Option<Status>)> {
    let realm = String::new;
    let (pp, b) = (|| "pp".to_owned(), || "b".to_owned());
    let (digest, alias) = (|| digest.to_owned(), || "live".to_owned());
    let mask = FieldMask { paths: vec!["outputs".to_owned()] };
    let altered = HandlerBindingSpec { outputs: vec!["other".to_owned()], ..binding("pp") };
    let secret = HandlersSetSecretRequest { realm: realm(), name: "key".to_owned(), value: "new".to_owned() };
    let no_secret = HandlersDeleteSecretRequest { realm: realm(), name: "key".to_owned() };
    let version = HandlersDeleteVersionRequest { realm: realm(), name: pp(), digest: digest() };
    let mut aliased = HandlersSetAliasRequest {
        name: pp(),
        alias: "canary".to_owned(),
        ..HandlersSetAliasRequest::default()
    };
    aliased.shares.push(HandlerShare { digest: digest(), percent: 100 });
    let bound =
        HandlersBindRequest { name: "new".to_owned(), spec: Some(binding("pp")), ..Default::default() };
    let mut alter = HandlersAlterBindingRequest { name: b(), spec: Some(altered), ..Default::default() };
    alter.update_mask = Some(mask);
    let replay = HandlersReplayRequest { name: b(), ..HandlersReplayRequest::default() };
    let test = HandlersTestRequest { name: pp(), ..HandlersTestRequest::default() };
    let to = || by.handlers();
    vec![
        ("Upload", upload(by, "new").await.err()),
        ("SetSecret", to().set_secret(secret).await.err()),
        ("DeleteSecret", to().delete_secret(no_secret).await.err()),
        ("Pause", to().pause(HandlersPauseRequest { realm: realm(), name: b() }).await.err()),
        ("Resume", to().resume(HandlersResumeRequest { realm: realm(), name: b() }).await.err()),
        ("Replay", to().replay(replay).await.err()),
        ("Test", to().test(test).await.err()),
        ("SetAlias", to().set_alias(aliased).await.err()),
        (
            "Rollback",
            to().rollback(HandlersRollbackRequest { realm: realm(), name: pp(), alias: alias() }).await.err(),
        ),
        (
            "DeleteAlias",
            to().delete_alias(HandlersDeleteAliasRequest { realm: realm(), name: pp(), alias: alias() })
                .await
                .err(),
        ),
        ("Bind", to().bind(bound).await.err()),
        ("AlterBinding", to().alter_binding(alter).await.err()),
        ("Unbind", to().unbind(HandlersUnbindRequest { realm: realm(), name: b() }).await.err()),
        ("DeleteVersion", to().delete_version(version).await.err()),
        ("Delete", to().delete(HandlersDeleteRequest { realm: realm(), name: pp() }).await.err()),
    ]
}

#[tokio::test]
async fn who_may_only_see_handlers_changes_nothing_of_them() {
    let node = closed().start();
    let root = bearer(&node, &["admin"]).await;
    let version = upload(&root, "pp").await.expect("kept");
    let secret =
        HandlersSetSecretRequest { name: "key".to_owned(), value: "hush".to_owned(), ..Default::default() };
    root.handlers().set_secret(secret).await.expect("set");
    let bind = HandlersBindRequest {
        name: "b".to_owned(),
        spec: Some(binding("pp")),
        ..HandlersBindRequest::default()
    };
    root.handlers().bind(bind).await.expect("bound");
    let before = seen(&root).await;

    let reader = bearing(&node, &all_but(&root, "handlers:write").await).await;
    let tried = try_all(&reader, &version.digest).await;
    let written = ASKED.iter().find(|(scope, _)| *scope == "handlers:write").expect("written down").1;
    let names = written.iter().filter_map(|method| Some(method.split_once('/')?.1));
    let names: BTreeSet<&str> = names.collect();
    assert_eq!(tried.iter().map(|(method, _)| *method).collect::<BTreeSet<_>>(), names, "all of them");
    for (method, refused) in tried {
        let status = refused.unwrap_or_else(|| panic!("{method} was let through"));
        assert_eq!(status.code(), Code::PermissionDenied, "{method}: {status:?}");
        assert!(status.message().contains("handlers:write"), "{method}: {}", status.message());
    }
    assert_eq!(seen(&root).await, before);
    assert_eq!(seen(&reader).await, before, "and sees as much");
}
