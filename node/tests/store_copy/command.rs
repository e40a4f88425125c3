//! `weir store` as a script runs it.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_weir");

/// `weir store ..`, not started yet.
pub fn weir_store(args: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("WEIR")) {
        command.env_remove(name);
    }
    command.arg("store").args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub fn run(args: &[&str]) -> Output {
    weir_store(args).output().expect("the command runs")
}

/// What it printed and complained of.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A copy that has to succeed; its report.
pub fn copied(args: &[&str]) -> serde_json::Value {
    report(&["copy"], args)
}

/// What a store holds.
pub fn info(store: &str) -> serde_json::Value {
    report(&["info"], &[store])
}

fn report(command: &[&str], args: &[&str]) -> serde_json::Value {
    let output = run(&[command, args, &["--json"]].concat());
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

pub fn started(args: &[&str]) -> Child {
    weir_store(args).spawn().expect("the command runs")
}

pub fn embedded(dir: &Path) -> String {
    format!("embedded:{}", dir.display())
}
