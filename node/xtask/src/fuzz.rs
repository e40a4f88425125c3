//! `cargo xtask fuzz`: every fuzz target of the decoders for a while, where a nightly toolchain is.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::command::{cargo, command, must, root, target};
use crate::tools;

const CARGO_FUZZ_VERSION: &str = "0.13.2";

/// What came of it.
#[derive(Debug, Default)]
pub struct Fuzzed {
    /// Targets that ran their time without a finding.
    pub clean: u64,
    pub crashed: Vec<String>,
    /// Why nothing or not everything ran. Only a stable toolchain is promised, so this is no failure.
    pub not_run: Vec<String>,
}

/// The task: fails on a finding, and when it cannot fuzz at all.
pub fn task(seconds: u64) -> Result<()> {
    let fuzzed = run(seconds)?;
    if let Some(reason) = fuzzed.not_run.first() {
        bail!("not run: {reason}");
    }
    if !fuzzed.crashed.is_empty() {
        bail!("crashed: {} (inputs in node/crates/wire/fuzz/artifacts)", fuzzed.crashed.join(", "));
    }
    println!("{} targets without a finding", fuzzed.clean);
    Ok(())
}

/// Runs each target for so many seconds.
pub fn run(seconds: u64) -> Result<Fuzzed> {
    let mut fuzzed = Fuzzed::default();
    let targets = targets()?;
    if targets.is_empty() {
        fuzzed.not_run.push("fuzz: there are no targets".to_owned());
        return Ok(fuzzed);
    }
    if let Err(error) = cargo_fuzz() {
        fuzzed.not_run.push(format!("fuzz: {error:#}"));
        return Ok(fuzzed);
    }
    for name in targets {
        match must(nightly().arg(&name).args(["--", &format!("-max_total_time={seconds}"), "-verbosity=0"])) {
            Ok(()) => fuzzed.clean += 1,
            Err(error) => {
                println!("{error:#}");
                fuzzed.crashed.push(name);
            }
        }
    }
    Ok(fuzzed)
}

fn home() -> PathBuf {
    root().join("node/crates/wire/fuzz")
}

fn targets() -> Result<Vec<String>> {
    let directory = home().join("fuzz_targets");
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for file in std::fs::read_dir(&directory).context("cannot list the fuzz targets")? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// `cargo +nightly fuzz run`, with its own build directory.
fn nightly() -> Command {
    let mut cargo = command("cargo");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = std::iter::once(tools::directory().join("bin")).chain(std::env::split_paths(&path));
    if let Ok(path) = std::env::join_paths(own) {
        cargo.env("PATH", path);
    }
    // Set by the cargo that runs this task; they would win over `+nightly`.
    for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN", "RUSTFLAGS"] {
        cargo.env_remove(name);
    }
    cargo.args(["+nightly", "fuzz", "run", "--fuzz-dir"]).arg(home());
    cargo.arg("--target-dir").arg(target().join("fuzz"));
    cargo
}

/// Sees to a nightly toolchain and cargo-fuzz.
fn cargo_fuzz() -> Result<()> {
    let toolchains = command("rustup").args(["toolchain", "list"]).output().context("no rustup")?;
    if !String::from_utf8_lossy(&toolchains.stdout).lines().any(|line| line.starts_with("nightly")) {
        bail!("no nightly toolchain");
    }
    if tools::directory().join("bin/cargo-fuzz").is_file() {
        return Ok(());
    }
    let mut install = cargo();
    install.args(["install", "cargo-fuzz", "--locked", "--version", CARGO_FUZZ_VERSION, "--root"]);
    install.arg(tools::directory()).arg("--target-dir").arg(target().join("fuzz-tool"));
    must(&mut install)
}
