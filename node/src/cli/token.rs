//! `weir token`: who may administer, by a text that they show.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};
use weir_admin::proto::{
    AccountsCreateTokenRequest, AccountsListTokensRequest, AccountsRevokeTokenRequest, Token,
};
use weir_admin::tokens::TokenError;
use weir_admin::{Tokens, tokens};

use super::Failure;
use super::admin::{List, Server, block_on, refused, say, say_json, text, time};

/// What `weir token` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a token and print it, this once.
    Create {
        /// Whose or what for.
        name: String,
        /// What it may: `sessions:read`, `topics:*`, `watch`, `admin` (everything); as often as wanted.
        #[arg(long = "scope", value_name = "SCOPE", required = true)]
        scopes: Vec<String>,
        /// How long it is good: `30d`, `12h`; left out, until it is revoked.
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        expires: Option<Duration>,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// List all tokens; no secret is shown, nor can be.
    List {
        /// Print one JSON array.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Take a token away.
    Revoke {
        /// Its id: the middle part of the token.
        id: String,
        #[command(flatten)]
        place: Place,
    },
}

/// Where the tokens are: at a running node, or in its file.
#[derive(Debug, clap::Args)]
struct Place {
    /// The tokens file, instead of asking a node: `admin.tokens_file`, else `admin-tokens.toml` in its data
    /// directory. A running node notices.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["server", "context"])]
    file: Option<PathBuf>,
    #[command(flatten)]
    server: Server,
}

/// Does one change, or shows what is there.
pub fn run(args: &Args) -> Result<(), Failure> {
    match &args.action {
        Action::Create { name, scopes, expires, json, place } => {
            let (token, secret) = create(name, scopes, *expires, place)?;
            if *json {
                let mut value = in_json(&token);
                value["secret"] = secret.into();
                return say_json(&value);
            }
            eprintln!("weir: token {} is made; it is shown this once:", token.id);
            say(&format!("{secret}\n"))
        }
        Action::List { json, place } => {
            let tokens = match &place.file {
                Some(file) => {
                    Tokens::new(file.clone()).list().map_err(failed)?.into_iter().map(told).collect()
                }
                None => block_on(async {
                    let answer = place
                        .server
                        .connect()
                        .await?
                        .accounts()
                        .list_tokens(AccountsListTokensRequest {})
                        .await;
                    Ok(answer.map_err(refused)?.into_inner().tokens)
                })?,
            };
            let mut list = List::begin(*json, &["id", "name", "scopes", "created", "expires"])?;
            list.page(tokens.iter().map(|token| (in_json(token), cells(token))).collect())?;
            list.end().map(drop)
        }
        Action::Revoke { id, place } => {
            match &place.file {
                Some(file) => Tokens::new(file.clone()).revoke(id).map_err(failed)?,
                None => block_on(async {
                    let request = AccountsRevokeTokenRequest { id: id.clone() };
                    let done = place.server.connect().await?.accounts().revoke_token(request).await;
                    done.map(drop).map_err(refused)
                })?,
            }
            say(&format!("token revoked: {}\n", text(id)))
        }
    }
}

fn create(
    name: &str,
    scopes: &[String],
    expires: Option<Duration>,
    place: &Place,
) -> Result<(Token, String), Failure> {
    if let Some(file) = &place.file {
        let (token, secret) = Tokens::new(file.clone()).create(name, scopes, expires).map_err(failed)?;
        let uid = rustix::process::getuid().as_raw();
        tracing::info!(target: "weir::audit", token = token.id, name, uid, "token created");
        return Ok((told(token), secret));
    }
    block_on(async {
        let request = AccountsCreateTokenRequest {
            name: name.to_owned(),
            scopes: scopes.to_vec(),
            expires_in_seconds: expires.map_or(0, |time| time.as_secs().max(1)),
        };
        let made = place.server.connect().await?.accounts().create_token(request).await;
        let made = made.map_err(refused)?.into_inner();
        Ok((made.token.unwrap_or_default(), made.secret))
    })
}

fn failed(error: TokenError) -> Failure {
    match error {
        TokenError::Name | TokenError::NoScope | TokenError::Scope(_) => Failure::Usage(error.to_string()),
        TokenError::Unknown => Failure::NotFound(error.to_string()),
        error => Failure::Failed(error.into()),
    }
}

fn told(token: tokens::Token) -> Token {
    Token {
        id: token.id,
        name: token.name,
        scopes: token.scopes,
        created_unix_ms: token.created_ms,
        expires_unix_ms: token.expires_ms,
    }
}

fn in_json(token: &Token) -> Value {
    json!({
        "id": token.id,
        "name": token.name,
        "scopes": token.scopes,
        "created_unix_ms": token.created_unix_ms,
        "expires_unix_ms": token.expires_unix_ms,
    })
}

fn cells(token: &Token) -> Vec<String> {
    let expires = if token.expires_unix_ms == 0 { "never".to_owned() } else { time(token.expires_unix_ms) };
    vec![token.id.clone(), token.name.clone(), token.scopes.join(","), time(token.created_unix_ms), expires]
}
