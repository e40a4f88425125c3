//! `weir handler secret`.

use std::io::Read as _;

use anyhow::Context as _;
use clap::Subcommand;
use serde_json::json;
use weir_admin::proto::{HandlersDeleteSecretRequest, HandlersListSecretsRequest, HandlersSetSecretRequest};

use super::super::Failure;
use super::super::admin::{refused, say, say_json, text};
use super::Ask;

#[derive(Debug, Subcommand)]
pub enum Action {
    /// Set a secret to what stands on stdin, without a line end.
    Set {
        /// Its name.
        name: String,
        #[command(flatten)]
        ask: Ask,
    },
    /// List the names of secrets.
    List {
        #[command(flatten)]
        ask: Ask,
    },
    /// Take a secret away that no binding uses.
    Delete {
        /// Its name.
        name: String,
        #[command(flatten)]
        ask: Ask,
    },
}

pub async fn run(action: &Action) -> Result<(), Failure> {
    match action {
        Action::Set { name, ask } => {
            let mut value = String::new();
            std::io::stdin().read_to_string(&mut value).context("cannot read the secret from stdin")?;
            let value = value.trim_end_matches(['\r', '\n']).to_owned();
            let request = HandlersSetSecretRequest { realm: ask.realm.clone(), name: name.clone(), value };
            ask.server.connect().await?.handlers().set_secret(request).await.map_err(refused)?;
            Ok(())
        }
        Action::List { ask } => {
            let request = HandlersListSecretsRequest { realm: ask.realm.clone() };
            let answer =
                ask.server.connect().await?.handlers().list_secrets(request).await.map_err(refused)?;
            let names = answer.into_inner().names;
            match ask.json {
                true => say_json(&json!(names)),
                false => say(&names.iter().map(|name| format!("{}\n", text(name))).collect::<String>()),
            }
        }
        Action::Delete { name, ask } => {
            let request = HandlersDeleteSecretRequest { realm: ask.realm.clone(), name: name.clone() };
            ask.server.connect().await?.handlers().delete_secret(request).await.map_err(refused)?;
            Ok(())
        }
    }
}
