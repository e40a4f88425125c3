//! `weir config`: what a running node is set to, whether a file is good, and what it would change.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Subcommand;
use serde_json::json;
use weir_admin::proto::{ConfigDiffRequest, ConfigReloadRequest, ConfigShowRequest, ConfigValidateRequest};

use super::Failure;
use super::admin::{List, Server, block_on, refused, say, say_json, text};

/// What `weir config` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the configuration in force as TOML; secrets are left out.
    Show {
        /// Print one JSON object, without sentences.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Say whether a file could be a node's configuration. Asks no node unless one is named.
    Validate {
        /// The TOML file.
        file: PathBuf,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Say what would be different at a node with this file.
    Diff {
        /// The TOML file.
        file: PathBuf,
        /// Print one JSON array.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Have a node read keys, accounts, policies, tokens and certificates again now.
    Reload {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
}

/// Asks the node, and prints what it says.
pub fn run(args: &Args) -> Result<(), Failure> {
    match &args.action {
        Action::Show { json, server } => block_on(async {
            let answer = server.connect().await?.config().show(ConfigShowRequest {}).await;
            let answer = answer.map_err(refused)?.into_inner();
            if *json { say(&format!("{}\n", answer.json)) } else { say(&answer.toml) }
        }),
        Action::Validate { file, json, server } => validate(file, *json, server),
        Action::Diff { file, json, server } => diff(file, *json, server),
        Action::Reload { json, server } => block_on(async {
            let answer = server.connect().await?.config().reload(ConfigReloadRequest {}).await;
            let problems = answer.map_err(refused)?.into_inner().problems;
            if *json {
                say_json(&json!({ "problems": problems }))?;
            } else if problems.is_empty() {
                say("reloaded\n")?;
            }
            match problems.is_empty() {
                true => Ok(()),
                false if *json => Err(Failure::Said),
                false => Err(Failure::Failed(anyhow!("not all could be used: {}", problems.join("; ")))),
            }
        }),
    }
}

fn read(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file)
        .map_err(|error| Failure::Usage(format!("cannot read {}: {error}", file.display())))
}

fn validate(file: &Path, json: bool, server: &Server) -> Result<(), Failure> {
    let toml = read(file)?;
    let problem = if server.server.is_some() || server.context.is_some() {
        block_on(async {
            let answer = server.connect().await?.config().validate(ConfigValidateRequest { toml }).await;
            let answer = answer.map_err(refused)?.into_inner();
            Ok((!answer.valid).then_some(answer.problem))
        })?
    } else {
        crate::config::load_text(&toml, Vec::new()).err().map(|error| error.to_string())
    };
    if json {
        say_json(&json!({ "valid": problem.is_none(), "problem": problem }))?;
    }
    match problem {
        None if json => Ok(()),
        None => say("valid\n"),
        Some(_) if json => Err(Failure::Said),
        Some(problem) => Err(Failure::Failed(anyhow!("{}: {problem}", file.display()))),
    }
}

fn diff(file: &Path, json: bool, server: &Server) -> Result<(), Failure> {
    let toml = read(file)?;
    let changes = block_on(async {
        let answer = server.connect().await?.config().diff(ConfigDiffRequest { toml }).await;
        Ok(answer.map_err(refused)?.into_inner().changes)
    })?;
    if json {
        let mut list = List::begin(true, &[])?;
        let value = |change: &weir_admin::proto::ConfigChange| json!({ "key": change.key, "now": change.now, "then": change.then });
        list.page(changes.iter().map(|change| (value(change), Vec::new())).collect())?;
        return list.end().map(drop);
    }
    let unset = |value: &str| if value.is_empty() { "(not set)".to_owned() } else { text(value) };
    for change in &changes {
        say(&format!("{}: {} -> {}\n", change.key, unset(&change.now), unset(&change.then)))?;
    }
    if changes.is_empty() { say("no difference\n") } else { Ok(()) }
}
