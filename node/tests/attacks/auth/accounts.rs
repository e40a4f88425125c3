//! Guessing passwords.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use weir_testkit::RawMqtt;

use super::token::connect;
use crate::frames::{V5, V311};
use crate::pair::Credentials;
use crate::scene::{Scene, node};

fn add(file: &Path, name: &str, password: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(["account", "add", name, "--password-stdin", "--file"]).arg(file);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("the program can be started");
    child.stdin.take().expect("a pipe").write_all(password.as_bytes()).expect("taken");
    assert!(child.wait().expect("an end").success());
}

#[test]
fn guessing_is_answered_0x86_and_after_a_while_0x97_without_looking() {
    const FAILURES_MAX: usize = 10;
    const GUESSES: usize = 40;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("accounts.toml");
    add(&file, "pair", "pair");
    let builder = node()
        .set("access.accounts.file", file.display())
        .set("access.hashing_at_once_max", 1)
        .set("gateway.auth_failures_max", FAILURES_MAX);
    let scene = Scene::of_users(builder, Credentials::default());
    let guess = |level, name: &str, password: &str| {
        let mut raw = RawMqtt::connect(scene.node.address("mqtt"));
        raw.send(&connect(level, 0x02, &[], "", (name, password)));
        raw.frame()[3]
    };
    // Whether there is such a name makes no difference.
    let names = ["pair", "nobody", ""];
    let guessed: Vec<u8> = (0..GUESSES).map(|n| guess(V5, names[n % 3], &format!("guess {n}"))).collect();
    assert!(guessed[..FAILURES_MAX].iter().all(|code| *code == 0x86), "{guessed:02x?}");
    assert!(guessed[FAILURES_MAX + 1..].iter().all(|code| *code == 0x97), "{guessed:02x?}");
    assert_eq!(guess(V311, "pair", "guess"), 3, "server unavailable");
    scene.counts("weir_gateway_auth_throttled_total", 1.0);
    // The pair comes from the same address, and is in.
    scene.serves_others();
    // What hashing takes.
    scene.survives(64 << 20);
}
