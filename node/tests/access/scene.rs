//! Nodes that ask who somebody is, clients that say so, and files that change under way.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};
use tempfile::TempDir;
use url::Url;
use weir_bench::Client;
use weir_bench::client::{Error, Incoming, Message, Options, Subscription};
use weir_model::Qos;
use weir_testkit::node::Builder;
use weir_testkit::{Node, PATIENCE};
use weir_wire::mqtt::ReasonCode;

pub const SECRET: &str = "secret_key";

/// Files of a node's access, each replaced as a whole.
pub struct Files(TempDir);

impl Files {
    pub fn new() -> Files {
        Files(tempfile::tempdir().expect("a directory"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file beside and puts it in its place, so that nobody reads half of it.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let (beside, path) = (self.path(&format!("{name}.new")), self.path(name));
        std::fs::write(&beside, content).expect("written");
        std::fs::rename(beside, &path).expect("in its place");
        path
    }

    /// `weir account ..`, which must succeed, with this password.
    pub fn account(&self, words: &[&str], password: &str) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.arg("account").args(words).arg("--file").arg(self.path("accounts.toml"));
        command.env_remove("WEIR_CONFIG").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the account command");
        // Who needs no password does not read one.
        let _ = child.stdin.take().expect("piped").write_all(password.as_bytes());
        let said = child.wait_with_output().expect("it ends");
        assert!(said.status.success(), "{words:?}: {}", String::from_utf8_lossy(&said.stderr));
    }
}

/// A node that looks at its files every second.
pub fn node() -> Builder {
    let node = Node::of(env!("CARGO_BIN_EXE_weir")).listen("http");
    node.set("access.reload_seconds", 1).set("broker.sys_interval_seconds", 0)
}

/// One that believes tokens signed with [`SECRET`], to the second.
pub fn with_tokens() -> Builder {
    node().set("access.jwt.secret", SECRET).set("access.jwt.leeway_seconds", 0)
}

/// The same, with the rules of this file.
pub fn with_policy(policy: &Path) -> Builder {
    with_tokens().set("access.policy", policy.display())
}

/// A token (RFC 7519) by HS256.
pub fn token(claims: &Value, secret: &str, kid: Option<&str>) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let mut header = json!({"alg": "HS256", "typ": "JWT"});
    if let Some(kid) = kid {
        header["kid"] = kid.into();
    }
    let signed = format!("{}.{}", part(&header), part(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// Seconds since 1970, some from now.
pub fn in_seconds(seconds: u64) -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock after 1970");
    now.as_secs() + seconds
}

pub fn options(client_id: &str) -> Options {
    Options { client_id: client_id.to_owned(), timeout: PATIENCE, ..Options::default() }
}

/// Shows this token.
pub fn bearing(token: &str, client_id: &str) -> Options {
    let password = Some(token.as_bytes().to_vec());
    Options { username: Some("JWT".to_owned()), password, ..options(client_id) }
}

/// A user with a token, whose client id is its user id.
pub fn user(name: &str) -> Options {
    bearing(&token(&json!({"user_id": name}), SECRET, None), name)
}

/// A user with one role.
pub fn with_role(name: &str, role: &str) -> Options {
    bearing(&token(&json!({"user_id": name, "roles": [role]}), SECRET, None), name)
}

/// A user with a password.
pub fn account(name: &str, password: &str, client_id: &str) -> Options {
    let password = Some(password.as_bytes().to_vec());
    Options { username: Some(name.to_owned()), password, ..options(client_id) }
}

/// With a session that is kept.
pub fn kept(options: Options) -> Options {
    Options { clean_start: false, session_expiry_seconds: Some(3600), ..options }
}

pub fn url(node: &Node, listener: &str) -> Url {
    let scheme = if listener == "mqtts" { "mqtts" } else { "mqtt" };
    Url::parse(&format!("{scheme}://{}", node.address(listener))).expect("a URL")
}

pub async fn try_connect(node: &Node, options: &Options) -> Result<Client, Error> {
    Client::connect(&url(node, "mqtt"), options).await
}

pub async fn connect(node: &Node, options: &Options) -> Client {
    try_connect(node, options).await.unwrap_or_else(|error| panic!("{}: {error}", options.client_id))
}

/// The code with which CONNECT is refused.
pub async fn refusal(node: &Node, options: &Options) -> ReasonCode {
    match try_connect(node, options).await {
        Err(Error::Refused { code, .. }) => code,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("{} was let in", options.client_id),
    }
}

/// The code of SUBACK.
pub async fn ask_for(client: &mut Client, filter: &str, qos: Qos) -> u8 {
    let codes = client.subscribe(&[Subscription::new(filter, qos)], None).await.expect("answered");
    codes[0].as_u8()
}

pub async fn subscribe(client: &mut Client, filter: &str) {
    assert_eq!(ask_for(client, filter, Qos::AtLeastOnce).await, 1, "{filter}");
}

/// Publishes; the code of a refusal if it was one.
pub async fn publish(client: &mut Client, message: &Message) -> Result<(), u8> {
    match client.publish(message).await {
        Ok(_) => Ok(()),
        Err(Error::PublishRefused { code, .. }) => Err(code.as_u8()),
        Err(error) => panic!("{error}"),
    }
}

/// A message of QoS 1.
pub fn message(topic: &str, payload: &str) -> Message {
    Message::new(topic, payload, Qos::AtLeastOnce)
}

pub async fn next(client: &mut Client) -> Incoming {
    tokio::time::timeout(PATIENCE, client.next()).await.expect("in time").expect("a message")
}

/// The next message's payload.
pub async fn text(client: &mut Client) -> String {
    String::from_utf8(next(client).await.payload).expect("text")
}

/// The code of the DISCONNECT that ends the connection.
pub async fn ended(client: &mut Client) -> u8 {
    match tokio::time::timeout(PATIENCE, client.next()).await.expect("in time") {
        Err(Error::Disconnected { code, .. }) => code.as_u8(),
        other => panic!("the end was expected, not {other:?}"),
    }
}

/// Asks again until the answer is this one.
pub async fn until<T: PartialEq + std::fmt::Debug>(wanted: T, mut ask: impl AsyncFnMut() -> T) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let got = ask().await;
        if got == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "it is still {got:?}, not {wanted:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Copies that were not delivered because their receiver may not have them.
pub fn denied(node: &Node) -> f64 {
    node.metrics().value("weir_broker_copies_dropped_total{reason=\"denied\"}")
}
