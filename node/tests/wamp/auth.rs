//! Who a WAMP client is: tickets, tokens, WAMP-CRA and cryptosign, as autobahn-js and wampy do them, and what ends a
//! session that rests on them.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;
use weir_bench::Client as Mqtt;
use weir_bench::client::{Message, Options};
use weir_model::Qos;
use weir_testkit::node::Builder;
use weir_testkit::{Node, PATIENCE};

use crate::raw::Client;
use crate::script::run_with;

/// The public half of the key of the first test of RFC 8032 section 7.1.
pub const PUBLIC_KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

/// The accounts of a node.
pub struct Accounts(TempDir);

impl Accounts {
    /// Ann has a password, Bob a key for WAMP-CRA too, Dee a public key; Eve may be in two realms only.
    pub fn of_everybody() -> Accounts {
        let accounts = Accounts(tempfile::tempdir().expect("a directory"));
        accounts.add(&["ann", "--role", "device"], "apple");
        accounts.add(&["bob", "--wampcra"], "banana");
        accounts.add(&["dee", "--public-key", PUBLIC_KEY], "");
        accounts.add(&["eve", "--realm", "plant", "--realm", "lab"], "elder");
        accounts
    }

    pub fn of_ann() -> Accounts {
        let accounts = Accounts(tempfile::tempdir().expect("a directory"));
        accounts.add(&["ann"], "apple");
        accounts
    }

    pub fn path(&self) -> PathBuf {
        self.0.path().join("accounts.toml")
    }

    /// `weir account add ..`, with keys that cost as little as there may be.
    fn add(&self, words: &[&str], password: &str) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(["account", "add"]).args(words).arg("--file").arg(self.path());
        command.env_remove("WEIR_CONFIG").env("WEIR__ACCESS__SCRAM__ITERATIONS", "4096");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the account command");
        // Who needs no password does not read one.
        let _ = child.stdin.take().expect("piped").write_all(password.as_bytes());
        let said = child.wait_with_output().expect("it ends");
        assert!(said.status.success(), "{words:?}: {}", String::from_utf8_lossy(&said.stderr));
    }

    /// A node that asks these, and believes tokens.
    pub fn node(&self) -> Builder {
        Node::of(env!("CARGO_BIN_EXE_weir"))
            .listen("http")
            .listen("wamp")
            .set("access.accounts.file", self.path().display())
            .set("access.reload_seconds", 1)
            .set("access.jwt.secret", "secret_key")
            .set("access.jwt.leeway_seconds", 0)
            .set("gateway.auth_failures_max", 0)
    }
}

fn check(name: &str, accounts: &Accounts, node: &Node) {
    let url = format!("ws://{}/wamp", node.address("http"));
    run_with("auth.mjs", node, &[url, name.to_owned(), accounts.path().display().to_string()]);
}

#[test]
fn a_ticket_is_the_password_of_an_account_or_a_token() {
    let accounts = Accounts::of_everybody();
    check("tickets", &accounts, &accounts.node().start());
}

#[test]
fn wampcra_proves_a_password_and_tells_nobody_whose_there_are() {
    let accounts = Accounts::of_everybody();
    let node = accounts.node().start();
    check("wampcra", &accounts, &node);
    let metrics = node.metrics();
    let count = |result: &str| {
        let of = format!("weir_access_authentications_total{{method=\"wampcra\",result=\"{result}\"}}");
        metrics.value(&of)
    };
    assert_eq!((count("accepted"), count("bad_credentials")), (2.0, 4.0));
}

#[test]
fn cryptosign_proves_a_key_with_and_without_a_name() {
    let accounts = Accounts::of_everybody();
    check("cryptosign", &accounts, &accounts.node().start());
}

#[test]
fn accounts_and_tokens_of_a_realm_are_let_into_no_other() {
    let accounts = Accounts::of_everybody();
    let node = accounts.node().start();
    check("realms", &accounts, &node);
    let refused = node.metrics().value("weir_gateway_wamp_sessions_refused_total{reason=\"realm\"}");
    assert_eq!(refused, 2.0);
}

/// A session that asks for a realm with a ticket, and has subscribed to `a`.
fn listener(node: &Node, realm: &str, authid: &str, ticket: &str) -> Client {
    let mut client = Client::open(node);
    let hello = format!("[1,\"{realm}\",{{\"authmethods\":[\"ticket\"],\"authid\":\"{authid}\"}}]");
    assert!(client.ask(&hello).starts_with("[4,\"ticket\""));
    assert!(client.ask(&format!("[5,\"{ticket}\",{{}}]")).starts_with("[2,"));
    assert!(client.ask("[32,1,{},\"a\"]").starts_with("[33,1,"));
    client
}

#[tokio::test]
async fn an_mqtt_client_is_in_the_first_realm_of_its_account() {
    let accounts = Accounts::of_everybody();
    let node = accounts.node().start();
    let mut heard = [("plant", "eve", "elder"), ("lab", "eve", "elder"), ("default", "ann", "apple")]
        .map(|(realm, authid, ticket)| listener(&node, realm, authid, ticket));
    let url = url::Url::parse(&format!("mqtt://{}", node.address("mqtt"))).expect("a URL");
    for (name, password) in [("eve", "elder"), ("ann", "apple")] {
        let options = Options {
            client_id: name.to_owned(),
            username: Some(name.to_owned()),
            password: Some(password.as_bytes().to_vec()),
            timeout: PATIENCE,
            ..Options::default()
        };
        let mut client = Mqtt::connect(&url, &options).await.expect("connected");
        let message = Message::new("a", format!("\"{name}\""), Qos::AtLeastOnce);
        client.publish(&message).await.expect("acknowledged");
    }
    let mut lab = listener(&node, "lab", "eve", "elder");
    assert!(lab.ask("[16,2,{\"acknowledge\":true},\"a\",[\"last\"]]").starts_with("[17,2,"));
    for (client, wanted) in heard.iter_mut().zip(["[\"eve\"]", "[\"last\"]", "[\"ann\"]"]) {
        let event = client.hear();
        assert!(event.starts_with("[36,") && event.contains(wanted), "{wanted}: {event}");
    }
}

#[test]
fn the_first_method_of_a_client_that_somebody_has_keys_for_is_taken() {
    let accounts = Accounts::of_ann();
    check("order", &accounts, &accounts.node().set("access.anonymous", "loopback").start());
}

#[test]
fn a_session_ends_with_its_account_its_password_and_its_token() {
    let accounts = Accounts::of_everybody();
    check("endings", &accounts, &accounts.node().start());
}

#[test]
fn guessed_signatures_are_not_looked_at_after_too_many() {
    let accounts = Accounts::of_everybody();
    let node = accounts.node().set("gateway.auth_failures_max", 2).start();
    let mut hello = 0;
    for name in ["bob", "nobody", "bob", "bob"] {
        let mut client = Client::open(&node);
        client.say(&format!("[1,\"default\",{{\"authmethods\":[\"wampcra\"],\"authid\":\"{name}\"}}]"));
        let mut answer = client.hear();
        if answer.starts_with("[4,\"wampcra\"") {
            hello += 1;
            client.say("[5,\"Z3Vlc3M=\",{}]");
            answer = client.hear();
        }
        assert!(answer.contains("wamp.error.authentication_failed"), "{answer}");
        assert!(client.ends_closed());
    }
    assert!(hello <= 3, "{hello} challenges");
}
