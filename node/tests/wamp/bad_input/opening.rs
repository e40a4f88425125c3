//! What comes before WELCOME, or instead of it.

use weir_testkit::Node;

use crate::auth::Accounts;
use crate::raw::Client;
use crate::script;

/// The ABORT that something ends in; the connection must end with it.
fn abort(node: &Node, message: &str) -> String {
    let mut client = Client::open(node);
    let answer = client.ask(message);
    let shown: String = message.chars().take(80).collect();
    assert!(answer.starts_with("[3,"), "{shown}: {answer}");
    assert!(client.ends_closed(), "{shown}");
    answer
}

#[test]
fn no_command_is_taken_before_welcome() {
    let node = script::node();
    let commands = [
        "[16,1,{\"acknowledge\":true},\"a\",[1]]",
        "[32,1,{},\"a\"]",
        "[34,1,1]",
        "[48,1,{},\"wamp.session.list\"]",
        "[49,1,{}]",
        "[64,1,{},\"a\"]",
        "[66,1,1]",
        "[70,1,{}]",
        "[8,68,1,{},\"a.b\"]",
        "[5,\"ticket\",{}]",
        "[6,{},\"wamp.close.normal\"]",
        "[2,1,{}]",
    ];
    for command in commands {
        assert!(abort(&node, command).contains("wamp.error.protocol_violation"), "{command}");
    }
}

#[test]
fn no_command_is_taken_between_challenge_and_authenticate() {
    let accounts = Accounts::of_ann();
    let node = accounts.node().start();
    let hello = "[1,\"default\",{\"authmethods\":[\"ticket\"],\"authid\":\"ann\"}]";
    for command in
        ["[48,1,{},\"wamp.session.list\"]", "[16,1,{},\"a\"]", hello, "[5,7,{}]", "[5]", "nonsense"]
    {
        let mut client = Client::open(&node);
        assert!(client.ask(hello).starts_with("[4,\"ticket\""));
        let answer = client.ask(command);
        assert!(answer.starts_with("[3,") && answer.contains("protocol_violation"), "{command}: {answer}");
        assert!(client.ends_closed(), "{command}");
    }
    let mut client = Client::open(&node);
    client.ask(hello);
    assert!(client.ask("[3,{},\"wamp.error.canceled\"]").contains("wamp.close.goodbye_and_out"));
}

#[test]
fn a_hello_that_is_built_wrong_is_told_what_is_wrong() {
    let node = script::node();
    let methods = format!("[1,\"default\",{{\"authmethods\":[{}\"x\"]}}]", "\"x\",".repeat(200_000));
    let deep = format!("[1,\"default\",{{\"authextra\":{}1{}}}]", "[".repeat(100_000), "]".repeat(100_000));
    let broken = [
        "",
        "[]",
        "[1]",
        "[1,\"default\"]",
        "[1,5,{}]",
        "[1,\"default\",[]]",
        "[1,\"default\",null]",
        "[1,\"default\",{},{}]",
        "[1,\"default\",{\"authmethods\":\"ticket\"}]",
        "[1,\"default\",{\"authmethods\":[1]}]",
        "[1,\"default\",{\"authid\":{}}]",
        "[1,\"default\",{\"roles\":[]}]",
        "[1,\"default\",{}] [1,\"default\",{}]",
        "{\"1\":\"default\"}",
        &methods,
        &deep,
    ];
    for hello in broken {
        let answer = abort(&node, hello);
        assert!(answer.contains("wamp.error.protocol_violation"), "{answer}");
    }
    assert!(Client::welcomed(&node).ask("[32,1,{},\"a\"]").starts_with("[33,1,"));
}

#[test]
fn realms_have_plain_names_and_no_tricks() {
    let node = script::node();
    let long = "a".repeat(256);
    let names = [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "../a",
        "a/b",
        "a b",
        "a\\u0000b",
        "\\u00e4",
        "+",
        "#",
        "$SYS",
        "{a}",
        "a:b",
        &long,
    ];
    for name in names {
        let answer = abort(&node, &format!("[1,\"{name}\",{{}}]"));
        let is_said =
            answer.contains("wamp.error.invalid_uri") || answer.contains("wamp.error.no_such_realm");
        assert!(is_said, "{name}: {answer}");
    }
    for name in ["a", "A-1_b.c", &long[1..]] {
        assert!(Client::open(&node).ask(&format!("[1,\"{name}\",{{}}]")).starts_with("[2,"), "{name}");
    }
}

#[test]
fn realms_are_those_that_are_named_or_as_many_as_may_be() {
    let node = || Node::of(env!("CARGO_BIN_EXE_weir")).listen("wamp").listen("http");
    let refused = |node: &Node| node.metrics().value("weir_gateway_wamp_realms_refused_total");
    let hello = |realm: &str| format!("[1,\"{realm}\",{{}}]");
    let named = node().set("gateway.wamp.realms", "plant,lab").start();
    for realm in ["default", "plan", "Plant", "plant.lab"] {
        assert!(abort(&named, &hello(realm)).contains("wamp.error.no_such_realm"), "{realm}");
    }
    assert!(Client::open(&named).ask(&hello("lab")).starts_with("[2,"));
    assert_eq!(refused(&named), 4.0);
    // `default` is one of them.
    let counted = node().set("gateway.wamp.realms_max", 3).start();
    let kept = ["one", "two"].map(|realm| {
        let mut client = Client::open(&counted);
        assert!(client.ask(&hello(realm)).starts_with("[2,"), "{realm}");
        client
    });
    assert!(abort(&counted, &hello("three")).contains("wamp.error.no_such_realm"));
    assert!(Client::open(&counted).ask(&hello("two")).starts_with("[2,"));
    assert_eq!(refused(&counted), 1.0);
    drop(kept);
}
