//! `cargo xtask test`: everything that proves the promises, in one command.

use std::process::Command;

use anyhow::{Result, bail};

use crate::command::{cargo, watched};
use crate::count::Count;
use crate::{fuzz, handlers, tools};

/// Seconds each fuzz target gets here; `cargo xtask fuzz` takes longer.
const FUZZ_SECONDS: u64 = 20;

/// Brings tools, builds handlers, runs tests and short fuzzing, counts. Something missing is a failure by name.
pub fn run() -> Result<()> {
    let mut missing = tools::bring();
    missing.extend(handlers::build(None));
    let mut count = Count::default();
    let mut failed = Vec::new();
    for (name, mut command) in runners() {
        command.env("WEIR_TOOLS", tools::directory()).env("WEIR_HANDLERS", handlers::directory());
        let status = watched(&mut command, |line| count.read(line))?;
        if !status.success() {
            failed.push(format!("{name}: {status}"));
        }
    }
    let fuzzed = fuzz::run(FUZZ_SECONDS)?;
    count.passed += fuzzed.clean;
    count.failed += fuzzed.crashed.len() as u64;
    failed.extend(fuzzed.crashed.iter().map(|target| format!("fuzz {target}: crashed")));
    // A runner can fail without a failing test, by not compiling.
    if count.failed == 0 {
        count.failed = failed.len() as u64;
    }

    println!();
    failed.iter().for_each(|what| println!("failed: {what}"));
    missing.iter().for_each(|what| println!("missing: {what}"));
    fuzzed.not_run.iter().for_each(|what| println!("not run: {what}"));
    println!("ran {}, failed {}, missing {}", count.passed + count.failed, count.failed, missing.len());
    println!("{} passed, {} failed", count.passed, count.failed);
    if count.failed > 0 || !missing.is_empty() {
        bail!("{} failed, {} missing", count.failed, missing.len());
    }
    Ok(())
}

/// Nextest where it is, and what it does not run: examples in documentation.
fn runners() -> Vec<(&'static str, Command)> {
    let nextest = cargo().args(["nextest", "--version"]).output().is_ok_and(|out| out.status.success());
    if !nextest {
        let mut tests = cargo();
        tests.args(["test", "--workspace", "--no-fail-fast"]);
        return vec![("cargo test", tests), ("cargo test, handlers", handlers::tests())];
    }
    let mut tests = cargo();
    tests.args(["nextest", "run", "--workspace", "--no-fail-fast"]);
    let mut examples = cargo();
    examples.args(["test", "--workspace", "--doc", "--no-fail-fast"]);
    let handlers = ("cargo test, handlers", handlers::tests());
    vec![("cargo nextest", tests), ("cargo test --doc", examples), handlers]
}
