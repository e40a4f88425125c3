//! A node with handlers, and who uploads and binds them.

use std::path::PathBuf;
use std::time::Duration;

use weir_admin::client::{self, Client as Admin, Target};
use weir_admin::proto::handler_binding_spec::Source;
use weir_admin::proto::handlers_upload_request::Part;
use weir_admin::proto::{
    ErrorDetail, HandlerBindingSpec, HandlerStream, HandlerTopics, HandlerUpload, HandlerVersion,
    HandlersBindRequest, HandlersGetBindingRequest, HandlersGetBindingResponse, HandlersUploadRequest,
    StreamKey, StreamKeyKind, StreamRecord, StreamSpec, StreamsCreateRequest, StreamsPublishRequest,
    StreamsReadRequest,
};
use weir_admin::tonic::{Code, Status};
use weir_testkit::node::Builder;
use weir_testkit::{Node, PATIENCE};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_weir");

/// A node in its open form.
pub fn node() -> Builder {
    Node::of(PROGRAM).listen("admin").listen("mqtt").set("broker.sys_interval_seconds", 0)
}

pub async fn admin(node: &Node) -> Admin {
    let target = Target {
        server: format!("http://{}", node.address("admin")),
        timeout: PATIENCE,
        calls_end: false,
        ..Target::default()
    };
    Admin::connect(&target).await.expect("the node is administered")
}

/// Where the example handlers lie: `cargo xtask handlers` builds them.
pub fn example_file(name: &str) -> PathBuf {
    let dir = std::env::var_os("WEIR_HANDLERS")
        .expect("WEIR_HANDLERS says where `cargo xtask handlers` has put them");
    PathBuf::from(dir).join(format!("{name}.wasm"))
}

pub fn example(name: &str) -> Vec<u8> {
    let file = example_file(name);
    std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Why a call was refused, and what its detail says.
pub fn refusal<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, ErrorDetail) {
    let status = answer.expect_err("a refusal");
    (status.code(), client::detail(&status))
}

pub fn header(name: &str) -> Part {
    Part::Header(HandlerUpload { name: name.to_owned(), ..HandlerUpload::default() })
}

pub async fn send(admin: &Admin, parts: Vec<Part>) -> Result<HandlerVersion, Status> {
    let parts = parts.into_iter().map(|part| HandlersUploadRequest { part: Some(part) });
    let answer = admin.handlers().upload(tokio_stream::iter(parts.collect::<Vec<_>>())).await?;
    Ok(answer.into_inner().version.expect("a version"))
}

pub async fn upload(admin: &Admin, name: &str, bytes: Vec<u8>) -> Result<HandlerVersion, Status> {
    let chunks = bytes.chunks(64 << 10).map(|chunk| Part::Chunk(chunk.to_vec().into()));
    send(admin, std::iter::once(header(name)).chain(chunks).collect()).await
}

/// A stream of these topics in so many partitions, with the topic as key.
pub async fn stream(admin: &Admin, name: &str, filter: &str, partitions: u32) {
    let key = Some(StreamKey { kind: StreamKeyKind::Topic.into(), name: String::new() });
    let spec = Some(StreamSpec { filters: vec![filter.to_owned()], partitions, key, retention: None });
    let request = StreamsCreateRequest { name: name.to_owned(), spec, ..Default::default() };
    admin.streams().create(request).await.expect("made");
}

pub fn from_stream(handler: &str, stream: &str, outputs: &[&str]) -> HandlerBindingSpec {
    let source = Source::Stream(HandlerStream { stream: stream.to_owned(), start: None, changelog: false });
    spec(handler, source, outputs)
}

pub fn from_topics(handler: &str, filter: &str, outputs: &[&str]) -> HandlerBindingSpec {
    spec(handler, Source::Topics(HandlerTopics { filters: vec![filter.to_owned()] }), outputs)
}

fn spec(handler: &str, source: Source, outputs: &[&str]) -> HandlerBindingSpec {
    HandlerBindingSpec {
        handler: handler.to_owned(),
        source: Some(source),
        outputs: outputs.iter().map(|output| (*output).to_owned()).collect(),
        ..HandlerBindingSpec::default()
    }
}

pub async fn bind(admin: &Admin, name: &str, spec: HandlerBindingSpec) -> Result<(), Status> {
    let request = HandlersBindRequest { name: name.to_owned(), spec: Some(spec), ..Default::default() };
    admin.handlers().bind(request).await.map(drop)
}

pub async fn binding(admin: &Admin, name: &str) -> HandlersGetBindingResponse {
    let request = HandlersGetBindingRequest { name: name.to_owned(), ..Default::default() };
    admin.handlers().get_binding(request).await.expect("a binding").into_inner()
}

/// Calls of a binding on the node that came to this.
pub async fn calls(admin: &Admin, name: &str, result: &str) -> u64 {
    binding(admin, name).await.calls.get(result).copied().unwrap_or(0)
}

pub async fn publish(admin: &Admin, topic: &str, payload: &str) {
    let request = StreamsPublishRequest {
        topic: topic.to_owned(),
        payload: payload.as_bytes().to_vec().into(),
        ..StreamsPublishRequest::default()
    };
    admin.streams().publish(request).await.expect("published");
}

/// Everything in a stream.
pub async fn read(admin: &Admin, name: &str) -> Vec<StreamRecord> {
    let request = StreamsReadRequest { name: name.to_owned(), ..StreamsReadRequest::default() };
    let mut answers = admin.streams().read(request).await.expect("read").into_inner();
    let mut records = Vec::new();
    while let Some(answer) = answers.message().await.expect("an answer") {
        records.extend(answer.records);
    }
    records
}

pub fn text(record: &StreamRecord) -> (&str, &str) {
    (&record.topic, std::str::from_utf8(&record.payload).expect("text"))
}

/// Looks again and again until it is so.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until a stream holds so many records.
pub async fn records(admin: &Admin, name: &str, count: usize) -> Vec<StreamRecord> {
    until("records", async || Some(read(admin, name).await).filter(|found| found.len() >= count)).await
}
