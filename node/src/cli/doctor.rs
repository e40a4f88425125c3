//! `weir doctor`: is this machine, with this configuration, fit to serve?

use serde::Serialize;
use serde_json::json;
use weir_cluster::StoreKind;

use super::Failure;
use super::flags::Flags;
use crate::config::Config;

mod disk;
mod limits;
mod ports;
mod store;

/// What `weir doctor` takes: the flags of `weir serve`, so that it sees the same configuration.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    flags: Flags,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Ok,
    /// It will serve, with less than it could.
    Warn,
    /// It will not serve until this is dealt with.
    Fix,
}

/// One thing looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: String,
    pub state: State,
    pub found: String,
    /// What to do about it; empty when all is well.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub advice: String,
}

impl Check {
    fn ok(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self { name: name.into(), state: State::Ok, found: found.into(), advice: String::new() }
    }

    fn warn(name: impl Into<String>, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name: name.into(), state: State::Warn, found: found.into(), advice: advice.into() }
    }

    fn fix(name: impl Into<String>, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name: name.into(), state: State::Fix, found: found.into(), advice: advice.into() }
    }
}

/// Looks at everything and prints it; fails when something must be fixed.
pub fn run(args: &Args) -> Result<(), Failure> {
    let checks = match args.flags.load() {
        Ok(config) => examine(&config),
        Err(refused) => {
            vec![Check::fix(
                "configuration",
                refused.to_string(),
                "change it; `weir serve --print-config` shows all keys",
            )]
        }
    };
    let fit = checks.iter().all(|check| check.state != State::Fix);
    if args.json {
        println!("{}", json!({ "fit": fit, "checks": checks }));
    } else {
        print!("{}", as_text(&checks));
    }
    if fit { Ok(()) } else { Err(Failure::Said) }
}

fn examine(config: &Config) -> Vec<Check> {
    let mut checks = vec![Check::ok("configuration", "valid")];
    checks.push(limits::open_files());
    checks.push(limits::accept_queue(config.net.backlog));
    checks.push(limits::memory(config));
    checks.extend(ports::all(&config.listen));
    checks.extend(config.peer_address().map(|address| ports::one("peer", address)));
    match config.store_kind() {
        StoreKind::Memory => checks.push(Check::warn(
            "store",
            "memory: forgets everything at exit",
            "--store embedded keeps on disk",
        )),
        StoreKind::Embedded => {
            checks.extend(disk::all(&config.node.data_dir, config.store.reserve_bytes));
            checks.push(store::readable(&config.store, &config.node.data_dir));
        }
        StoreKind::Redis => checks.push(store::reachable(&config.store)),
    }
    checks
}

fn as_text(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for check in checks {
        let state = match check.state {
            State::Ok => "ok  ",
            State::Warn => "warn",
            State::Fix => "FIX ",
        };
        out.push_str(&format!("{state}  {:width$}  {}\n", check.name, check.found));
        if !check.advice.is_empty() {
            out.push_str(&format!("{:indent$}{}\n", "", check.advice, indent = width + 8));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_stands_below_what_was_found() {
        let text = as_text(&[Check::ok("a", "fine"), Check::fix("port mqtt", "taken", "stop the other")]);
        assert_eq!(text, "ok    a          fine\nFIX   port mqtt  taken\n                 stop the other\n");
    }
}
