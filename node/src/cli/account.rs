//! `weir account`: who may connect with a password.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::Subcommand;
use serde_json::json;
use weir_access::{AccountFile, Listed, NewAccount};

mod online;

use super::Failure;
use super::admin::Server;
use crate::config::{self, Config, Sources};
use crate::telemetry;

/// Bytes of a password; more was not meant as one.
const PASSWORD_BYTES_MAX: u64 = 64 << 10;

/// What `weir account` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make an account, with a password for CONNECT, SCRAM-SHA-256 and tickets of WAMP, or with a public key.
    Add {
        /// The user name, which is also the user id.
        name: String,
        /// A role of the account; as often as wanted.
        #[arg(long, value_name = "ROLE")]
        role: Vec<String>,
        /// A realm the account may be in, the first for MQTT; as often as wanted. Left out, it may be in all.
        #[arg(long, value_name = "REALM")]
        realm: Vec<String>,
        #[command(flatten)]
        wamp: Wamp,
        #[command(flatten)]
        password: Password,
        #[command(flatten)]
        place: Place,
    },
    /// Give an account another password; its sessions end.
    Passwd {
        name: String,
        /// Keep a key for WAMP-CRA from now on; where there was one it is renewed anyway.
        #[arg(long)]
        wampcra: bool,
        #[command(flatten)]
        password: Password,
        #[command(flatten)]
        place: Place,
    },
    /// Show all accounts; no password is shown, nor can be.
    List {
        /// Print one JSON array.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Take an account away; its sessions end.
    Remove {
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// Show the policy in force at a node.
    Policy {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
}

/// Where the accounts are: in a file, or at a running node.
#[derive(Debug, clap::Args)]
struct Place {
    /// The accounts file; left out, `access.accounts.file` of the configuration.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The TOML file of the node.
    #[arg(long, env = "WEIR_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    server: Server,
}

/// What WAMP knows besides the password.
#[derive(Debug, clap::Args)]
struct Wamp {
    /// Keep a key for WAMP-CRA too. Whoever reads it can log in by WAMP-CRA as with the password.
    #[arg(long)]
    wampcra: bool,
    /// An Ed25519 public key for cryptosign, in 64 hexadecimal digits; as often as wanted. A password is read then only
    /// with `--password-stdin`.
    #[arg(long, value_name = "KEY")]
    public_key: Vec<String>,
}

/// Where the password comes from: never from the command line, which others can see.
#[derive(Debug, clap::Args)]
struct Password {
    /// Read the password from stdin even on a terminal; a line end at its end does not belong to it.
    #[arg(long)]
    password_stdin: bool,
}

/// Does one change, or shows what is there.
pub fn run(args: &Args) -> Result<(), Failure> {
    let place = args.action.place();
    let config = place.config()?;
    let path = match place.accounts(&config) {
        _ if place.is_at_a_node() => return online::run(args, true),
        // No file is known: perhaps a node of this machine has accounts.
        Err(which) => {
            return online::run(args, false).map_err(|failure| match failure {
                Failure::Unreachable(_) => which,
                failure => failure,
            });
        }
        Ok(path) => path,
    };
    let _log = telemetry::install_log(&config.node)?;
    match &args.action {
        Action::List { json, .. } => list(&path, *json),
        Action::Policy { .. } => online::run(args, false),
        Action::Add { name, role, realm, wamp, password, .. } => {
            let new = NewAccount {
                name: name.clone(),
                password: wamp.password(name, password)?,
                roles: role.clone(),
                realms: realm.clone(),
                public_keys: wamp.public_key.clone(),
                wampcra: wamp.wampcra,
            };
            let mut file = open(&path)?;
            file.add(&new, config.access.scram.iterations).map_err(failed)?;
            save(file, "account added", name)
        }
        Action::Passwd { name, wampcra, password, .. } => {
            let password = password.read(name)?;
            let mut file = open(&path)?;
            file.set_password(name, &password, *wampcra, config.access.scram.iterations).map_err(failed)?;
            save(file, "password changed", name)
        }
        Action::Remove { name, .. } => {
            let mut file = open(&path)?;
            file.remove(name).map_err(failed)?;
            save(file, "account removed", name)
        }
    }
}

impl Action {
    fn place(&self) -> &Place {
        match self {
            Self::Add { place, .. }
            | Self::Passwd { place, .. }
            | Self::List { place, .. }
            | Self::Remove { place, .. }
            | Self::Policy { place, .. } => place,
        }
    }
}

impl Place {
    /// Whether a node was named rather than a file.
    fn is_at_a_node(&self) -> bool {
        self.file.is_none() && self.server.is_named()
    }

    fn config(&self) -> Result<Config, Failure> {
        let environment = std::env::vars_os().collect();
        let sources = Sources { file: self.config.as_deref(), environment, flags: Vec::new() };
        Ok(config::load(sources)?)
    }

    fn accounts(&self, config: &Config) -> Result<PathBuf, Failure> {
        let path = self.file.clone().or_else(|| config.access.accounts.file.clone());
        path.ok_or_else(|| {
            let say =
                "which accounts? say --file FILE, --config FILE of a node with `access.accounts.file`, or --server URL of one that runs";
            Failure::Usage(say.to_owned())
        })
    }
}

impl Wamp {
    /// The password, unless a public key is enough.
    fn password(&self, name: &str, password: &Password) -> Result<Option<String>, Failure> {
        let is_wanted = self.public_key.is_empty() || self.wampcra || password.password_stdin;
        is_wanted.then(|| password.read(name)).transpose()
    }
}

impl Password {
    fn read(&self, name: &str) -> Result<String, Failure> {
        if !self.password_stdin && std::io::stdin().is_terminal() {
            return ask(name);
        }
        let mut bytes = Vec::new();
        let stdin = std::io::stdin().lock();
        stdin.take(PASSWORD_BYTES_MAX).read_to_end(&mut bytes).context("cannot read stdin")?;
        let text = String::from_utf8(bytes).map_err(|_| anyhow!("the password is not UTF-8"))?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
    }
}

/// Asks twice, without echo.
fn ask(name: &str) -> Result<String, Failure> {
    let prompt = |what: String| rpassword::prompt_password(what).context("cannot ask for the password");
    let password = prompt(format!("Password of {name}: "))?;
    if prompt("Once more: ".to_owned())? != password {
        return Err(Failure::Usage("these were two different passwords; nothing is changed".to_owned()));
    }
    Ok(password)
}

fn open(path: &Path) -> Result<AccountFile, Failure> {
    AccountFile::open(path).map_err(failed)
}

fn failed(error: weir_access::AccountError) -> Failure {
    Failure::Failed(error.into())
}

fn save(file: AccountFile, action: &'static str, name: &str) -> Result<(), Failure> {
    file.save().map_err(failed)?;
    let uid = rustix::process::getuid().as_raw();
    tracing::info!(target: "weir::audit", account = name, uid, "{action}");
    writeln!(std::io::stdout(), "{action}: {name}").context("cannot write to stdout")?;
    Ok(())
}

fn list(path: &Path, as_json: bool) -> Result<(), Failure> {
    if !path.exists() {
        return Err(Failure::Failed(anyhow!("there is no {}; `weir account add` makes it", path.display())));
    }
    let accounts = open(path)?.list();
    let text = if as_json { in_json(&accounts) } else { in_columns(&accounts) };
    std::io::stdout().write_all(text.as_bytes()).context("cannot write to stdout")?;
    Ok(())
}

fn in_json(accounts: &[Listed]) -> String {
    let all = accounts.iter().map(|account| {
        json!({
            "name": account.name,
            "roles": account.roles,
            "password": account.password,
            "scram": account.scram,
            "wampcra": account.wampcra,
            "public_keys": account.public_keys,
            "realms": account.realms,
        })
    });
    format!("{}\n", json!(all.collect::<Vec<_>>()))
}

fn in_columns(accounts: &[Listed]) -> String {
    let width = accounts.iter().map(|account| account.name.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for Listed { name, roles, realms, public_keys, password, scram, wampcra } in accounts {
        let kinds = proofs(*password, *scram, *wampcra, !public_keys.is_empty());
        let realms = if realms.is_empty() { String::new() } else { format!(" in {}", realms.join(",")) };
        let line = format!("{name:width$}  {kinds:14}  {}{realms}", roles.join(","));
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// By what an account can prove that it is itself, as `argon2id+scram`.
fn proofs(password: Option<&str>, scram: bool, wampcra: bool, public_key: bool) -> String {
    let kinds = [
        password,
        scram.then_some("scram"),
        wampcra.then_some("wampcra"),
        public_key.then_some("public-key"),
    ];
    kinds.into_iter().flatten().collect::<Vec<_>>().join("+")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str, roles: &[&str]) -> Listed {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        Listed { name: name.to_owned(), roles, password: Some("argon2id"), scram: true, ..Listed::default() }
    }

    #[test]
    fn accounts_are_shown_in_columns_and_as_json() {
        let accounts = [account("ann", &["device", "reader"]), account("bo", &[])];
        assert_eq!(in_columns(&accounts), "ann  argon2id+scram  device,reader\nbo   argon2id+scram\n");
        let value: serde_json::Value = serde_json::from_str(&in_json(&accounts)).unwrap();
        assert_eq!(value[0]["roles"], json!(["device", "reader"]));
        assert_eq!(value[1]["password"], "argon2id");
    }

    #[test]
    fn without_a_file_nobody_guesses_which_one_was_meant() {
        let place = Place { file: None, config: None, server: Server::default() };
        let refused = place.accounts(&Config::default()).unwrap_err();
        assert!(refused.to_string().contains("--file"), "{refused}");
    }
}
