//! `weir context`: nodes and credentials under names, so that they need not be said every time.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Subcommand;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Failure;
use super::admin::{List, say};

/// What `weir context` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Name a node and its credentials; the first context is used from then on.
    Add {
        /// The name of the context.
        name: String,
        /// The node's admin listener: https://HOST:PORT or http://HOST:PORT.
        #[arg(long, value_name = "URL")]
        server: String,
        /// Read the token from stdin.
        #[arg(long)]
        token_stdin: bool,
        /// The token; better in the environment than here, where others can see it.
        #[arg(
            long,
            env = "WEIR_TOKEN",
            hide_env_values = true,
            value_name = "TOKEN",
            conflicts_with = "token_stdin"
        )]
        token: Option<String>,
        /// PEM file with the authorities to trust.
        #[arg(long, value_name = "FILE")]
        ca: Option<PathBuf>,
        /// PEM file with the client's certificate.
        #[arg(long, value_name = "FILE", requires = "cert_key")]
        cert: Option<PathBuf>,
        /// PEM file with its key.
        #[arg(long, value_name = "FILE", requires = "cert")]
        cert_key: Option<PathBuf>,
        /// Trust any certificate.
        #[arg(long)]
        insecure: bool,
    },
    /// Use a context from now on.
    Use {
        /// Its name.
        name: String,
    },
    /// Show all contexts; no token is shown.
    List {
        /// Print one JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Forget a context.
    Remove {
        /// Its name.
        name: String,
    },
}

/// A node and the credentials for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Context {
    pub server: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_key: Option<PathBuf>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub insecure: bool,
}

/// The file of contexts.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Contexts {
    /// The one that is used when none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    context: BTreeMap<String, Context>,
}

impl Contexts {
    /// The file, if it is there.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read() -> Result<Self, Failure> {
        let Some(path) = path() else { return Ok(Self::default()) };
        match std::fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map_err(|error| {
                Failure::Usage(format!("{} cannot be used: {}", path.display(), error.message()))
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Failure::Usage(format!("cannot read {}: {error}", path.display()))),
        }
    }

    /// The context of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn get(&self, name: &str) -> Result<Context, Failure> {
        self.context.get(name).cloned().ok_or_else(|| {
            let known: Vec<_> = self.context.keys().map(String::as_str).collect();
            Failure::Usage(format!("there is no context {name:?}; there are: {}", known.join(", ")))
        })
    }

    /// The one in use, if any is.
    ///
    /// # Errors
    /// There is none of its name.
    pub fn current(&self) -> Result<Option<Context>, Failure> {
        self.current.as_deref().map(|name| self.get(name)).transpose()
    }

    /// Written as a whole or not at all, for its owner alone.
    fn write(&self) -> Result<(), Failure> {
        let path =
            path().ok_or_else(|| Failure::Usage("neither XDG_CONFIG_HOME nor HOME is set".to_owned()))?;
        let text = toml::to_string(self).context("the contexts cannot be written")?;
        let dir = path.parent().context("a file has a directory")?;
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let beside = path.with_extension(format!("new-{}", std::process::id()));
        let open =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside);
        let written = open.and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()));
        written
            .and_then(|()| std::fs::rename(&beside, &path))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(())
    }
}

/// `$XDG_CONFIG_HOME/weir/contexts.toml`, else below `~/.config`.
fn path() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?;
    Some(config.join("weir/contexts.toml"))
}

/// Does one change, or shows what is there.
pub fn run(args: &Args) -> Result<(), Failure> {
    let mut contexts = Contexts::read()?;
    match &args.action {
        Action::Add { name, server, token_stdin, token, ca, cert, cert_key, insecure } => {
            let token = if *token_stdin { Some(from_stdin()?) } else { token.clone() };
            let context = Context {
                server: server.clone(),
                token,
                ca: ca.clone(),
                cert: cert.clone(),
                cert_key: cert_key.clone(),
                insecure: *insecure,
            };
            contexts.context.insert(name.clone(), context);
            contexts.current.get_or_insert_with(|| name.clone());
            contexts.write()?;
            say(&format!("context added: {name}\n"))
        }
        Action::Use { name } => {
            contexts.get(name)?;
            contexts.current = Some(name.clone());
            contexts.write()?;
            say(&format!("context in use: {name}\n"))
        }
        Action::Remove { name } => {
            contexts.get(name)?;
            contexts.context.remove(name);
            contexts.current.take_if(|current| current == name);
            contexts.write()?;
            say(&format!("context removed: {name}\n"))
        }
        Action::List { json } => list(&contexts, *json),
    }
}

fn list(contexts: &Contexts, json: bool) -> Result<(), Failure> {
    let mut list = List::begin(json, &["", "name", "server", "credentials"])?;
    let entries = contexts.context.iter().map(|(name, context)| {
        let is_current = contexts.current.as_ref() == Some(name);
        let kinds = [("token", context.token.is_some()), ("certificate", context.cert.is_some())];
        let kinds: Vec<_> = kinds.into_iter().filter_map(|(kind, has)| has.then_some(kind)).collect();
        let value = json!({
            "name": name, "server": context.server, "current": is_current, "credentials": kinds,
        });
        let mark = if is_current { "*" } else { "" };
        (value, vec![mark.to_owned(), name.clone(), context.server.clone(), kinds.join("+")])
    });
    list.page(entries.collect())?;
    list.end().map(drop)
}

fn from_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin().take(64 << 10).read_to_string(&mut text).context("cannot read stdin")?;
    Ok(text.trim().to_owned())
}
