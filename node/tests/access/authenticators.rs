//! Passwords, by mosquitto's tools and by our own client; and nodes that nobody guards.

use tokio::task::JoinSet;
use weir_bench::Client;
use weir_bench::client::{Error, Options};
use weir_testkit::Node;
use weir_wire::mqtt::{ReasonCode, Version};

use crate::scene::{
    Files, account, connect, message, node, options, publish, refusal, token, try_connect, url,
};
use crate::tools::{Running, program};

fn with_accounts(files: &Files) -> weir_testkit::node::Builder {
    node().store("memory").set("access.accounts.file", files.path("accounts.toml").display())
}

/// mosquitto_pub as this user.
fn mosquitto_pub(node: &Node, version: &str, user: &str, password: &str) -> Running {
    let port = node.address("mqtt").port().to_string();
    let mut command = std::process::Command::new(program("mosquitto_pub"));
    command.args(["-h", "127.0.0.1", "-p", &port, "-V", version, "-u", user, "-P", password]);
    command.args(["-q", "1", "-t", "a", "-m", "hello"]);
    Running::start(&mut command, None)
}

#[test]
fn the_right_password_opens_and_no_other() {
    let files = Files::new();
    files.account(&["add", "ann", "--password-stdin"], "apple");
    let node = with_accounts(&files).start();
    for version in ["mqttv311", "mqttv5"] {
        mosquitto_pub(&node, version, "ann", "apple").success();
        for (user, password) in [("ann", "pear"), ("ann", ""), ("bob", "apple"), ("Ann", "apple")] {
            let mut refused = mosquitto_pub(&node, version, user, password);
            assert!(!refused.end().success(), "{user} {password}");
            assert!(refused.to_string().to_lowercase().contains("bad user name or password"), "{refused}");
        }
    }
    let metrics = node.metrics();
    let counted =
        |result| format!("weir_access_authentications_total{{method=\"accounts\",result=\"{result}\"}}");
    assert_eq!(metrics.value(&counted("accepted")), 2.0);
    assert_eq!(metrics.value(&counted("bad_credentials")), 4.0);
    assert_eq!(metrics.value(&counted("unknown")), 4.0);
}

#[tokio::test]
async fn nobody_is_let_in_without_credentials_where_somebody_asks() {
    let files = Files::new();
    files.account(&["add", "ann", "--password-stdin"], "apple");
    let node = with_accounts(&files).start();
    assert_eq!(refusal(&node, &options("c")).await, ReasonCode::BadUserNameOrPassword);
    let old = Options { version: Version::V311, ..options("c") };
    assert_eq!(refusal(&node, &old).await, ReasonCode::BadUserNameOrPassword);
    let node = node.restart_with(|node| node.set("access.anonymous", "loopback"));
    connect(&node, &options("c")).await;
    // Who shows something wrong does not become anonymous.
    assert_eq!(refusal(&node, &account("ann", "pear", "c")).await, ReasonCode::BadUserNameOrPassword);
}

/// Hashing is slow on purpose; who comes while too many wait for it is to come again.
#[tokio::test]
async fn who_comes_while_too_many_are_checked_hears_that_the_server_is_busy() {
    let files = Files::new();
    files.account(&["add", "ann", "--password-stdin"], "apple");
    let node =
        with_accounts(&files).set("access.hashing_at_once_max", 1).set("access.hashing_waiting_max", 1);
    let node = node.start();
    let mut counted = 0.0;
    for (version, busy) in
        [(Version::V5, ReasonCode::ServerBusy), (Version::V311, ReasonCode::ServerUnavailable)]
    {
        let ann = |n: usize| Options { version, ..account("ann", "apple", &format!("c{n}")) };
        let mut comers = JoinSet::new();
        for (options, url) in (0..8).map(|n| (ann(n), url(&node, "mqtt"))) {
            comers.spawn(async move { Client::connect(&url, &options).await });
        }
        let (mut in_time, mut late) = (0, 0);
        for outcome in comers.join_all().await {
            match outcome {
                Ok(_) => in_time += 1,
                Err(Error::Refused { code, .. }) if code == busy => late += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert!(in_time >= 1 && late >= 1, "{in_time} in time, {late} late");
        counted += f64::from(late);
        let series = "weir_access_authentications_total{method=\"accounts\",result=\"busy\"}";
        assert_eq!(node.metrics().value(series), counted);
    }
}

/// A hash of `U*U` that is in no need of us: a published test vector of bcrypt.
#[tokio::test]
async fn passwords_hashed_elsewhere_are_taken() {
    let hash = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
    let files = Files::new();
    let entry = |name: &str, tag: &str| {
        format!("[[account]]\nname = \"{name}\"\npassword = \"{}\"\n", hash.replacen("$2a$", tag, 1))
    };
    files.write("accounts.toml", &(entry("a", "$2a$") + &entry("b", "$2b$") + &entry("y", "$2y$")));
    let node = with_accounts(&files).start();
    for name in ["a", "b", "y"] {
        let mut client = connect(&node, &account(name, "U*U", name)).await;
        publish(&mut client, &message("a", "hello")).await.expect("taken");
        assert_eq!(refusal(&node, &account(name, "U*V", "c")).await, ReasonCode::BadUserNameOrPassword);
    }
}

#[tokio::test]
async fn who_may_not_connect_is_told_so_and_not_that_it_is_unknown() {
    let files = Files::new();
    files.account(&["add", "ann", "--role", "suspended", "--password-stdin"], "apple");
    let policy = files.write("policy.toml", "[[rule]]\nroles = [\"suspended\"]\ndeny = [\"connect\"]\n");
    let node = with_accounts(&files).set("access.policy", policy.display()).start();
    assert_eq!(refusal(&node, &account("ann", "apple", "c")).await, ReasonCode::NotAuthorized);
    assert_eq!(refusal(&node, &account("ann", "pear", "c")).await, ReasonCode::BadUserNameOrPassword);
}

/// Each asks in its turn, and whom no one knows is refused.
#[tokio::test]
async fn tokens_and_passwords_open_the_same_node() {
    let files = Files::new();
    files.account(&["add", "ann", "--password-stdin"], "apple");
    let node = with_accounts(&files).set("access.jwt.secret", "s").start();
    connect(&node, &account("ann", "apple", "a")).await;
    let bearer = token(&serde_json::json!({"user_id": "bob"}), "s", None);
    connect(&node, &crate::scene::bearing(&bearer, "b")).await;
    assert_eq!(refusal(&node, &account("ann", &bearer, "c")).await, ReasonCode::BadUserNameOrPassword);
    assert_eq!(refusal(&node, &account("JWT", "apple", "c")).await, ReasonCode::BadUserNameOrPassword);
}

#[test]
fn a_node_that_the_network_reaches_does_not_start_unguarded() {
    for listener in ["mqtt", "http"] {
        let refused = node().store("memory").listen_at(listener, "0.0.0.0:0").try_start();
        let error = refused.expect_err("it starts unguarded");
        assert!(error.status.is_some_and(|status| !status.success()), "{:?}", error.status);
        for word in [&format!("listen.{listener}"), "access.anonymous", "anywhere", "authenticator"] {
            assert!(error.said.contains(word), "{word} is not in: {}", error.said);
        }
    }
}

#[tokio::test]
async fn it_starts_guarded_or_when_told_that_all_may_come() {
    let files = Files::new();
    files.account(&["add", "ann", "--password-stdin"], "apple");
    let guarded = with_accounts(&files).listen_at("mqtt", "0.0.0.0:0").start();
    let at_loopback = |node: &Node| {
        let port = node.address("mqtt").port();
        url::Url::parse(&format!("mqtt://127.0.0.1:{port}")).expect("a URL")
    };
    let ann = account("ann", "apple", "c");
    Client::connect(&at_loopback(&guarded), &ann).await.expect("ann is let in");
    let nobody = Client::connect(&at_loopback(&guarded), &options("c")).await;
    assert!(nobody.is_err());
    let open = node().store("memory").set("access.anonymous", "anywhere").listen_at("mqtt", "0.0.0.0:0");
    let open = open.start();
    Client::connect(&at_loopback(&open), &options("c")).await.expect("all may come");
    let closed = node().store("memory").set("access.anonymous", "never").start();
    assert!(try_connect(&closed, &options("c")).await.is_err());
}
