//! No secret and no payload is in any log, however much is logged.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use weir_bench::Client;
use weir_bench::client::{Message, Options, Properties, Will};
use weir_model::Qos;
use weir_testkit::{Node, RawMqtt, eventually};
use weir_wire::mqtt::{Connect, Version, encode};

use crate::clients::{connect, next, options, subscribe, url};

/// What must not be found, each a word that nothing else would say.
const SECRETS: [&str; 8] = [
    "SecretOfTheTokens",
    "PasswordOfAnn",
    "PasswordThatIsWrong",
    "PayloadOfAMessage",
    "PayloadOfAWill",
    "PropertyOfAMessage",
    "CorrelationOfAMessage",
    "ProofOfScram",
];

/// A token nobody signed well.
fn token() -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!(
        "{}.{}.{}",
        part(r#"{"alg":"HS256","typ":"JWT"}"#),
        part(r#"{"user_id":"eve"}"#),
        part("SignatureOfAToken")
    )
}

/// A node that logs all it can, with accounts and tokens.
fn node(dir: &std::path::Path) -> Node {
    let accounts = dir.join("accounts.toml");
    let mut add = std::process::Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["account", "add", "ann", "--password-stdin", "--file"])
        .arg(&accounts)
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the account command");
    std::io::Write::write_all(&mut add.stdin.take().expect("piped"), b"PasswordOfAnn\n").expect("written");
    let said = add.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.success() && !told.contains("PasswordOfAnn"), "{told}");
    assert!(told.contains("weir::audit") && told.contains("account added"), "{told}");
    Node::of(env!("CARGO_BIN_EXE_weir"))
        .listen("http")
        .log("trace")
        .set("access.jwt.secret", "SecretOfTheTokens")
        .set("access.accounts.file", accounts.display())
        .set("node.audit_file", dir.join("audit.jsonl").display())
        .start()
}

fn ann(client_id: &str) -> Options {
    let password = Some(b"PasswordOfAnn".to_vec());
    Options { username: Some("ann".to_owned()), password, ..options(client_id) }
}

/// CONNECT with enhanced authentication; what the node answers does not matter.
fn scram(node: &Node) {
    let mut connect = Connect::new(Version::V5, "scram");
    connect.authentication_method = Some("SCRAM-SHA-256");
    connect.authentication_data = Some(b"n,,n=ann,r=ProofOfScram");
    let mut bytes = Vec::new();
    encode::connect(&mut bytes, &connect);
    let mut raw = RawMqtt::connect(node.address("mqtt"));
    raw.send(&bytes);
    let _ = raw.frame_or_end();
}

#[tokio::test]
async fn nothing_that_is_logged_tells_a_secret() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = node(dir.path());
    let wrong = Options { password: Some(b"PasswordThatIsWrong".to_vec()), ..ann("wrong") };
    assert!(Client::connect(&url(&node), &wrong).await.is_err());
    let jwt =
        Options { username: Some("JWT".to_owned()), password: Some(token().into_bytes()), ..options("jwt") };
    assert!(Client::connect(&url(&node), &jwt).await.is_err());
    scram(&node);

    let kept = Options { clean_start: false, session_expiry_seconds: Some(3600), ..ann("kept") };
    let mut subscriber = connect(&node, &kept).await;
    subscribe(&mut subscriber, "t/#", Qos::ExactlyOnce).await;
    let will = Will { topic: "t/will".to_owned(), payload: b"PayloadOfAWill".to_vec(), ..Will::default() };
    let mut publisher = connect(&node, &Options { will: Some(will), ..ann("publisher") }).await;
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let message = Message {
            retain: true,
            properties: Properties {
                user: vec![("PropertyOfAMessage".to_owned(), "PropertyOfAMessage".to_owned())],
                correlation_data: Some(b"CorrelationOfAMessage".to_vec()),
                ..Properties::default()
            },
            ..Message::new("t/1", "PayloadOfAMessage", qos)
        };
        publisher.publish(&message).await.expect("taken");
        next(&mut subscriber).await;
    }
    drop(publisher);
    assert_eq!(next(&mut subscriber).await.payload, b"PayloadOfAWill");

    let mut node = node;
    assert!(node.sigterm_and_wait().success());
    let audit = eventually("the audit file", || std::fs::read_to_string(dir.path().join("audit.jsonl")).ok());
    let said = format!("{}\n{audit}", node.stderr());
    assert!(said.contains("TRACE") || said.contains("DEBUG"), "the log is not that of a node at trace");
    let signature = URL_SAFE_NO_PAD.encode("SignatureOfAToken");
    for secret in SECRETS.into_iter().chain(["SignatureOfAToken", &signature]) {
        for form in [secret.to_owned(), STANDARD.encode(secret), bytes_of(secret)] {
            let line = said.lines().find(|line| line.contains(&form));
            assert_eq!(line, None, "{secret} is in the log");
        }
    }
}

/// How a list of bytes is printed by `{:?}`.
fn bytes_of(text: &str) -> String {
    let bytes: Vec<String> = text.bytes().map(|b| b.to_string()).collect();
    bytes.join(", ")
}

#[test]
fn the_configuration_is_printed_without_its_secret() {
    let printed = std::process::Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["serve", "--print-config"])
        .env("WEIR__ACCESS__JWT__SECRET", "SecretOfTheTokens")
        .output()
        .expect("it ends");
    let text = String::from_utf8_lossy(&printed.stdout);
    assert!(printed.status.success() && text.contains("# secret = \"***\""), "{text}");
    assert!(!text.contains("SecretOfTheTokens"));
}

#[test]
fn a_message_does_not_show_its_payload() {
    let message = weir_model::Message {
        topic: weir_model::Topic::new("t").expect("a topic"),
        payload: bytes::Bytes::from_static(b"PayloadOfAMessage"),
        qos: Qos::AtMostOnce,
        retain: false,
        expires_at: None,
        properties: Some(Box::new(weir_model::Properties {
            user: vec![("PropertyOfAMessage".into(), "x".into())],
            ..weir_model::Properties::default()
        })),
    };
    let shown = format!("{message:?} {:?}", message.properties);
    assert!(!shown.contains("PayloadOf") && !shown.contains("PropertyOf"), "{shown}");
}
