//! Nodes and clients of these tests.

use std::io::Write as _;
use std::path::PathBuf;

use tempfile::NamedTempFile;
use url::Url;
use weir_bench::Client;
use weir_bench::client::{Incoming, Message, Options, Properties, Subscription};
use weir_model::Qos;
use weir_testkit::{Node, PATIENCE};

pub fn node() -> weir_testkit::node::Builder {
    Node::of(env!("CARGO_BIN_EXE_weir")).store("memory").listen("http")
}

pub fn options(client_id: &str) -> Options {
    Options { client_id: client_id.to_owned(), timeout: PATIENCE, ..Options::default() }
}

pub fn url(node: &Node) -> Url {
    Url::parse(&format!("mqtt://{}", node.address("mqtt"))).expect("a URL")
}

pub async fn connect(node: &Node, options: &Options) -> Client {
    Client::connect(&url(node), options).await.expect("the node takes a client")
}

pub async fn subscribe(client: &mut Client, filter: &str, qos: Qos) {
    let codes = client.subscribe(&[Subscription::new(filter, qos)], None).await.expect("answered");
    assert!(codes.iter().all(|code| code.as_u8() < 0x80), "{filter}: {codes:?}");
}

pub async fn next(client: &mut Client) -> Incoming {
    tokio::time::timeout(PATIENCE, client.next()).await.expect("in time").expect("a message")
}

/// A message with user properties.
pub fn message(topic: &str, payload: &str, qos: Qos, user: &[(&str, &str)]) -> Message {
    let user = user.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Message { properties: Properties { user, ..Properties::default() }, ..Message::new(topic, payload, qos) }
}

/// A file of this content that is gone with the test.
pub fn file(content: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a file");
    file.write_all(content.as_bytes()).expect("written");
    file
}

/// What `cargo xtask tools` brought.
pub fn brought(name: &str) -> PathBuf {
    let built = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/tools");
    let file = std::env::var_os("WEIR_TOOLS").map_or_else(built, PathBuf::from).join(name);
    assert!(file.exists(), "{} is missing: run `cargo xtask tools`", file.display());
    file
}
