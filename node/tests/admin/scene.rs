//! A node that is administered, its clients, and whoever administers it: by gRPC or by the `weir` command.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use url::Url;
use weir_admin::client::{self, Client as Admin, Target};
use weir_admin::proto::ErrorDetail;
use weir_admin::tonic::{Code, Status};
use weir_bench::Client;
use weir_bench::client::{Message, Options, Subscription};
use weir_model::Qos;
use weir_testkit::node::Builder;
use weir_testkit::{Node, PATIENCE};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_weir");

/// A node in its open form: whoever is on this machine administers it.
pub fn node() -> Builder {
    Node::of(PROGRAM).listen("http").listen("admin").set("broker.sys_interval_seconds", 0)
}

/// One whose policy binds its clients, so that nobody administers it without credentials.
pub fn closed() -> Builder {
    node().set("access.policy", "own")
}

/// How to reach a node without TLS.
pub fn target(node: &Node) -> Target {
    Target {
        server: format!("http://{}", node.address("admin")),
        timeout: PATIENCE,
        calls_end: true,
        ..Target::default()
    }
}

/// Somebody on this machine.
pub async fn admin(node: &Node) -> Admin {
    Admin::connect(&target(node)).await.expect("the node is administered")
}

/// Somebody with a token of these scopes.
pub async fn bearer(node: &Node, scopes: &[&str]) -> Admin {
    bearing(node, &token(node, scopes, &[])).await
}

/// Somebody with this token.
pub async fn bearing(node: &Node, token: &str) -> Admin {
    let target = Target { token: Some(token.to_owned()), ..target(node) };
    Admin::connect(&target).await.expect("the node is administered")
}

/// A new token, made in the node's file by the command.
pub fn token(node: &Node, scopes: &[&str], more: &[&str]) -> String {
    let file = node.data_dir().join("admin-tokens.toml");
    let mut words = vec!["token", "create", "test", "--file"];
    let file = file.display().to_string();
    words.push(&file);
    scopes.iter().for_each(|scope| words.extend(["--scope", *scope]));
    let made = weir(&[&words, more].concat());
    assert!(made.status.success(), "{}", text(&made));
    String::from_utf8(made.stdout).expect("text").trim().to_owned()
}

/// Why a call was refused, and what its detail says.
pub fn refusal<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, ErrorDetail) {
    let status = answer.expect_err("a refusal");
    (status.code(), client::detail(&status))
}

/// Runs the command; nothing of this machine's configuration is in its environment.
pub fn weir(words: &[&str]) -> Output {
    weir_with(words, "", &[])
}

/// The same, with this on stdin and in the environment.
pub fn weir_with(words: &[&str], stdin: &str, environment: &[(&str, &str)]) -> Output {
    use std::io::Write as _;
    let home = tempfile::tempdir().expect("a home");
    let mut command = Command::new(PROGRAM);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("WEIR")) {
        command.env_remove(name);
    }
    command.args(words).env("XDG_CONFIG_HOME", home.path()).envs(environment.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command");
    // Who reads nothing may have ended.
    let _ = child.stdin.take().expect("piped").write_all(stdin.as_bytes());
    child.wait_with_output().expect("it ends")
}

/// The same at a node.
pub fn at(node: &Node, words: &[&str]) -> Output {
    let server = format!("http://{}", node.address("admin"));
    weir(&[words, &["--server", &server]].concat())
}

/// Its JSON; it must have succeeded.
pub fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(output)))
}

/// All it said.
pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

pub fn url(node: &Node) -> Url {
    Url::parse(&format!("mqtt://{}", node.address("mqtt"))).expect("a URL")
}

/// A session that ends with its connection.
pub fn clean(client_id: &str) -> Options {
    Options { client_id: client_id.to_owned(), timeout: PATIENCE, ..Options::default() }
}

/// A session that is kept.
pub fn kept(client_id: &str) -> Options {
    Options { clean_start: false, session_expiry_seconds: Some(3600), ..clean(client_id) }
}

pub async fn connect(node: &Node, options: &Options) -> Client {
    Client::connect(&url(node), options).await.expect("the node takes a client")
}

pub async fn subscribe(client: &mut Client, filter: &str) {
    client.subscribe(&[Subscription::new(filter, Qos::AtLeastOnce)], None).await.expect("subscribed");
}

/// Publishes a retained message.
pub async fn retain(client: &mut Client, topic: &str, payload: &str) {
    let message = Message { retain: true, ..Message::new(topic, payload, Qos::AtLeastOnce) };
    client.publish(&message).await.expect("published");
}

/// The code of the DISCONNECT that ends the connection.
pub async fn ended(client: &mut Client) -> u8 {
    match tokio::time::timeout(PATIENCE, client.next()).await.expect("in time") {
        Err(weir_bench::client::Error::Disconnected { code, .. }) => code.as_u8(),
        other => panic!("the end was expected, not {other:?}"),
    }
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
