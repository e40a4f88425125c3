//! The handlers in Rust, by the first toolchain that can build for WASM here.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use super::{directory, home, workshop};
use crate::command::{cargo, command, must};
use crate::tools::apt_install;

const TARGET: &str = "wasm32-unknown-unknown";

/// Where the standard library for WASM comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Way {
    /// The target is installed.
    Installed,
    /// `rustup target add`.
    Rustup,
    /// Debian's compiler builds it out of its source, as root. Takes some minutes the first time.
    Debian,
}

/// Builds all of the workspace, this way or the first one that works.
pub fn build(way: Option<Way>) -> Result<()> {
    let mut failed = Vec::new();
    for way in way.map_or_else(|| Way::value_variants().to_vec(), |way| vec![way]) {
        match way.cargo().and_then(|cargo| compile(way, cargo)) {
            Ok(()) => return Ok(()),
            Err(error) => failed.push(format!("{way:?}: {error:#}")),
        }
    }
    bail!("{}", failed.join("; "))
}

fn compile(way: Way, mut cargo: Command) -> Result<()> {
    println!("handlers in Rust are built with: {way:?}");
    cargo.arg("--manifest-path").arg(home().join("Cargo.toml")).arg("--target-dir").arg(workshop());
    must(cargo.args(["--release", "--target", TARGET]))?;
    let built = workshop().join(TARGET).join("release");
    for name in names()? {
        let file = format!("{}.wasm", name.replace('-', "_"));
        put(&built.join(file), &directory().join(format!("{name}.wasm")))?;
    }
    Ok(())
}

/// A file that has not changed keeps its time.
fn put(from: &Path, to: &Path) -> Result<()> {
    let built = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|there| there == built) {
        return Ok(());
    }
    fs::write(to, built).with_context(|| format!("cannot write {}", to.display()))
}

/// The members of the workspace that become WASM.
fn names() -> Result<Vec<String>> {
    let mut metadata = cargo();
    metadata.args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"]);
    let told = metadata.arg(home().join("Cargo.toml")).output().context("cannot run cargo metadata")?;
    let told: serde_json::Value =
        serde_json::from_slice(&told.stdout).context("cargo metadata told no JSON")?;
    let is_handler = |package: &&serde_json::Value| {
        let targets = package["targets"].as_array().into_iter().flatten();
        targets.flat_map(|target| target["kind"].as_array()).flatten().any(|kind| kind == "cdylib")
    };
    let packages = told["packages"].as_array().into_iter().flatten().filter(is_handler);
    Ok(packages.filter_map(|package| package["name"].as_str()).map(str::to_owned).collect())
}

impl Way {
    /// `cargo build`, when it can.
    fn cargo(self) -> Result<Command> {
        match self {
            Way::Installed if is_installed() => Ok(building(cargo())),
            Way::Installed => bail!("{TARGET} is not installed"),
            Way::Rustup => {
                must(command("rustup").args(["target", "add", TARGET]))?;
                if !is_installed() {
                    bail!("{TARGET} was added to another toolchain than this one");
                }
                Ok(building(cargo()))
            }
            Way::Debian => debian(),
        }
    }
}

fn building(mut cargo: Command) -> Command {
    cargo.arg("build");
    cargo
}

fn is_installed() -> bool {
    print(command("rustc").args(["--target", TARGET]), "target-libdir").is_ok_and(|library| library.is_dir())
}

/// What `rustc --print` says of a path.
fn print(rustc: &mut Command, what: &str) -> Result<PathBuf> {
    let said = rustc.args(["--print", what]).output().context("cannot run rustc")?;
    if !said.status.success() {
        bail!("rustc --print {what}: {}", said.status);
    }
    Ok(String::from_utf8_lossy(&said.stdout).trim().into())
}

/// Debian's compiler has the source of the standard library, and our own toolchain the linker that it lacks.
fn debian() -> Result<Command> {
    let (cargo, rustc) = (Path::new("/usr/bin/cargo"), "/usr/bin/rustc");
    if !cargo.is_file() || !library_source(rustc).is_ok_and(|source| source.is_dir()) {
        apt_install(&["cargo-web", "rustc-web", "rust-web-src"])?;
    }
    let linkers = print(&mut command("rustc"), "target-libdir")?.with_file_name("bin");
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/bin".into(), "/bin".into()];
    let path = env::join_paths([linkers].into_iter().chain(system).chain(env::split_paths(&path)))?;
    let mut build = command(cargo);
    // Set by the cargo that runs this task; they would bring its compiler back.
    for name in ["CARGO", "RUSTDOC", "RUSTUP_TOOLCHAIN", "RUSTFLAGS"] {
        build.env_remove(name);
    }
    // Building the standard library is not stable in any release.
    build.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1").env("PATH", path);
    build.args(["build", "-Zbuild-std=std,panic_abort"]);
    Ok(build)
}

fn library_source(rustc: &str) -> Result<PathBuf> {
    Ok(print(&mut command(rustc), "sysroot")?.join("lib/rustlib/src/rust/library"))
}
