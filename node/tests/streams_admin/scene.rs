//! A node with streams, and who makes, writes, reads and consumes them.

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use weir_admin::client::{self, Client as Admin, Target};
use weir_admin::proto::streams_consume_request::Request as Said;
use weir_admin::proto::streams_consume_response::Response as Heard;
use weir_admin::proto::{
    ConsumeAck, ConsumeAnswer, ConsumeJoin, ConsumeNack, ConsumeRecord, ErrorDetail, GroupSpec, StreamRecord,
    StreamSpec, StreamsConsumeRequest, StreamsConsumeResponse, StreamsCreateGroupRequest,
    StreamsCreateRequest, StreamsPublishRequest, StreamsPublishResponse, StreamsReadRequest,
    StreamsReadResponse,
};
use weir_admin::tonic::{Code, Status, Streaming};
use weir_testkit::node::Builder;
use weir_testkit::{Node, PATIENCE};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_weir");

/// A node in its open form.
pub fn node() -> Builder {
    Node::of(PROGRAM).listen("http").listen("admin").set("broker.sys_interval_seconds", 0)
}

pub fn target(node: &Node) -> Target {
    Target {
        server: format!("http://{}", node.address("admin")),
        timeout: PATIENCE,
        calls_end: false,
        ..Target::default()
    }
}

pub async fn admin(node: &Node) -> Admin {
    Admin::connect(&target(node)).await.expect("the node is administered")
}

/// Why a call was refused, and what its detail says.
pub fn refusal<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, ErrorDetail) {
    let status = answer.expect_err("a refusal");
    (status.code(), client::detail(&status))
}

/// What has to come soon.
pub async fn soon<T>(what: &str, coming: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, coming).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// Makes a stream of these filters, in one partition.
pub async fn stream(admin: &Admin, name: &str, filters: &[&str]) {
    let filters = filters.iter().map(|filter| (*filter).to_owned()).collect();
    let spec = Some(StreamSpec { filters, ..StreamSpec::default() });
    let request = StreamsCreateRequest { name: name.to_owned(), spec, ..Default::default() };
    admin.streams().create(request).await.expect("made");
}

pub async fn group(admin: &Admin, stream: &str, group: &str, spec: GroupSpec) {
    let (stream, group, spec) = (stream.to_owned(), group.to_owned(), Some(spec));
    let request = StreamsCreateGroupRequest { stream, group, spec, ..Default::default() };
    admin.streams().create_group(request).await.expect("made");
}

pub fn message(topic: &str, payload: &str) -> StreamsPublishRequest {
    StreamsPublishRequest {
        topic: topic.to_owned(),
        payload: payload.as_bytes().to_vec().into(),
        ..StreamsPublishRequest::default()
    }
}

pub async fn publish(admin: &Admin, topic: &str, payload: &str) -> StreamsPublishResponse {
    admin.streams().publish(message(topic, payload)).await.expect("published").into_inner()
}

/// Publishes `0`, `1`, .. to a topic.
pub async fn fill(admin: &Admin, topic: &str, count: usize) {
    for number in 0..count {
        publish(admin, topic, &number.to_string()).await;
    }
}

pub fn reading(name: &str) -> StreamsReadRequest {
    StreamsReadRequest { name: name.to_owned(), ..StreamsReadRequest::default() }
}

/// Everything that a reading to the end finds.
pub async fn read(admin: &Admin, request: StreamsReadRequest) -> Vec<StreamRecord> {
    let mut answers = admin.streams().read(request).await.expect("read").into_inner();
    let mut records = Vec::new();
    while let Some(answer) = soon("the end", answers.message()).await.expect("an answer") {
        records.extend(answer.records);
    }
    records
}

/// So many records of one that follows.
pub async fn follow(answers: &mut Streaming<StreamsReadResponse>, count: usize) -> Vec<StreamRecord> {
    let mut records = Vec::new();
    while records.len() < count {
        let answer = soon("records", answers.message()).await.expect("an answer").expect("not the end");
        records.extend(answer.records);
    }
    records
}

pub fn payload(record: &StreamRecord) -> &str {
    std::str::from_utf8(&record.payload).expect("text")
}

pub fn payloads(records: &[StreamRecord]) -> Vec<&str> {
    records.iter().map(payload).collect()
}

/// A member of a group.
pub struct Member {
    say: mpsc::Sender<StreamsConsumeRequest>,
    heard: Streaming<StreamsConsumeResponse>,
    waiting: Vec<ConsumeRecord>,
}

impl Member {
    pub async fn join(admin: &Admin, stream: &str, group: &str) -> Member {
        Member::join_with(admin, stream, group, 0).await
    }

    pub async fn join_with(admin: &Admin, stream: &str, group: &str, in_flight_max: u32) -> Member {
        let mut member = Member::call(admin).await;
        let (stream, group) = (stream.to_owned(), group.to_owned());
        member.say(Said::Join(ConsumeJoin { stream, group, in_flight_max, ..Default::default() })).await;
        match member.hear().await.expect("joined") {
            Some(Heard::Joined(_)) => member,
            other => panic!("it was to join, not {other:?}"),
        }
    }

    /// Calls, and says nothing yet.
    pub async fn call(admin: &Admin) -> Member {
        let (say, said) = mpsc::channel(16);
        let heard = soon("the call", admin.streams().consume(ReceiverStream::new(said))).await;
        Member { say, heard: heard.expect("a call").into_inner(), waiting: Vec::new() }
    }

    pub async fn say(&mut self, said: Said) {
        self.say.send(StreamsConsumeRequest { request: Some(said) }).await.expect("the call lasts");
    }

    pub async fn hear(&mut self) -> Result<Option<Heard>, Status> {
        let answer = soon("an answer", self.heard.message()).await?;
        Ok(answer.and_then(|answer| answer.response))
    }

    /// So many records.
    pub async fn take(&mut self, count: usize) -> Vec<ConsumeRecord> {
        while self.waiting.len() < count {
            match self.hear().await.expect("records") {
                Some(Heard::Records(records)) => self.waiting.extend(records.records),
                Some(Heard::Taken(_)) => {}
                other => panic!("records were expected, not {other:?}"),
            }
        }
        self.waiting.drain(..count).collect()
    }

    /// Acknowledges, and hears that the store has it.
    pub async fn ack(&mut self, records: &[ConsumeRecord]) -> ConsumeAnswer {
        let receipts = records.iter().map(|one| one.receipt.clone()).collect();
        self.say(Said::Ack(ConsumeAck { receipts, tag: 7, sync: true })).await;
        self.answer().await
    }

    pub async fn nack(&mut self, record: &ConsumeRecord, delay_ms: Option<u64>) -> ConsumeAnswer {
        self.say(Said::Nack(ConsumeNack { receipt: record.receipt.clone(), delay_ms, tag: 8 })).await;
        self.answer().await
    }

    /// The next answer; records that come before it wait.
    pub async fn answer(&mut self) -> ConsumeAnswer {
        loop {
            match self.hear().await.expect("an answer") {
                Some(Heard::Answer(answer)) => return answer,
                Some(Heard::Records(records)) => self.waiting.extend(records.records),
                Some(Heard::Taken(_)) => {}
                other => panic!("an answer was expected, not {other:?}"),
            }
        }
    }

    /// Says that it is done, and waits for the end of the call.
    pub async fn leave(mut self) {
        drop(self.say);
        while soon("the end", self.heard.message()).await.expect("a clean end").is_some() {}
    }
}

pub fn text_of(records: &[ConsumeRecord]) -> Vec<String> {
    records.iter().map(|one| payload(one.record.as_ref().expect("a record")).to_owned()).collect()
}

pub fn reasons(answer: &ConsumeAnswer) -> Vec<&str> {
    answer.refused.iter().map(|one| one.reason.as_str()).collect()
}

/// Runs the command at a node.
pub fn weir(node: &Node, words: &[&str]) -> Output {
    let home = tempfile::tempdir().expect("a home");
    let mut command = Command::new(PROGRAM);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("WEIR")) {
        command.env_remove(name);
    }
    let server = format!("http://{}", node.address("admin"));
    command.args(words).args(["--server", &server]).env("XDG_CONFIG_HOME", home.path());
    command.output().expect("the command")
}

/// What it printed; it must have succeeded.
pub fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn json(output: &Output) -> Value {
    serde_json::from_str(&said(output)).expect("JSON")
}

/// Asks again until it is so.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(std::time::Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
