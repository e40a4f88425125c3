//! Accounts and the policy, at a running node.

use weir_admin::proto::{
    AccountsCreateRequest, AccountsDeleteRequest, AccountsListRequest, AccountsSetPasswordRequest,
    AccountsShowPolicyRequest,
};
use weir_admin::tonic::Code;
use weir_bench::Client;
use weir_bench::client::Options;

use crate::scene::{bearer, clean, closed, connect, ended, json, node, refusal, text, token, url, weir_with};

fn ann(password: &str) -> Options {
    let password = Some(password.as_bytes().to_vec());
    Options { username: Some("ann".to_owned()), password, ..clean("c") }
}

#[tokio::test]
async fn an_account_lets_in_from_its_making_to_its_end() {
    let files = tempfile::tempdir().expect("a directory");
    let node = node().set("access.accounts.file", files.path().join("accounts.toml").display());
    std::fs::write(files.path().join("accounts.toml"), "").expect("written");
    let node = node.start();
    let root = bearer(&node, &["accounts:*"]).await;
    let (name, roles) = ("ann".to_owned(), vec!["device".to_owned()]);
    let make = AccountsCreateRequest {
        name: name.clone(),
        password: "apple".to_owned(),
        roles,
        ..Default::default()
    };
    root.accounts().create(make.clone()).await.expect("made");
    let (code, detail) = refusal(root.accounts().create(make).await);
    assert_eq!((code, detail.field.as_str()), (Code::AlreadyExists, "name"));
    let mut client = connect(&node, &ann("apple")).await;

    let other =
        AccountsSetPasswordRequest { name: name.clone(), password: "pear".to_owned(), ..Default::default() };
    root.accounts().set_password(other).await.expect("changed");
    ended(&mut client).await;
    assert!(Client::connect(&url(&node), &ann("apple")).await.is_err());
    let mut client = connect(&node, &ann("pear")).await;
    let listed = root.accounts().list(AccountsListRequest::default()).await.expect("listed").into_inner();
    assert_eq!(
        (listed.accounts[0].name.as_str(), &listed.accounts[0].roles[..]),
        ("ann", &["device".to_owned()][..])
    );

    root.accounts().delete(AccountsDeleteRequest { name: name.clone() }).await.expect("deleted");
    ended(&mut client).await;
    assert_eq!(refusal(root.accounts().delete(AccountsDeleteRequest { name }).await).0, Code::NotFound);
    for (name, password, field) in [("", "x", "name"), ("a\nb", "x", "name"), ("a", "", "password")] {
        let make = AccountsCreateRequest {
            name: name.to_owned(),
            password: password.to_owned(),
            ..Default::default()
        };
        assert_eq!(refusal(root.accounts().create(make).await).1.field, field);
    }
}

#[tokio::test]
async fn a_node_without_accounts_says_so_and_shows_its_policy() {
    let node = closed().start();
    let root = bearer(&node, &["accounts:read"]).await;
    let (code, detail) = refusal(root.accounts().list(AccountsListRequest::default()).await);
    assert_eq!((code, detail.reason.as_str()), (Code::FailedPrecondition, "not_configured"));
    let policy = root.accounts().show_policy(AccountsShowPolicyRequest {}).await.expect("shown").into_inner();
    assert_eq!((policy.source.as_str(), policy.open), ("own", false));
}

#[test]
fn the_command_changes_accounts_at_a_node_without_saying_a_password() {
    let files = tempfile::tempdir().expect("a directory");
    std::fs::write(files.path().join("accounts.toml"), "").expect("written");
    let node = node().set("access.accounts.file", files.path().join("accounts.toml").display()).start();
    let (server, token) = (format!("http://{}", node.address("admin")), token(&node, &["accounts:*"], &[]));
    let run = |words: &[&str], stdin: &str| {
        weir_with(&[&["account"], words, &["--server", &server]].concat(), stdin, &[("WEIR_TOKEN", &token)])
    };
    let added = run(&["add", "ann", "--role", "device", "--password-stdin"], "correct horse");
    assert!(added.status.success(), "{}", text(&added));
    assert_eq!(json(&run(&["list", "--json"], ""))[0]["roles"], serde_json::json!(["device"]));
    assert_eq!(run(&["remove", "bob"], "").status.code(), Some(6));
    assert!(run(&["remove", "ann"], "").status.success());
    assert!(!node.stderr().contains("horse"));
}
