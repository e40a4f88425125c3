//! `cargo xtask handlers`: the example handlers as WASM, in `target/handlers`, whatever this machine has for it.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::command::{cargo, root, target};

pub use rust::Way;

mod foreign;
mod rust;

/// Where each handler's `<name>.wasm` is; tests find it in `WEIR_HANDLERS`.
pub fn directory() -> PathBuf {
    target().join("handlers")
}

/// The task: builds all and fails when one could not be built.
pub fn task(way: Option<Way>) -> Result<()> {
    let missing = build(way);
    println!("WEIR_HANDLERS={}", directory().display());
    if !missing.is_empty() {
        bail!("missing: {}", missing.join("; "));
    }
    Ok(())
}

/// Builds all, those in Rust this way or else the first one that works; returns what could not be built, with the
/// reason.
pub fn build(way: Option<Way>) -> Vec<String> {
    if let Err(error) = fs::create_dir_all(directory()) {
        return vec![format!("{}: {error}", directory().display())];
    }
    let built = [
        ("handlers in Rust", rust::build(way)),
        ("python-echo.wasm", foreign::python()),
        ("js-upper.wasm", foreign::javascript()),
    ];
    let missing = |(name, built): (&str, Result<()>)| Some(format!("{name}: {:#}", built.err()?));
    built.into_iter().filter_map(missing).collect()
}

/// The unit tests of the handlers in Rust: native, they need no WASM.
pub fn tests() -> Command {
    let mut tests = cargo();
    tests.args(["test", "--no-fail-fast"]).arg("--manifest-path").arg(home().join("Cargo.toml"));
    tests.arg("--target-dir").arg(workshop());
    tests
}

/// The workspace of the handlers.
fn home() -> PathBuf {
    root().join("handlers")
}

/// Where things lie that are not the result.
fn workshop() -> PathBuf {
    target().join("handlers-build")
}

/// The contract.
fn wit() -> PathBuf {
    root().join("handlers-sdk/wit/weir-handler.wit")
}

/// Builds `<name>.wasm` unless it was built of files of exactly this content.
fn unless_built(name: &str, sources: &[PathBuf], build: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let out = directory().join(format!("{name}.wasm"));
    let stamp = directory().join(format!("{name}.wasm.digest"));
    let digest = digest(sources)?;
    if out.is_file() && fs::read_to_string(&stamp).is_ok_and(|built| built == digest) {
        return Ok(());
    }
    build(&out)?;
    fs::write(stamp, digest).context("cannot note what was built")
}

/// Enough to see a change; nothing is trusted for it.
fn digest(sources: &[PathBuf]) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    for path in sources {
        let content = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        content.hash(&mut hasher);
    }
    Ok(format!("{:016x}\n", hasher.finish()))
}
