//! `weir handler list|show|promote|rollback|delete`.

use serde_json::{Value, json};
use weir_admin::proto::{
    Handler, HandlerAlias, HandlerShare, HandlerVersion, HandlersDeleteRequest, HandlersDeleteVersionRequest,
    HandlersGetRequest, HandlersListRequest, HandlersRollbackRequest, HandlersSetAliasRequest,
};

use super::super::Failure;
use super::super::admin::{List as Table, refused, say, say_json, text, time};
use super::Ask;

#[derive(Debug, clap::Args)]
pub struct List {
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, clap::Args)]
pub struct Show {
    /// The handler.
    name: String,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, clap::Args)]
pub struct Promote {
    /// The handler.
    name: String,
    /// Which version: its number, or the beginning of its digest. With `=PERCENT` behind it only that share of the keys,
    /// the rest to the other versions that are named.
    #[arg(required = true, value_name = "VERSION[=PERCENT]")]
    versions: Vec<String>,
    /// The alias.
    #[arg(long, value_name = "ALIAS", default_value = "live")]
    alias: String,
    /// Set it back when more than so many percent of its calls fail; 0 = never.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, hide_default_value = true)]
    guard: u32,
    /// Of at least so many calls.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    guard_calls: u32,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, clap::Args)]
pub struct Rollback {
    /// The handler.
    name: String,
    /// The alias.
    #[arg(long, value_name = "ALIAS", default_value = "live")]
    alias: String,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, clap::Args)]
pub struct Delete {
    /// The handler.
    name: String,
    /// Only this version: its number, or the beginning of its digest.
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    #[command(flatten)]
    ask: Ask,
}

/// Lists all handlers, a page at a time.
pub async fn list(args: &List) -> Result<(), Failure> {
    let mut table = Table::begin(args.ask.json, &["handler", "world", "versions", "aliases"])?;
    let mut handlers = args.ask.server.connect().await?.handlers();
    let mut page_token = String::new();
    loop {
        let request = HandlersListRequest { page_size: 0, page_token, realm: args.ask.realm.clone() };
        let page = handlers.list(request).await.map_err(refused)?.into_inner();
        let entry = |handler: &Handler| {
            let aliases: Vec<_> = handler.aliases.iter().map(|alias| alias_text(handler, alias)).collect();
            let versions = handler.versions.len().to_string();
            let cells = vec![handler.name.clone(), handler.world.clone(), versions, aliases.join(" ")];
            (handler_json(handler), cells)
        };
        table.page(page.handlers.iter().map(entry).collect())?;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    table.end().map(drop)
}

/// Shows one.
pub async fn show(args: &Show) -> Result<(), Failure> {
    let handler = get(&args.ask, &args.name).await?;
    if args.ask.json {
        return say_json(&handler_json(&handler));
    }
    let mut out = format!("{}: {}\n", text(&handler.name), handler.world);
    for alias in &handler.aliases {
        out.push_str(&format!("  {}\n", alias_text(&handler, alias)));
    }
    for version in handler.versions.iter().rev() {
        let at = time(version.uploaded_unix_ms);
        let (digest, by) = (short(&version.digest), text(&version.uploaded_by));
        out.push_str(&format!(
            "  version {}  {digest}  {} bytes  {at}  by {by}\n",
            version.number, version.bytes
        ));
    }
    say(&out)
}

/// Points an alias at versions.
pub async fn promote(args: &Promote) -> Result<(), Failure> {
    let handler = get(&args.ask, &args.name).await?;
    let share = |asked: &String| {
        let (version, percent) = match asked.split_once('=') {
            Some((version, percent)) => {
                let percent =
                    percent.parse().map_err(|_| Failure::Usage(format!("`{percent}` is no percentage")))?;
                (version, percent)
            }
            None => (asked.as_str(), 100),
        };
        Ok(HandlerShare { digest: find(&handler, version)?.digest.clone(), percent })
    };
    let request = HandlersSetAliasRequest {
        realm: args.ask.realm.clone(),
        name: args.name.clone(),
        alias: args.alias.clone(),
        shares: args.versions.iter().map(share).collect::<Result<_, Failure>>()?,
        guard_percent: args.guard,
        guard_calls_min: args.guard_calls,
    };
    let answer = args.ask.server.connect().await?.handlers().set_alias(request).await.map_err(refused)?;
    say_alias(&args.ask, &handler, answer.into_inner().alias)
}

/// Sets an alias back.
pub async fn rollback(args: &Rollback) -> Result<(), Failure> {
    let request = HandlersRollbackRequest {
        realm: args.ask.realm.clone(),
        name: args.name.clone(),
        alias: args.alias.clone(),
    };
    let answer = args.ask.server.connect().await?.handlers().rollback(request).await.map_err(refused)?;
    let handler = get(&args.ask, &args.name).await?;
    say_alias(&args.ask, &handler, answer.into_inner().alias)
}

/// Ends a handler, or a version.
pub async fn delete(args: &Delete) -> Result<(), Failure> {
    let (realm, name) = (args.ask.realm.clone(), args.name.clone());
    let mut handlers = args.ask.server.connect().await?.handlers();
    match &args.version {
        Some(version) => {
            let digest = find(&get(&args.ask, &name).await?, version)?.digest.clone();
            let request = HandlersDeleteVersionRequest { realm, name, digest };
            handlers.delete_version(request).await.map_err(refused)?;
        }
        None => {
            handlers.delete(HandlersDeleteRequest { realm, name }).await.map_err(refused)?;
        }
    }
    Ok(())
}

async fn get(ask: &Ask, name: &str) -> Result<Handler, Failure> {
    let request = HandlersGetRequest { realm: ask.realm.clone(), name: name.to_owned() };
    let answer = ask.server.connect().await?.handlers().get(request).await.map_err(refused)?;
    Ok(answer.into_inner().handler.unwrap_or_default())
}

/// The version that is meant by a number or by the beginning of a digest.
fn find<'a>(handler: &'a Handler, version: &str) -> Result<&'a HandlerVersion, Failure> {
    let by_number = handler.versions.iter().find(|known| known.number.to_string() == version);
    let mut by_digest = handler.versions.iter().filter(|known| known.digest.starts_with(version));
    let found = by_number.or_else(|| by_digest.next().filter(|_| by_digest.next().is_none()));
    found.ok_or_else(|| {
        Failure::NotFound(format!("{} has no version `{}`", text(&handler.name), text(version)))
    })
}

fn say_alias(ask: &Ask, handler: &Handler, alias: Option<HandlerAlias>) -> Result<(), Failure> {
    let alias = alias.unwrap_or_default();
    match ask.json {
        true => say_json(&alias_json(&alias)),
        false => say(&format!("{}: {}\n", text(&handler.name), alias_text(handler, &alias))),
    }
}

/// `live=3`, or `live=3:90%,4:10%`.
fn alias_text(handler: &Handler, alias: &HandlerAlias) -> String {
    let number = |digest: &str| {
        let known = handler.versions.iter().find(|version| version.digest == digest);
        known.map_or_else(|| short(digest).to_owned(), |version| version.number.to_string())
    };
    let shares: Vec<_> = match alias.shares.as_slice() {
        [one] => vec![number(&one.digest)],
        many => many.iter().map(|share| format!("{}:{}%", number(&share.digest), share.percent)).collect(),
    };
    format!("{}={}", text(&alias.name), shares.join(","))
}

/// Enough of a digest for people.
pub fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

pub fn version_json(version: &HandlerVersion) -> Value {
    json!({
        "number": version.number,
        "digest": version.digest,
        "bytes": version.bytes,
        "uploaded_unix_ms": version.uploaded_unix_ms,
        "uploaded_by": version.uploaded_by,
        "large": version.large,
    })
}

fn alias_json(alias: &HandlerAlias) -> Value {
    let shares = |shares: &[HandlerShare]| -> Vec<Value> {
        shares.iter().map(|share| json!({ "digest": share.digest, "percent": share.percent })).collect()
    };
    json!({
        "name": alias.name,
        "shares": shares(&alias.shares),
        "before": shares(&alias.before),
        "guard_percent": alias.guard_percent,
        "guard_calls_min": alias.guard_calls_min,
        "since_unix_ms": alias.since_unix_ms,
    })
}

fn handler_json(handler: &Handler) -> Value {
    json!({
        "realm": handler.realm,
        "name": handler.name,
        "world": handler.world,
        "versions": handler.versions.iter().map(version_json).collect::<Vec<_>>(),
        "aliases": handler.aliases.iter().map(alias_json).collect::<Vec<_>>(),
    })
}
