//! The configuration of a running node: shown without secrets, a text checked and compared, files read again.

use weir_admin::proto::{
    ConfigDiffRequest, ConfigReloadRequest, ConfigShowRequest, ConfigValidateRequest, SessionsListRequest,
};
use weir_admin::tonic::Code;

use crate::scene::{admin, at, bearer, json, node, refusal, text};

#[tokio::test]
async fn the_configuration_in_force_is_shown_without_secrets() {
    let node = node().set("access.jwt.secret", "hunter2").set("gateway.topic_alias_max", 7).start();
    let root = bearer(&node, &["config:read"]).await;
    let shown = root.config().show(ConfigShowRequest {}).await.expect("shown").into_inner();
    assert!(!shown.toml.contains("hunter2") && !shown.json.contains("hunter2"), "{}", shown.json);
    let json: serde_json::Value = serde_json::from_str(&shown.json).expect("JSON");
    assert_eq!(json["gateway"]["topic_alias_max"], 7);
    assert_eq!(json["access"]["jwt"]["secret"], "***");
    assert!(shown.toml.contains("topic_alias_max = 7") && shown.toml.contains("[admin]"));
}

#[tokio::test]
async fn a_text_is_checked_and_compared_with_what_runs() {
    let node = node().start();
    let mut config = admin(&node).await.config();
    let verdict = async |config: &mut weir_admin::proto::config_client::ConfigClient<_>, toml: &str| {
        let asked = config.validate(ConfigValidateRequest { toml: toml.to_owned() }).await;
        asked.expect("a verdict").into_inner()
    };
    assert!(verdict(&mut config, "[listen]\nmqtt = 1999\n").await.valid);
    let bad = verdict(&mut config, "\n[listen]\nmqqt = 1999\n").await;
    assert!(!bad.valid && bad.problem.contains("line:3") && bad.problem.contains("`listen.mqtt`"), "{bad:?}");

    let toml = "[gateway]\ntopic_alias_max = 9\n[listen]\nmqtt = 1999\n".to_owned();
    let changes = config.diff(ConfigDiffRequest { toml }).await.expect("compared").into_inner().changes;
    let told: Vec<_> =
        changes.iter().map(|one| (one.key.as_str(), one.now.as_str(), one.then.as_str())).collect();
    // Where it listens was said by a flag, which wins over any file.
    assert_eq!(told, [("gateway.topic_alias_max", "32", "9")]);
    let (code, detail) = refusal(config.diff(ConfigDiffRequest { toml: "x".to_owned() }).await);
    assert_eq!((code, detail.field.as_str()), (Code::InvalidArgument, "toml"));
}

#[tokio::test]
async fn told_to_reload_a_node_reads_its_files_and_says_what_it_cannot_use() {
    let files = tempfile::tempdir().expect("a directory");
    let policy = files.path().join("policy.toml");
    let rule = |filter: &str| format!("[[rule]]\nallow = [\"publish\"]\nfilters = [\"{filter}\"]\n");
    std::fs::write(&policy, rule("a/#")).expect("written");
    let node = node().set("access.policy", policy.display()).set("access.reload_seconds", 0).start();
    let root = bearer(&node, &["config:*", "accounts:read", "sessions:read"]).await;
    let reload =
        async || root.config().reload(ConfigReloadRequest {}).await.expect("done").into_inner().problems;
    assert_eq!(reload().await, Vec::<String>::new());
    std::fs::write(&policy, "rule = 7").expect("written");
    let problems = reload().await;
    assert!(problems.len() == 1 && problems[0].contains("policy.toml"), "{problems:?}");
    root.sessions().list(SessionsListRequest::default()).await.expect("the node goes on");
}

#[test]
fn the_command_checks_a_file_with_and_without_a_node() {
    let files = tempfile::tempdir().expect("a directory");
    let path = |name: &str| files.path().join(name).display().to_string();
    std::fs::write(path("good"), "[gateway]\ntopic_alias_max = 9\n").expect("written");
    std::fs::write(path("bad"), "[gateway]\ntopic_alias_max = -1\n").expect("written");
    let node = node().start();
    assert_eq!(json(&at(&node, &["config", "validate", &path("good"), "--json"]))["valid"], true);
    let bad = crate::scene::weir(&["config", "validate", &path("bad")]);
    assert!(bad.status.code() == Some(1) && text(&bad).contains("topic_alias_max"), "{}", text(&bad));
    let changes = json(&at(&node, &["config", "diff", &path("good"), "--json"]));
    assert_eq!(changes[0]["key"], "gateway.topic_alias_max");
    let shown = json(&at(&node, &["config", "show", "--json"]));
    assert_eq!(shown["gateway"]["topic_alias_max"], 32);
    assert!(at(&node, &["config", "reload"]).status.success());
    assert_eq!(at(&node, &["config", "diff", &path("nowhere")]).status.code(), Some(2));
}
