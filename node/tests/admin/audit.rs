//! Every change is in the audit log: who, what, on what, and how it went; never a secret.

use serde_json::Value;
use weir_admin::proto::{
    AccountsCreateTokenRequest, SessionsDeleteRequest, SessionsKickRequest, SessionsListRequest,
};
use weir_testkit::eventually;

use crate::scene::{bearer, bearing, clean, closed, connect, ended, refusal, token};

#[tokio::test]
async fn changes_are_audited_with_who_and_how_it_went_and_no_secret() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("audit.jsonl");
    let node = closed().set("node.audit_file", path.display()).log("debug").start();
    let text = token(&node, &["sessions:*", "accounts:*"], &[]);
    let (root, reader) = (bearing(&node, &text).await, bearer(&node, &["sessions:read"]).await);
    let mut client = connect(&node, &clean("a/{b}\nc")).await;
    let kick = SessionsKickRequest {
        client_id: "a/{b}\nc".to_owned(),
        reason: "misbehaves".to_owned(),
        ..Default::default()
    };
    let _ = refusal(reader.sessions().kick(kick.clone()).await);
    root.sessions().kick(kick).await.expect("kicked");
    assert_eq!(ended(&mut client).await, 0x98);
    let gone = SessionsDeleteRequest { client_id: "nobody".to_owned(), ..Default::default() };
    let _ = refusal(root.sessions().delete(gone).await);
    let scopes = vec!["sessions:read".to_owned()];
    let make = AccountsCreateTokenRequest { name: "ci".to_owned(), scopes, expires_in_seconds: 0 };
    let made = root.accounts().create_token(make).await.expect("made").into_inner();
    root.sessions().list(SessionsListRequest::default()).await.expect("listed");

    let lines = eventually("four audit lines", || {
        let text = std::fs::read_to_string(&path).ok()?;
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .filter(|line: &Value| line["event"] == "administration")
            .collect();
        (lines.len() >= 4).then_some(lines)
    });
    let told =
        |line: &Value| ["what", "on", "result"].map(|key| line[key].as_str().unwrap_or_default().to_owned());
    assert_eq!(told(&lines[0]), ["denied", "/weir.admin.v1.Sessions/Kick", "scope"]);
    assert_eq!(told(&lines[1]), ["sessions.kick", "a/{b}\\nc", "done"]);
    assert_eq!(lines[1]["reason"], "misbehaves");
    assert_eq!(told(&lines[2]), ["sessions.delete", "nobody", "not_found"]);
    assert_eq!(told(&lines[3]), ["accounts.create_token", "ci", "done"]);
    let id = text.split('_').nth(1).expect("an id");
    assert!(lines[1]["who"].as_str().expect("text").contains(id), "{lines:?}");
    let metrics = node.metrics();
    assert_eq!(metrics.value("weir_admin_changes_total{what=\"sessions.kick\",result=\"done\"}"), 1.0);

    let logged = std::fs::read_to_string(&path).expect("the audit log") + &node.stderr();
    for secret in [&text, &made.secret] {
        let secret = secret.rsplit('_').next().expect("a secret");
        assert!(!logged.contains(secret), "a secret is in the log");
    }
}
