//! Where policies come from, what the presets allow, and what an error names.

use std::sync::Arc;

use weir_model::{Filter, Principal, Qos};

use super::*;
use crate::PublishRights;

fn preset(name: &str) -> Box<dyn Policy> {
    let loaded = load(name, Path::new("/")).unwrap();
    assert!(loaded.files.is_empty());
    loaded.policy
}

fn who(user_id: Option<&str>, roles: &[&str]) -> Principal {
    let roles = roles.iter().map(|role| Arc::from(*role)).collect();
    Principal { user_id: user_id.map(Arc::from), roles, ..Principal::default() }
}

fn granted(policy: &dyn Policy, principal: &Principal, filter: &str) -> bool {
    policy.subscribe(principal, &Filter::new(filter).unwrap()).is_some()
}

fn refusal(choice: &str, dir: &Path) -> String {
    load(choice, dir).err().expect("refused").to_string()
}

#[test]
fn a_cashew_device_subscribes_only_below_its_own_id() {
    let cashew = preset("cashew");
    let device = who(Some("68946"), &[]);
    for own in ["68946/contact_list", "68946", "68946/#", "68946/+", "$share/g/68946/x"] {
        assert!(granted(&*cashew, &device, own), "{own}");
    }
    for other in
        ["5/contact_list", "+", "#", "+/x", "+/#", "$share/g/#", "get_apples", "/68946", "$SYS/#", "689460/x"]
    {
        assert!(!granted(&*cashew, &device, other), "{other}");
    }
    assert_eq!(cashew.publish(&device, "get_contact_list"), PublishRights::ALL);
    assert_eq!(cashew.publish(&device, "5/ping"), PublishRights::ALL);
    assert_eq!(cashew.publish(&device, "$SYS/x"), PublishRights::NONE);
}

#[test]
fn a_cashew_handler_listens_anywhere_with_or_without_a_user_id() {
    let cashew = preset("cashew");
    for handler in [who(None, &["handler"]), who(Some("7"), &["handler"])] {
        for filter in ["+/ping", "get_apples", "#", "68946/x", "$share/g/+/ping"] {
            assert!(granted(&*cashew, &handler, filter), "{filter}");
        }
        assert_eq!(cashew.publish(&handler, "68946/event"), PublishRights::ALL);
    }
}

#[test]
fn with_the_cashew_preset_anonymous_clients_do_nothing() {
    let (cashew, nobody) = (preset("cashew"), who(None, &[]));
    assert!(
        !granted(&*cashew, &nobody, "a")
            && !granted(&*cashew, &nobody, "/a")
            && !cashew.receive(&nobody, "a")
    );
    assert_eq!(cashew.publish(&nobody, "a"), PublishRights::NONE);
}

#[test]
fn with_the_own_preset_each_user_has_one_tree() {
    let (own, ann) = (preset("own"), who(Some("ann"), &[]));
    assert!(granted(&*own, &ann, "ann/#") && !granted(&*own, &ann, "bob/#") && !granted(&*own, &ann, "+/x"));
    assert_eq!(own.publish(&ann, "ann/x"), PublishRights::ALL);
    assert_eq!(own.publish(&ann, "bob/x"), PublishRights::NONE);
    assert_eq!(own.publish(&who(None, &[]), "a"), PublishRights::NONE);
}

#[test]
fn the_open_preset_allows_everything() {
    let (open, nobody) = (preset("open"), who(None, &[]));
    assert_eq!(open.subscribe(&nobody, &Filter::new("$SYS/#").unwrap()), Some(Qos::ExactlyOnce));
    assert_eq!(open.publish(&nobody, "a"), PublishRights::ALL);
}

#[test]
fn a_file_is_found_from_its_directory_and_named_in_errors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mine.toml");
    std::fs::write(&path, "[[rule]]\nallow = ['publish']\nfilters = ['a/#']\n").unwrap();
    for choice in ["mine.toml", path.to_str().unwrap()] {
        let loaded = load(choice, dir.path()).unwrap();
        assert_eq!(loaded.files, std::slice::from_ref(&path));
        assert_eq!(loaded.policy.publish(&who(None, &[]), "a"), PublishRights::ALL);
    }
    std::fs::write(&path, "[[rule]]\nallow = ['publish']\nfilter = ['a/#']\n").unwrap();
    let refusal = refusal("mine.toml", dir.path());
    assert!(refusal.contains("mine.toml:3: unknown field `filter`"), "{refusal}");
}

#[test]
fn an_empty_file_is_a_policy_that_denies() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("empty.toml"), "").unwrap();
    let policy = load("empty.toml", dir.path()).unwrap().policy;
    let ann = who(Some("ann"), &["handler"]);
    assert!(!granted(&*policy, &ann, "ann/x") && !policy.receive(&ann, "ann/x"));
    assert_eq!(policy.publish(&ann, "ann/x"), PublishRights::NONE);
}

#[test]
fn an_unknown_policy_is_answered_with_the_presets() {
    let dir = tempfile::tempdir().unwrap();
    let refusal = refusal("cashw", dir.path());
    assert!(refusal.contains("`cashw`") && refusal.contains("(open, cashew, own)"), "{refusal}");
}

#[test]
fn what_is_no_readable_text_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(refusal("", dir.path()).contains("cannot be read"), "a directory");
    std::fs::write(dir.path().join("bytes"), b"# \xff").unwrap();
    assert!(refusal("bytes", dir.path()).contains("not UTF-8 from byte 2 on"));
    std::fs::write(dir.path().join("long"), "#".repeat(POLICY_BYTES_MAX as usize + 1)).unwrap();
    assert!(refusal("long", dir.path()).contains("longer than"));
}

#[test]
fn the_example_of_the_manual_is_a_policy() {
    let manual = include_str!("../../../../../docs/access.md");
    let (_, example) = manual.split_once("```toml\n# policy.toml\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("policy.toml"), example).unwrap();
    let policy = load("policy.toml", dir.path()).unwrap().policy;
    let operator = who(Some("ann"), &["operator"]);
    assert!(policy.may_connect(&operator) && !policy.may_connect(&who(Some("bob"), &["suspended"])));
    assert!(granted(&*policy, &operator, "news/#") && granted(&*policy, &operator, "$SYS/#"));
    assert!(!granted(&*policy, &operator, "#"), "it reaches into private/#");
    assert!(granted(&*policy, &who(None, &[]), "news/today") && !granted(&*policy, &who(None, &[]), "ann/x"));
}
