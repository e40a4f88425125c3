//! What is no WAMP: the session ends with a precise ABORT, a request with an ERROR, and nobody else notices.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use weir_testkit::Node;

use crate::script;

const HELLO: &str = r#"[1,"default",{"roles":{"publisher":{}}}]"#;

/// A client by RawSocket and JSON.
struct Client(TcpStream);

impl Client {
    fn open(node: &Node) -> Client {
        let mut stream = TcpStream::connect(node.address("wamp")).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        stream.write_all(&[0x7f, 0xf1, 0, 0]).expect("a handshake");
        let mut reply = [0; 4];
        stream.read_exact(&mut reply).expect("a reply");
        assert_eq!((reply[0], reply[1] & 0x0f), (0x7f, 1));
        Client(stream)
    }

    fn welcomed(node: &Node) -> Client {
        let mut client = Client::open(node);
        client.say(HELLO);
        assert!(client.hear().starts_with("[2,"));
        client
    }

    fn say(&mut self, message: &str) {
        let mut frame = (message.len() as u32).to_be_bytes().to_vec();
        frame.extend_from_slice(message.as_bytes());
        self.0.write_all(&frame).expect("written");
    }

    fn hear(&mut self) -> String {
        let mut header = [0; 4];
        self.0.read_exact(&mut header).expect("a frame");
        let mut message = vec![0; u32::from_be_bytes(header) as usize];
        self.0.read_exact(&mut message).expect("a message");
        String::from_utf8(message).expect("text")
    }

    /// The router has nothing more to say.
    fn ends_closed(mut self) -> bool {
        matches!(self.0.read(&mut [0]), Ok(0))
    }
}

#[test]
fn what_breaks_the_protocol_ends_the_session_with_abort() {
    let node = script::node();
    let mut witness = Client::welcomed(&node);
    let deep = format!("[16,1,{{}},\"a\",{}{}]", "[".repeat(100_000), "]".repeat(100_000));
    let broken =
        ["{}", "[99,1]", "[\"1\"]", "[32,1]", "[32,0,{},\"a\"]", "[32,9007199254740993,{},\"a\"]", HELLO];
    for message in broken.into_iter().chain([&*deep, "[2,1,{}]", "[5,\"x\",{}]", "nonsense"]) {
        let mut client = Client::welcomed(&node);
        client.say(message);
        let answer = client.hear();
        assert!(
            answer.starts_with("[3,") && answer.ends_with("\"wamp.error.protocol_violation\"]"),
            "{answer}"
        );
        assert!(client.ends_closed(), "{answer}");
    }
    witness.say("[32,1,{},\"a\"]");
    assert!(witness.hear().starts_with("[33,1,"));
}

#[test]
fn nobody_is_let_in_without_hello_or_into_a_realm_that_cannot_be() {
    let node = script::node();
    let cases = [
        ("[16,1,{},\"a.b\"]", "wamp.error.protocol_violation"),
        ("[1,\"x/y\",{}]", "wamp.error.no_such_realm"),
        ("[1,\"..\",{}]", "wamp.error.invalid_uri"),
        ("[1,\"default\",{\"authmethods\":[\"magic\"]}]", "wamp.error.no_auth_method"),
    ];
    for (message, error) in cases {
        let mut client = Client::open(&node);
        client.say(message);
        let answer = client.hear();
        assert!(answer.starts_with("[3,") && answer.contains(error), "{message}: {answer}");
        assert!(client.ends_closed());
    }
}

#[test]
fn a_request_that_is_wrong_in_itself_is_answered_and_the_session_goes_on() {
    let node = script::node();
    let mut client = Client::welcomed(&node);
    let cases = [
        ("[32,1,{\"match\":\"fuzzy\"},\"a\"]", "[8,32,1,{},\"wamp.error.invalid_argument\""),
        ("[32,2,{},\"a..b\"]", "[8,32,2,{},\"wamp.error.invalid_uri\""),
        ("[34,3,77]", "[8,34,3,{},\"wamp.error.no_such_subscription\""),
        ("[16,4,{\"acknowledge\":true},\"a b\"]", "[8,16,4,{},\"wamp.error.invalid_uri\""),
        ("[16,5,{\"acknowledge\":true},\"wamp.session.on_join\"]", "[8,16,5,{},\"wamp.error.invalid_uri\""),
        ("[48,6,{},\"nobody.has.it\"]", "[8,48,6,{},\"wamp.error.no_such_procedure\""),
        ("[16,7,{\"acknowledge\":true},\"a\",[1]]", "[17,7,"),
    ];
    for (message, answer) in cases {
        client.say(message);
        let heard = client.hear();
        assert!(heard.starts_with(answer), "{message}: {heard}");
    }
}

#[test]
fn more_subscriptions_than_may_be_are_refused_one_by_one() {
    let weir = Node::of(env!("CARGO_BIN_EXE_weir")).listen("wamp").set("broker.subscriptions_max", 100);
    let node = weir.start();
    let mut client = Client::welcomed(&node);
    for number in 1..=200 {
        client.say(&format!("[32,{number},{{}},\"t.n{number}\"]"));
        let answer = client.hear();
        let wanted = if number <= 100 {
            format!("[33,{number},")
        } else {
            format!("[8,32,{number},{{}},\"wamp.error.quota")
        };
        assert!(answer.starts_with(&wanted), "{answer}");
    }
}

#[test]
fn guessed_tickets_are_not_looked_at_after_too_many() {
    let directory = tempfile::tempdir().expect("a directory");
    let accounts = directory.path().join("accounts.toml");
    // The password of a bcrypt hash of the lowest cost.
    let hash = "$2b$04$WzXzV8bqYvT0vXkq2PzXDeRVv5jQnGqk3BfXhYv2HqkqS4xK3T5lS";
    std::fs::write(&accounts, format!("[[account]]\nname = \"joe\"\npassword = \"{hash}\"\n"))
        .expect("a file");
    let node = Node::of(env!("CARGO_BIN_EXE_weir"))
        .listen("wamp")
        .set("access.accounts.file", accounts.display())
        .set("gateway.auth_failures_max", 2)
        .start();
    for guess in 1..=4 {
        let mut client = Client::open(&node);
        client.say("[1,\"default\",{\"authmethods\":[\"ticket\"],\"authid\":\"joe\"}]");
        let mut answer = client.hear();
        if answer.starts_with("[4,\"ticket\"") {
            assert!(guess <= 3, "{answer}");
            client.say(&format!("[5,\"guess {guess}\",{{}}]"));
            answer = client.hear();
        }
        assert!(answer.contains("wamp.error.authentication_failed"), "{answer}");
    }
}
