//! A small WAMP client: one session over a WebSocket, MessagePack in batched frames, whose messages tell their lengths.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use url::Url;
use weir_net::Stream;
use weir_net::client::ClientOptions;
use weir_wire::wamp::message::{
    Authenticate, CloseDetails, Feature, Goodbye, Hello, HelloDetails, Message, MessageType, Role, Roles,
    Secret,
};
use weir_wire::wamp::{Batching, Format, Id, Limits, Raw, Serialization, Text, decode, encode};

use crate::cli::Failure;

/// What is spoken: its WebSocket messages are binary, and each message of it tells its length.
const SPOKEN: Serialization = Serialization { format: Format::MsgPack, batching: Batching::Many };

/// Longest message taken from a router, in bytes.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Where the router is and who calls.
#[derive(Debug, clap::Args)]
pub struct Connection {
    /// The router: ws:// or wss://.
    #[arg(long, env = "WEIR_WAMP_URL", default_value = "ws://127.0.0.1:8080/wamp")]
    url: Url,
    /// The realm.
    #[arg(long, default_value = "default")]
    realm: String,
    /// Who to be; with a ticket.
    #[arg(long, requires = "ticket")]
    authid: Option<String>,
    /// The ticket: a password or a token.
    #[arg(long, env = "WEIR_TICKET", hide_env_values = true, requires = "authid")]
    ticket: Option<String>,
    /// Seconds to wait for any one answer but that of a call.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    timeout: u64,
    /// PEM file with the authorities to trust; without it, the system's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Trust any certificate.
    #[arg(long)]
    insecure: bool,
}

/// A session.
pub struct Client {
    stream: Stream,
    read: BytesMut,
    timeout: Duration,
    requests: u64,
}

/// One message of the router.
pub struct Told(Bytes);

impl Told {
    pub fn message(&self) -> Result<Message<'_>, Failure> {
        let limits = Limits { message_bytes_max: MESSAGE_BYTES_MAX, ..Limits::default() };
        let message = decode(&self.0, SPOKEN.format, &limits);
        Ok(message.context("the router sent what is no message")?)
    }
}

impl Connection {
    /// Connects and joins the realm.
    pub async fn open(&self) -> Result<Client, Failure> {
        let timeout = Duration::from_secs(self.timeout.max(1));
        let options = ClientOptions {
            ca_file: self.ca.clone(),
            insecure: self.insecure,
            subprotocol: SPOKEN.subprotocol().to_owned(),
            connect_timeout: timeout,
            ..ClientOptions::default()
        };
        let connected = weir_net::client::connect(&self.url, &options).await;
        let stream = connected.map_err(|error| Failure::Unreachable(format!("{}: {error}", self.url)))?;
        let mut client = Client { stream, read: BytesMut::new(), timeout, requests: 0 };
        client.say(&Message::Hello(self.hello())).await?;
        loop {
            let told = client.hear_soon().await?;
            match told.message()? {
                Message::Welcome(_) => return Ok(client),
                Message::Challenge(challenge) if challenge.method == "ticket" => {
                    client.say(&Message::Authenticate(self.answer())).await?;
                }
                Message::Abort(abort) => {
                    let said = abort.details.message.unwrap_or_default();
                    return Err(Failure::Refused(format!("{} {said}", abort.reason).trim_end().to_owned()));
                }
                other => return Err(unexpected(&other)),
            }
        }
    }

    fn hello(&self) -> Hello<'_> {
        let callee = [
            Feature::ProgressiveCallResults,
            Feature::CallCanceling,
            Feature::PatternBasedRegistration,
            Feature::SharedRegistration,
            Feature::RegistrationRevocation,
        ];
        let roles = Roles {
            publisher: Some(Role::default()),
            subscriber: Some(Role::with(&[Feature::PatternBasedSubscription])),
            caller: Some(Role::with(&[Feature::ProgressiveCallResults, Feature::CallTimeout])),
            callee: Some(Role::with(&callee)),
            ..Roles::default()
        };
        let method = if self.ticket.is_some() { "ticket" } else { "anonymous" };
        Hello {
            realm: Text::from(&*self.realm),
            details: HelloDetails {
                roles: Some(roles),
                agent: Some("weir".into()),
                authmethods: Some(vec![method.into()]),
                authid: self.authid.as_deref().map(Text::from),
                ..HelloDetails::default()
            },
        }
    }

    fn answer(&self) -> Authenticate<'_> {
        let ticket = self.ticket.as_deref().unwrap_or_default();
        Authenticate { signature: Secret(ticket.into()), extra: Raw::checked(Format::Json, b"{}") }
    }
}

impl Client {
    /// The next request id (session scope, from 1).
    pub fn next_request(&mut self) -> Id {
        loop {
            self.requests += 1;
            if let Some(id) = Id::new(self.requests) {
                return id;
            }
            self.requests = 0;
        }
    }

    pub async fn say(&mut self, message: &Message<'_>) -> Result<(), Failure> {
        let mut out = Vec::new();
        encode(&mut out, message, SPOKEN);
        self.stream.write_all(&out).await.context("cannot write to the router")?;
        Ok(self.stream.flush().await.context("cannot write to the router")?)
    }

    /// The next message, for as long as it takes.
    pub async fn hear(&mut self) -> Result<Told, Failure> {
        loop {
            if let Some(len) = self.read.first_chunk().map(|len| u32::from_be_bytes(*len) as usize) {
                if len > MESSAGE_BYTES_MAX {
                    return Err(anyhow!("the router sent a message of {len} bytes").into());
                }
                if self.read.len() >= 4 + len {
                    self.read.advance(4);
                    return Ok(Told(self.read.split_to(len).freeze()));
                }
            }
            let read = self.stream.read_buf(&mut self.read).await.context("cannot read from the router")?;
            if read == 0 {
                return Err(Failure::Unreachable("the router has closed the connection".to_owned()));
            }
        }
    }

    async fn hear_soon(&mut self) -> Result<Told, Failure> {
        let waited = self.timeout;
        let heard = tokio::time::timeout(waited, self.hear()).await;
        heard.map_err(|_| Failure::TimedOut(format!("no answer within {} s", waited.as_secs())))?
    }

    /// The next answer to a request.
    pub async fn hear_about(&mut self, kind: MessageType, request: Id) -> Result<Told, Failure> {
        loop {
            let told = match kind {
                MessageType::Call => self.hear().await?,
                _ => self.hear_soon().await?,
            };
            match told.message()? {
                Message::Error(error) if error.request_type == kind && error.request == request => {
                    let payload = super::values::told(&error.payload);
                    let message = format!("{} {payload}", error.error);
                    return Err(match &*error.error {
                        "wamp.error.no_such_procedure" => Failure::NotFound(message),
                        "wamp.error.timeout" => Failure::TimedOut(message),
                        _ => Failure::Refused(message),
                    });
                }
                Message::Result(result) if result.request == request => return Ok(told),
                Message::Registered(registered) if registered.request == request => return Ok(told),
                Message::Published(published) if published.request == request => return Ok(told),
                Message::Subscribed(subscribed) if subscribed.request == request => return Ok(told),
                Message::Goodbye(goodbye) => return Err(Failure::Refused(goodbye.reason.to_string())),
                Message::Abort(abort) => return Err(Failure::Refused(abort.reason.to_string())),
                _ => {}
            }
        }
    }

    /// Says goodbye and waits for the router's.
    pub async fn leave(mut self) -> Result<(), Failure> {
        let reason = "wamp.close.close_realm".into();
        self.say(&Message::Goodbye(Goodbye { details: CloseDetails::default(), reason })).await?;
        loop {
            let told = self.hear_soon().await?;
            if matches!(told.message()?, Message::Goodbye(_)) {
                return Ok(());
            }
        }
    }
}

fn unexpected(message: &Message<'_>) -> Failure {
    anyhow!("the router sent {} where nobody waits for it", message.message_type()).into()
}
