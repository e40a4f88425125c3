//! What `weir pub` and `weir sub` share: how to reach a broker, and what to say when that fails.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use serde_json::{Value, json};
use url::Url;
use weir_bench::client::{self, Client, Options, Properties, Will};
use weir_model::Qos;
use weir_net::client::{ClientOptions, ConnectError};
use weir_wire::mqtt::Version;

use super::Failure;

/// Where the broker is and who calls.
#[derive(Debug, clap::Args)]
pub struct Connection {
    /// The broker: mqtt://, mqtts://, ws://, wss:// or quic://, with user:password@ if wanted.
    #[arg(long, env = "WEIR_URL", default_value = "mqtt://127.0.0.1:1883")]
    pub url: Url,
    /// The client id; left out, the broker chooses one.
    #[arg(long)]
    pub id: Option<String>,
    /// The user name.
    #[arg(long, short = 'u')]
    pub username: Option<String>,
    /// The password.
    #[arg(long, short = 'P', env = "WEIR_PASSWORD", hide_env_values = true)]
    pub password: Option<String>,
    /// Which MQTT is spoken.
    #[arg(long, value_enum, default_value = "5")]
    pub protocol: Protocol,
    /// Keep the session this many seconds after the connection ends; without it, none is kept.
    #[arg(long, value_name = "SECONDS", requires = "id")]
    pub session_expiry: Option<u32>,
    /// Seconds of silence after which a ping is sent; 0 sends none.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub keep_alive: u16,
    /// Seconds to wait for any one answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub timeout: u64,
    /// PEM file with the authorities to trust; without it, the system's.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Trust any certificate.
    #[arg(long)]
    pub insecure: bool,
    /// PEM file with this client's certificate.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// PEM file with its key.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    #[command(flatten)]
    will: WillArgs,
}

#[derive(Debug, clap::Args)]
struct WillArgs {
    /// The topic of the message published when this client is gone without a goodbye.
    #[arg(long, value_name = "TOPIC")]
    will_topic: Option<String>,
    /// The will's message.
    #[arg(long, value_name = "TEXT", requires = "will_topic", default_value = "")]
    will_message: String,
    /// The will's QoS.
    #[arg(long, value_name = "0|1|2", requires = "will_topic", default_value = "0", value_parser = qos)]
    will_qos: Qos,
    /// The will is retained.
    #[arg(long, requires = "will_topic")]
    will_retain: bool,
    /// Seconds the broker waits before publishing the will.
    #[arg(long, value_name = "SECONDS", requires = "will_topic", default_value_t = 0)]
    will_delay: u32,
}

/// An MQTT version, as it is said on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    #[value(name = "5")]
    Five,
    #[value(name = "3", alias = "3.1.1")]
    Three,
}

/// Reads `0`, `1` or `2`.
pub fn qos(text: &str) -> Result<Qos, String> {
    text.parse().ok().and_then(Qos::from_bits).ok_or_else(|| "a QoS is 0, 1 or 2".to_owned())
}

/// Reads `name=value`.
pub fn property(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a property is name=value")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Connection {
    /// Connects; `user` are the user properties of CONNECT.
    ///
    /// # Errors
    /// In words for whoever typed the command.
    pub async fn open(&self, user: &[(String, String)]) -> Result<Client, Failure> {
        let options = self.options(user);
        Client::connect(&self.url, &options).await.map_err(failure)
    }

    fn options(&self, user: &[(String, String)]) -> Options {
        let from_url = |text: &str| (!text.is_empty()).then(|| decoded(text));
        let timeout = Duration::from_secs(self.timeout.max(1));
        Options {
            version: match self.protocol {
                Protocol::Five => Version::V5,
                Protocol::Three => Version::V311,
            },
            client_id: self.id.clone().unwrap_or_default(),
            clean_start: self.session_expiry.is_none(),
            session_expiry_seconds: self.session_expiry,
            keep_alive_seconds: self.keep_alive,
            username: self.username.clone().or_else(|| from_url(self.url.username())),
            password: self
                .password
                .clone()
                .or_else(|| self.url.password().and_then(from_url))
                .map(String::into_bytes),
            will: self.will.to_will(),
            user: user.to_vec(),
            timeout,
            transport: ClientOptions {
                ca_file: self.ca.clone(),
                insecure: self.insecure,
                certificate: self.cert.clone(),
                key: self.key.clone(),
                connect_timeout: timeout,
                ..ClientOptions::default()
            },
            ..Options::default()
        }
    }
}

impl WillArgs {
    fn to_will(&self) -> Option<Will> {
        Some(Will {
            topic: self.will_topic.clone()?,
            payload: self.will_message.clone().into_bytes(),
            qos: self.will_qos,
            retain: self.will_retain,
            delay_seconds: self.will_delay,
            properties: Properties::default(),
        })
    }
}

/// Undoes the percent signs of a URL's user and password.
fn decoded(text: &str) -> String {
    let as_query = format!("v={}", text.replace('+', "%2B"));
    url::form_urlencoded::parse(as_query.as_bytes()).next().map_or_else(String::new, |(_, v)| v.into_owned())
}

/// Runs a client's work on a runtime of its own: one thread is plenty.
///
/// # Errors
/// The work's own, or there is no runtime.
pub fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(work)
}

/// What went wrong between client and broker, with what can be done about it.
pub fn failure(error: client::Error) -> Failure {
    match &error {
        client::Error::Connect { source, .. } => {
            Failure::Unreachable(format!("{error}{}", what_to_do(source)))
        }
        client::Error::Refused { .. }
        | client::Error::PublishRefused { .. }
        | client::Error::Disconnected { .. } => Failure::Refused(error.to_string()),
        client::Error::Closed { .. } | client::Error::Io { .. } => Failure::Unreachable(error.to_string()),
        client::Error::TimedOut { .. } => Failure::TimedOut(error.to_string()),
        _ => Failure::Failed(error.into()),
    }
}

fn what_to_do(error: &ConnectError) -> String {
    match error {
        ConnectError::Tcp { address, source } if source.kind() == io::ErrorKind::ConnectionRefused => format!(
            "\n  nobody listens on {address}: `weir serve` starts a node and prints where it listens;\n  \
             --url (or WEIR_URL) says where to look, `weir doctor` who has the ports"
        ),
        ConnectError::TlsHandshake { .. } | ConnectError::Quic { .. } => {
            "\n  --ca FILE says whom to trust (a node's own is DATA_DIR/dev-tls/ca.pem), --insecure trusts anybody".to_owned()
        }
        ConnectError::Refused { status: 404 } => {
            "\n  the path is part of the URL: ws://HOST:PORT/mqtt".to_owned()
        }
        _ => String::new(),
    }
}

/// A payload in JSON: a string where it is UTF-8, else base64 under another name.
pub fn payload(bytes: &[u8]) -> (&'static str, Value) {
    use base64::Engine as _;
    match std::str::from_utf8(bytes) {
        Ok(text) => ("payload", json!(text)),
        Err(_) => ("payload_base64", json!(base64::engine::general_purpose::STANDARD.encode(bytes))),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        connection: Connection,
    }

    fn options(line: &str) -> Options {
        Line::try_parse_from(line.split_whitespace()).unwrap().connection.options(&[])
    }

    #[test]
    fn a_session_is_kept_only_when_its_expiry_is_said() {
        assert!(options("weir").clean_start);
        let kept = options("weir --id a --session-expiry 60");
        assert!(!kept.clean_start);
        assert_eq!(kept.session_expiry_seconds, Some(60));
    }

    #[test]
    fn user_and_password_may_stand_in_the_url_with_percent_signs() {
        let options = options("weir --url mqtt://me%40home:a+b%2Fc@broker");
        assert_eq!(options.username.as_deref(), Some("me@home"));
        assert_eq!(options.password.as_deref(), Some("a+b/c".as_bytes()));
    }

    #[test]
    fn a_payload_that_is_no_text_is_told_in_base64() {
        assert_eq!(payload(b"hi"), ("payload", json!("hi")));
        assert_eq!(payload(&[0xff, 0]), ("payload_base64", json!("/wA=")));
    }

    #[test]
    fn a_refused_connection_says_what_to_do() {
        let source = ConnectError::Tcp {
            address: "127.0.0.1:1".parse().unwrap(),
            source: io::ErrorKind::ConnectionRefused.into(),
        };
        let said = failure(client::Error::Connect { url: "mqtt://127.0.0.1:1".into(), source });
        assert!(matches!(&said, Failure::Unreachable(text) if text.contains("weir serve")), "{said}");
    }
}
