//! The foreign clients the tests run: found, or brought into `target/tools`, or named as missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::command::{command, find, must, root, target};

/// Where Python and npm packages are put; tests find it in `WEIR_TOOLS`.
pub fn directory() -> PathBuf {
    target().join("tools")
}

/// The task: brings everything and fails when something is missing.
pub fn task(bench: bool) -> Result<()> {
    let mut missing = bring();
    if bench {
        missing.extend(peers());
    }
    println!("WEIR_TOOLS={}", directory().display());
    if !missing.is_empty() {
        bail!("missing: {}", missing.join("; "));
    }
    Ok(())
}

/// Brings everything; returns what could not be had, with the reason.
pub fn bring() -> Vec<String> {
    let brought = [
        ("mosquitto, mosquitto_pub, mosquitto_sub", mosquitto()),
        ("redis-server, redis-cli, redis-benchmark", redis()),
        ("valkey-server", valkey()),
        ("paho-mqtt", python()),
        ("mqtt.js, ws", node()),
        ("autobahn-js, wampy", wamp()),
        ("buf", buf()),
        ("promtool", promtool()),
        ("faketime", faketime()),
    ];
    let missing = |(name, brought): (&str, Result<()>)| Some(format!("{name}: {:#}", brought.err()?));
    brought.into_iter().filter_map(missing).collect()
}

/// What `weir bench wamp` measures Weir against; returns what could not be had, with the reason.
fn peers() -> Vec<String> {
    let wanted = root().join("node/crates/bench/peers/requirements.txt");
    let brought = [
        ("fox-wamp", npm_install("node/crates/bench/peers/package.json", "fox-wamp").map(drop)),
        ("crossbar", pip_install(&wanted, "crossbar").map(drop)),
    ];
    let missing = |(name, brought): (&str, Result<()>)| Some(format!("{name}: {:#}", brought.err()?));
    brought.into_iter().filter_map(missing).collect()
}

fn mosquitto() -> Result<()> {
    let programs = ["mosquitto", "mosquitto_pub", "mosquitto_sub"];
    if programs.iter().all(|program| find(program).is_some()) {
        return Ok(());
    }
    apt_install(&["mosquitto", "mosquitto-clients"])
}

/// A Sentinel is a redis-server that was started as one.
fn redis() -> Result<()> {
    let programs = ["redis-server", "redis-cli", "redis-benchmark"];
    if programs.iter().all(|program| find(program).is_some()) {
        return Ok(());
    }
    apt_install(&["redis-server", "redis-tools"])
}

/// Debian packages, for root only. Their services are not started.
pub fn apt_install(packages: &[&str]) -> Result<()> {
    let user = fs::metadata("/proc/self").map(|own| std::os::unix::fs::MetadataExt::uid(&own));
    if user.ok() != Some(0) || find("apt-get").is_none() {
        bail!("not installed; as root on Debian it would be: apt-get install {}", packages.join(" "));
    }
    let apt = |arguments: &[&str]| {
        let mut apt = command("apt-get");
        apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
        must(&mut apt)
    };
    apt(&["update", "-q"])?;
    apt(&[&["install", "-q", "-y", "--no-install-recommends"], packages].concat())
}

fn python() -> Result<()> {
    pip_install(&root().join("node/tests/clients/requirements.txt"), "python").map(drop)
}

/// The packages of a `requirements.txt`, in a directory of the tools; where their programs are.
pub fn pip_install(wanted: &Path, here: &str) -> Result<PathBuf> {
    let here = directory().join(here);
    unless_brought(&here, &[wanted], || {
        let venv = |flag: &str| must(command("python3").args(["-m", "venv", flag]).arg(&here));
        if venv("--clear").is_err() {
            apt_install(&["python3", "python3-venv"])?;
            venv("--clear")?;
        }
        let mut pip = command(here.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(wanted);
        must(&mut pip)
    })?;
    Ok(here.join("bin"))
}

fn node() -> Result<()> {
    npm_install("node/tests/clients/package.json", "node").map(drop)
}

fn wamp() -> Result<()> {
    npm_install("node/tests/wamp/package.json", "wamp").map(drop)
}

/// Judges the contracts in `proto/`.
fn buf() -> Result<()> {
    npm_install("node/tests/admin/package.json", "buf").map(drop)
}

/// The packages of a `package.json`, in a directory of the tools; returns the directory.
pub fn npm_install(wanted: &str, here: &str) -> Result<PathBuf> {
    let (wanted, here) = (root().join(wanted), directory().join(here));
    unless_brought(&here, &[&wanted], || {
        if find("npm").is_none() {
            apt_install(&["nodejs", "npm"])?;
        }
        fs::create_dir_all(&here)?;
        fs::copy(&wanted, here.join("package.json"))?;
        let mut npm: Command = command("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--no-package-lock"]).current_dir(&here);
        must(&mut npm)
    })?;
    Ok(here)
}

/// Steps the clock of one process.
fn faketime() -> Result<()> {
    if find("faketime").is_some() {
        return Ok(());
    }
    apt_install(&["faketime"])
}

/// Out of Debian's package, which is not installed: its server is not wanted.
fn promtool() -> Result<()> {
    let here = directory().join("prometheus");
    if here.join("promtool").is_file() {
        return Ok(());
    }
    unpack(&here, &["prometheus"], &[], "usr/bin/promtool", "promtool")
}

/// A server that knows WAITAOF, which Debian 12 has among its backports: out of its packages, which are not installed.
fn valkey() -> Result<()> {
    let here = directory().join("valkey");
    if here.join("valkey-server").is_file() {
        return Ok(());
    }
    let packages = ["valkey-tools"];
    // The one program that is called by several names.
    let program = "usr/bin/valkey-check-rdb";
    unpack(&here, &packages, &[], program, "valkey-server").or_else(|_| {
        let release = fs::read_to_string("/etc/os-release")?;
        let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
        let codename = codename.context("/etc/os-release names no release")?;
        // Beside what this machine has configured, which stays as it is.
        let own = here.join("apt");
        fs::create_dir_all(own.join("lists/partial"))?;
        fs::create_dir_all(own.join("cache/archives/partial"))?;
        let backports = format!("deb http://deb.debian.org/debian {codename}-backports main\n");
        fs::write(own.join("sources.list"), backports)?;
        let option = |name: &str, path: &str| format!("-oDir::{name}={}", own.join(path).display());
        let options = [
            option("Etc::sourcelist", "sources.list"),
            "-oDir::Etc::sourceparts=-".to_owned(),
            option("State::lists", "lists"),
            option("Cache", "cache"),
        ];
        let unpacked = unpack(&here, &packages, &options, program, "valkey-server");
        fs::remove_dir_all(own)?;
        unpacked
    })
}

/// Takes one program out of Debian packages, which are downloaded with these options of apt-get and not installed.
fn unpack(here: &Path, packages: &[&str], options: &[String], program: &str, name: &str) -> Result<()> {
    let unpacked = here.join("package");
    fs::create_dir_all(&unpacked)?;
    let apt = |words: &[&str]| must(command("apt-get").args(options).args(words).current_dir(here));
    let fetch = || apt(&[&["download", "-q"], packages].concat());
    if fetch().is_err() {
        apt(&["update", "-q"])?;
        fetch()?;
    }
    let entries = fs::read_dir(here)?.filter_map(Result::ok).map(|entry| entry.path());
    let fetched = entries.filter(|path| path.extension().is_some_and(|kind| kind == "deb"));
    let fetched: Vec<PathBuf> = fetched.collect();
    for package in &fetched {
        must(command("dpkg-deb").arg("--extract").arg(package).arg(&unpacked))?;
        fs::remove_file(package).context("cannot remove the package")?;
    }
    fs::rename(unpacked.join(program), here.join(name))
        .with_context(|| format!("{} has no {program}", packages.join(", ")))?;
    fs::remove_dir_all(unpacked).context("cannot remove what was unpacked")
}

/// Does it unless it was done for files of exactly this content.
fn unless_brought(here: &Path, wanted: &[&Path], bring: impl FnOnce() -> Result<()>) -> Result<()> {
    let read =
        |path: &&Path| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let content = wanted.iter().map(read).collect::<Result<String>>()?;
    let stamp = here.join(".brought");
    if fs::read_to_string(&stamp).is_ok_and(|brought| brought == content) {
        return Ok(());
    }
    bring()?;
    fs::write(stamp, content).context("cannot note what was brought")
}
