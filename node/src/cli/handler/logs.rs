//! `weir handler logs`.

use serde_json::json;
use weir_admin::proto::HandlersReadLogsRequest;

use super::super::Failure;
use super::super::admin::{refused, say, say_json, text, time};
use super::Ask;

#[derive(Debug, clap::Args)]
pub struct Logs {
    /// The binding.
    name: String,
    /// Lines of the past, at most 1000.
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 100)]
    last: u32,
    /// Go on with those that come, until it is ended.
    #[arg(long, short = 'f')]
    follow: bool,
    #[command(flatten)]
    ask: Ask,
}

/// Prints lines of the node that is asked.
pub async fn logs(args: &Logs) -> Result<(), Failure> {
    let request = HandlersReadLogsRequest {
        realm: args.ask.realm.clone(),
        name: args.name.clone(),
        last: args.last,
        follow: args.follow,
    };
    let mut handlers = args.ask.server.connect_without_end().await?.handlers();
    let mut lines = handlers.read_logs(request).await.map_err(refused)?.into_inner();
    while let Some(line) = lines.message().await.map_err(refused)? {
        if line.missed > 0 {
            eprintln!("weir: {} lines were missed", line.missed);
        }
        match args.ask.json {
            true => say_json(&json!({
                "unix_ms": line.unix_ms, "level": line.level, "version": line.version, "text": line.text,
            }))?,
            false => {
                let at = time(line.unix_ms);
                say(&format!("{at} {:5} v{} {}\n", line.level, line.version, text(&line.text)))?;
            }
        }
    }
    Ok(())
}
