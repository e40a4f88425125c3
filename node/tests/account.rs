//! `weir account`: what is added can be listed, changed and removed, and no password is ever said.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs `weir account ..` with this on stdin.
fn weir(dir: &Path, args: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
        .current_dir(dir)
        .arg("account")
        .args(args)
        .env_remove("WEIR_CONFIG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses its arguments has ended before it reads.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn accounts_are_added_listed_changed_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let file = ["--file", "accounts.toml"];
    let run = |args: &[&str], stdin: &str| weir(dir.path(), &[args, &file].concat(), stdin);
    let content = || std::fs::read_to_string(dir.path().join("accounts.toml")).unwrap();

    let added = run(&["add", "ann", "--role", "device", "--password-stdin"], "correct horse\n");
    assert!(added.status.success() && !said(&added).contains("correct horse"), "{}", said(&added));
    assert!(said(&added).contains("account added"), "{}", said(&added));
    let listed = run(&["list", "--json"], "");
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(
        listed,
        serde_json::json!([{
            "name": "ann", "roles": ["device"], "password": "argon2id", "scram": true, "wampcra": false,
            "public_keys": [], "realms": [],
        }])
    );

    let before = content();
    let again = run(&["add", "ann"], "other");
    assert!(again.status.code() == Some(1) && said(&again).contains("already"), "{}", said(&again));
    assert_eq!(content(), before);
    assert!(run(&["passwd", "ann"], "battery staple\n").status.success());
    assert!(content() != before && !content().contains("staple"));

    assert!(run(&["remove", "ann"], "").status.success());
    assert_eq!(run(&["remove", "ann"], "").status.code(), Some(1));
    assert_eq!(run(&["list"], "").stdout, b"");
}

#[test]
fn keys_and_realms_of_wamp_are_given_with_the_account() {
    let dir = tempfile::tempdir().unwrap();
    let file = ["--file", "accounts.toml"];
    let run = |args: &[&str], stdin: &str| weir(dir.path(), &[args, &file].concat(), stdin);
    let key = "ab".repeat(32);
    let added = run(&["add", "ann", "--realm", "plant", "--realm", "lab", "--wampcra"], "apple");
    assert!(added.status.success(), "{}", said(&added));
    // No password is asked of who has a key: what is on stdin is not read.
    assert!(run(&["add", "bob", "--public-key", &key], "").status.success());
    assert!(run(&["passwd", "bob", "--wampcra"], "banana").status.success());
    let listed: serde_json::Value = serde_json::from_slice(&run(&["list", "--json"], "").stdout).unwrap();
    assert_eq!((&listed[0]["wampcra"], &listed[0]["realms"]), (&true.into(), &vec!["plant", "lab"].into()));
    assert_eq!((&listed[1]["wampcra"], &listed[1]["public_keys"]), (&true.into(), &vec![key].into()));
    let refused = run(&["add", "cy", "--public-key", "ab"], "");
    assert!(
        refused.status.code() == Some(1) && said(&refused).contains("64 hexadecimal"),
        "{}",
        said(&refused)
    );
    assert!(!run(&["add", "cy", "--realm", "a/b"], "apple").status.success());
}

#[test]
fn the_file_of_the_configuration_is_used_and_none_is_guessed() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("weir.toml"), "[access.accounts]\nfile = \"from-config.toml\"\n").unwrap();
    let added = weir(dir.path(), &["add", "ann", "--config", "weir.toml"], "apple");
    assert!(added.status.success(), "{}", said(&added));
    assert!(dir.path().join("from-config.toml").exists());
    let nowhere = weir(dir.path(), &["list"], "");
    assert!(nowhere.status.code() == Some(2) && said(&nowhere).contains("--file"), "{}", said(&nowhere));
    let missing = weir(dir.path(), &["list", "--file", "nowhere.toml"], "");
    assert!(missing.status.code() == Some(1) && said(&missing).contains("nowhere.toml"));
}

#[test]
fn a_password_on_the_command_line_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let refused = weir(dir.path(), &["add", "ann", "apple", "--file", "accounts.toml"], "");
    assert_eq!(refused.status.code(), Some(2));
    assert!(!dir.path().join("accounts.toml").exists());
}
