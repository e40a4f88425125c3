//! What is no WAMP: the session ends with a precise ABORT, a request with an ERROR, and nobody else notices.

use weir_testkit::Node;

use crate::raw::{Client, HELLO};
use crate::script;

mod calls;
mod encodings;
mod opening;

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
fn a_hundred_thousand_subscriptions_are_bounded_and_cost_nobody_else_anything() {
    const ASKED: usize = 100_000;
    let node = script::node();
    let mut witness = Client::welcomed(&node);
    let mut client = Client::welcomed(&node);
    let mut speaks = client.twin();
    let speaker = std::thread::spawn(move || {
        for request in 1..=ASKED {
            speaks.say(&format!("[32,{request},{{}},\"many.n{request}\"]"));
        }
    });
    let mut granted = 0;
    for request in 1..=ASKED {
        let answer = client.hear();
        if answer.starts_with(&format!("[33,{request},")) {
            granted += 1;
        } else {
            let refusal = format!("[8,32,{request},{{}},\"wamp.error.quota_exceeded\"");
            assert!(answer.starts_with(&refusal), "{answer}");
        }
        if request % 10_000 == 0 {
            assert!(
                witness.ask(&format!("[16,{request},{{\"acknowledge\":true}},\"a\"]")).starts_with("[17,")
            );
        }
    }
    speaker.join().expect("it has asked for all");
    assert_eq!(granted, 10_000, "`broker.subscriptions_max`");
    let refused = node.metrics().value("weir_gateway_wamp_errors_total{request=\"SUBSCRIBE\"}");
    assert_eq!(refused, (ASKED - granted) as f64);
}

#[test]
fn strict_uris_are_of_plain_letters_and_loose_ones_of_all_but_space_and_hash() {
    let loose = script::node();
    let strict = Node::of(env!("CARGO_BIN_EXE_weir")).listen("wamp");
    let strict = strict.set("gateway.wamp.strict_uris", true).start();
    let requests = [("16", "{\"acknowledge\":true}", "17"), ("32", "{}", "33"), ("64", "{}", "65")];
    let uris = [
        ("a.b_c.0", true, true),
        ("Com.App", true, false),
        ("a-b", true, false),
        ("\u{e4}.\u{20ac}", true, false),
        ("a/b", true, false),
        ("+", true, false),
        ("a b", false, false),
        ("a\\tb", false, false),
        ("a#b", false, false),
        ("a..b", false, false),
        (".a", false, false),
        ("a.", false, false),
        ("", false, false),
    ];
    for (node, is_strict) in [(&loose, false), (&strict, true)] {
        let mut client = Client::welcomed(node);
        let mut request = 0;
        for (uri, in_loose, in_strict) in uris {
            for (kind, options, well) in requests {
                request += 1;
                let answer = client.ask(&format!("[{kind},{request},{options},\"{uri}\"]"));
                let refusal = format!("[8,{kind},{request},{{}},\"wamp.error.invalid_uri\"");
                let is_good = if is_strict { in_strict } else { in_loose };
                let wanted = if is_good { format!("[{well},{request},") } else { refusal };
                assert!(answer.starts_with(&wanted), "{uri}: {answer}");
            }
        }
    }
}

#[test]
fn ids_are_from_one_to_two_to_the_53() {
    let node = script::node();
    for id in ["0", "-1", "1.5", "9007199254740993", "18446744073709551616", "\"1\"", "null"] {
        let requests =
            ["[16,ID,{},\"a\"]", "[32,ID,{},\"a\"]", "[34,1,ID]", "[48,ID,{},\"a\"]", "[70,ID,{}]"];
        for request in requests {
            let answer = Client::welcomed(&node).ask(&request.replace("ID", id));
            let is_said = answer.starts_with("[3,") && answer.contains("wamp.error.protocol_violation");
            assert!(is_said, "{id} in {request}: {answer}");
        }
    }
    let mut client = Client::welcomed(&node);
    assert!(client.ask("[32,9007199254740992,{},\"a\"]").starts_with("[33,9007199254740992,"));
    assert!(client.ask("[32,1,{},\"b\"]").starts_with("[33,1,"));
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
