//! What the commands that administer a running node share: where it is, as whom, and what its refusals mean.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde_json::Value;
use weir_admin::client::{self, Client, Target};
use weir_admin::tonic::{Code, Status};
use weir_net::client::ConnectError;

use super::Failure;
use super::context::{Context, Contexts};

mod list;

pub use super::client::block_on;
pub use list::List;

/// Where a node is administered that nobody has named.
const SERVER: &str = "http://127.0.0.1:50051";

/// Which node, and as whom. Said here, else in a context (`weir context`), else the one of this machine.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Server {
    /// The node's admin listener: https://HOST:PORT, http://HOST:PORT, or HOST:PORT. It gets no credentials of a
    /// context unless that is named too.
    #[arg(long, env = "WEIR_SERVER", value_name = "URL")]
    pub server: Option<String>,
    /// The token to show; better in the environment than here, where others can see it.
    #[arg(long, env = "WEIR_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<String>,
    /// The context to take server and credentials from.
    #[arg(long, env = "WEIR_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,
    /// PEM file with the authorities to trust; without it, the system's.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Trust any certificate.
    #[arg(long)]
    pub insecure: bool,
    /// PEM file with this client's certificate.
    #[arg(long, value_name = "FILE", requires = "cert_key")]
    pub cert: Option<PathBuf>,
    /// PEM file with its key.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub cert_key: Option<PathBuf>,
    /// Seconds to wait for any one answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub timeout: u64,
}

/// Which realm, how to print, and where to ask.
#[derive(Debug, clap::Args)]
pub struct Ask {
    /// The realm; left out, the default one.
    #[arg(long, value_name = "NAME", default_value = "")]
    pub realm: String,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub server: Server,
}

impl Server {
    /// Whether a node was named, in whatever way.
    pub fn is_named(&self) -> bool {
        let has_current = || Contexts::read().is_ok_and(|contexts| contexts.current.is_some());
        self.server.is_some() || self.context.is_some() || has_current()
    }

    /// Connects.
    ///
    /// # Errors
    /// The context or a file of it cannot be used, or nobody answers.
    pub async fn connect(&self) -> Result<Client, Failure> {
        Client::connect(&self.target()?).await.map_err(not_connected)
    }

    /// Connects for a call that lasts until it is ended.
    ///
    /// # Errors
    /// As for [`Server::connect`].
    pub async fn connect_without_end(&self) -> Result<Client, Failure> {
        let target = Target { calls_end: false, ..self.target()? };
        Client::connect(&target).await.map_err(not_connected)
    }

    fn target(&self) -> Result<Target, Failure> {
        let context = match (&self.context, &self.server) {
            (Some(name), _) => Contexts::read()?.get(name)?,
            // What a context has is for its own server.
            (None, Some(_)) => Context::default(),
            (None, None) => Contexts::read()?.current()?.unwrap_or_default(),
        };
        let server = self.server.clone().unwrap_or(context.server);
        Ok(Target {
            server: if server.is_empty() { SERVER.to_owned() } else { server },
            token: self.token.clone().or(context.token),
            ca_file: self.ca.clone().or(context.ca),
            certificate: self.cert.clone().or(context.cert),
            key: self.cert_key.clone().or(context.cert_key),
            insecure: self.insecure || context.insecure,
            timeout: Duration::from_secs(self.timeout.max(1)),
            calls_end: true,
        })
    }
}

fn not_connected(error: client::Error) -> Failure {
    let text = error.to_string();
    match error {
        client::Error::Server { .. } | client::Error::Token => Failure::Usage(text),
        client::Error::Connect { error: ConnectError::Tls(_) | ConnectError::ServerName { .. }, .. } => {
            Failure::Usage(text)
        }
        client::Error::Connect { error, .. } => Failure::Unreachable(format!("{text}{}", what_to_do(&error))),
        client::Error::Transport { .. } => Failure::Unreachable(format!(
            "{text}\n  is that a node's admin listener? https:// is for one with TLS, http:// for one without"
        )),
    }
}

fn what_to_do(error: &ConnectError) -> String {
    match error {
        ConnectError::Tcp { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused => {
            "\n  a node prints where it is administered (`listening admin ..`); --server, or a context (`weir context`), \
             says where to look"
                .to_owned()
        }
        ConnectError::TlsHandshake { .. } => {
            "\n  --ca FILE says whom to trust (a node's own is DATA_DIR/dev-tls/ca.pem), --insecure trusts anybody"
                .to_owned()
        }
        _ => String::new(),
    }
}

/// What a node's refusal means for whoever typed the command.
pub fn refused(status: Status) -> Failure {
    let detail = client::detail(&status);
    let mut text = status.message().to_owned();
    if !detail.hint.is_empty() {
        text = format!("{text} ({})", detail.hint);
    }
    match status.code() {
        Code::NotFound => Failure::NotFound(text),
        Code::Unauthenticated | Code::PermissionDenied => Failure::Refused(text),
        Code::InvalidArgument | Code::OutOfRange => Failure::Usage(text),
        Code::DeadlineExceeded => Failure::TimedOut(text),
        // The other end has not said it: the client's own clock has.
        Code::Cancelled => Failure::TimedOut(format!("no answer in time: {text}")),
        Code::Unavailable if detail.reason == "store" => Failure::Failed(anyhow!("{text}")),
        Code::Unavailable => Failure::Unreachable(text),
        Code::Unknown if detail.reason.is_empty() => {
            Failure::Unreachable(format!("the connection broke: {text}"))
        }
        _ => Failure::Failed(anyhow!("{text}")),
    }
}

/// Writes to stdout; whoever reads it may have gone.
pub fn say(text: &str) -> Result<(), Failure> {
    io::stdout().write_all(text.as_bytes()).context("cannot write to stdout")?;
    Ok(())
}

/// Writes one JSON value and a line end.
pub fn say_json(value: &Value) -> Result<(), Failure> {
    say(&format!("{value}\n"))
}

/// A name from elsewhere, without what a terminal would obey.
pub fn text(name: &str) -> String {
    name.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// Milliseconds since 1970 for people; nothing for 0.
pub fn time(unix_ms: u64) -> String {
    if unix_ms == 0 {
        return String::new();
    }
    let at = std::time::UNIX_EPOCH.checked_add(Duration::from_millis(unix_ms));
    let in_range = at.filter(|_| unix_ms < 253_402_300_800_000);
    in_range.map(|at| humantime::format_rfc3339_seconds(at).to_string()).unwrap_or_else(|| "later".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_server_gets_no_credentials_of_another() {
        let server = Server { server: Some("http://a:1".to_owned()), ..Server::default() };
        let target = server.target().unwrap();
        assert_eq!((target.server.as_str(), target.token), ("http://a:1", None));
    }

    #[test]
    fn a_refusal_becomes_its_exit_code() {
        let code = |code: Code| refused(Status::new(code, "x")).exit_code();
        assert_eq!(code(Code::NotFound), 6);
        assert_eq!(code(Code::PermissionDenied), 4);
        assert_eq!(code(Code::Unauthenticated), 4);
        assert_eq!(code(Code::InvalidArgument), 2);
        assert_eq!(code(Code::DeadlineExceeded), 5);
        assert_eq!(code(Code::Unavailable), 3);
        assert_eq!(code(Code::Internal), 1);
    }

    #[test]
    fn times_are_told_for_people() {
        assert_eq!(time(1_700_000_000_000), "2023-11-14T22:13:20Z");
        assert_eq!((time(0).as_str(), time(u64::MAX).as_str()), ("", "later"));
    }
}
