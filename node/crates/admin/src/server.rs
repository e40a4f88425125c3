//! The listener: connections by net, calls by tonic, and their end.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use metrics::counter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;
use weir_broker::Broker;
use weir_net::limits::{HalfOpen, Limits, Permit};
use weir_net::proxy::Trusted;
use weir_net::{AcceptError, BindError, Incoming, Kind, Listener, Stream, tls};

use crate::config::{Config, Security};
use crate::guard::{Gate, GuardLayer};
use crate::machine::Machine;
use crate::scope::{NotAScope, Scopes};
use crate::services::{self, Shared};
use crate::tokens::Tokens;

/// Connections that are through their handshake and wait for tonic; it takes them at once.
const WAITING_MAX: usize = 16;

/// How long the listener waits after an accept failed (mostly: no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a connection may take to answer a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Bytes of the headers of one call.
const HEADERS_BYTES_MAX: u32 = 32 << 10;

/// Where to listen, and with what.
pub struct Listen<'a> {
    pub address: SocketAddr,
    pub net: &'a weir_net::Config,
    /// Where a development certificate is made if none is configured, and tokens are if no file is.
    pub data_dir: &'a Path,
}

/// Why the listener was not opened.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("`admin.tls`: {0}")]
    Tls(#[from] tls::Error),
    #[error("`admin.certificate_scopes`: {0}")]
    Scope(#[from] NotAScope),
    #[error("the address of the listener cannot be read: {0}")]
    Address(io::Error),
    #[error("reflection does not start: {0}")]
    Reflection(String),
}

/// The open admin listener of a node.
pub struct Server {
    address: SocketAddr,
    shared: Shared,
    stopping: watch::Sender<bool>,
    accepts: AbortHandle,
    /// What looks at the files of certificates and tokens.
    watches: Vec<AbortHandle>,
    serves: JoinHandle<()>,
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    pub address: SocketAddr,
    /// Whether the listener is bound to a loopback address.
    pub local: bool,
    /// Verified by the TLS layer, in DER.
    pub certificate: Option<Arc<[u8]>>,
}

impl Server {
    /// Opens the listener.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(
        config: Config,
        listen: Listen<'_>,
        broker: Broker,
        machine: Arc<dyn Machine>,
    ) -> Result<Server, StartError> {
        for scopes in config.certificate_scopes.values() {
            Scopes::parse(scopes)?;
        }
        let tls = secure(&config, &listen)?;
        let kind = tls.clone().map_or(Kind::Tcp, Kind::Http2);
        let listener = Listener::bind(listen.address, kind, listen.net)?;
        let address = listener.local_addr().map_err(StartError::Address)?;
        if tls.is_none() && !address.ip().is_loopback() {
            tracing::warn!(%address, "tokens of administration travel in the clear (`admin.security` = plain)");
        }
        let path = config.tokens_file.clone().unwrap_or_else(|| listen.data_dir.join("admin-tokens.toml"));
        let tokens = Arc::new(Tokens::new(path));
        let (stopping, stopped) = watch::channel(false);
        let gate = Gate { config: config.clone(), machine: machine.clone(), tokens: tokens.clone() };
        let mut watches = vec![tokio::spawn(tokens.clone().mind()).abort_handle()];
        let shared = Shared::new(config.clone(), broker, machine, tokens, tls.clone(), stopped.clone());
        let routes = services::routes(shared.clone())
            .await
            .map_err(|error| StartError::Reflection(error.to_string()))?;
        let limits =
            weir_net::config::Limits { connections_max: config.connections_max, ..listen.net.limits.clone() };
        let limits = Arc::new(Limits::new(&limits, Trusted::new(Vec::new())));
        let (came, coming) = mpsc::channel(WAITING_MAX);
        let door = Arc::new(Door { local: address.ip().is_loopback(), listener, limits, came });
        let accepts = tokio::spawn(accept(door)).abort_handle();
        let interval = Duration::from_secs(config.tls.reload_seconds);
        let watched = tls.filter(|_| !interval.is_zero());
        watches.extend(watched.map(|tls| tokio::spawn(tls.watch(interval)).abort_handle()));
        let ping = Duration::from_secs(config.keep_alive_seconds);
        let mut server = tonic::transport::Server::builder()
            .max_concurrent_streams(config.calls_per_connection_max)
            .http2_max_header_list_size(HEADERS_BYTES_MAX)
            .http2_keepalive_interval((!ping.is_zero()).then_some(ping))
            .http2_keepalive_timeout(Some(PING_TIMEOUT))
            .layer(GuardLayer(Arc::new(gate)));
        let mut ends = stopped;
        let serves = tokio::spawn(async move {
            let end = async move {
                // An error: the server itself is gone.
                let _ = ends.wait_for(|stopping| *stopping).await;
            };
            let router = server.add_routes(routes);
            let served = router.serve_with_incoming_shutdown(ReceiverStream::new(coming), end).await;
            if let Err(error) = served {
                tracing::error!(%error, "administration has ended");
            }
        });
        Ok(Server { address, shared, stopping, accepts, watches, serves })
    }

    /// Where it listens, with the port it really has.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reads certificates and tokens again now; what could not be used. Blocks on the file system.
    #[must_use]
    pub fn reload(&self) -> Vec<String> {
        self.shared.reload()
    }

    /// Accepts nothing more, ends what streams, and waits for calls that are being answered, at most for `grace`.
    pub async fn stop(self, grace: Duration) {
        self.accepts.abort();
        self.watches.iter().for_each(AbortHandle::abort);
        self.stopping.send_replace(true);
        let end = self.serves.abort_handle();
        if tokio::time::timeout(grace, self.serves).await.is_err() {
            end.abort();
        }
    }
}

/// The TLS of the listener, if it has any.
fn secure(config: &Config, listen: &Listen<'_>) -> Result<Option<tls::ServerConfig>, StartError> {
    let is_secure = match config.security {
        Security::Plain => false,
        Security::Tls => true,
        Security::Auto => config.tls.certificate.is_some() || !listen.address.ip().is_loopback(),
    };
    if !is_secure {
        return Ok(None);
    }
    let settings = config.tls.or(&listen.net.tls);
    Ok(Some(tls::ServerConfig::load(&settings, listen.data_dir)?))
}

struct Door {
    local: bool,
    listener: Listener,
    limits: Arc<Limits>,
    came: mpsc::Sender<io::Result<Connection>>,
}

/// Accepts for ever; each handshake is a task of its own.
async fn accept(door: Arc<Door>) {
    loop {
        match door.listener.accept().await {
            Ok(incoming) => match door.limits.admit(incoming.peer.ip()) {
                Ok(half_open) => drop(tokio::spawn(welcome(door.clone(), incoming, half_open))),
                Err(refused) => refuse(refused.as_str()),
            },
            Err(AcceptError::Shed { .. }) => refuse("files"),
            Err(AcceptError::System { source }) => {
                tracing::debug!(error = %source, "administration accepts nothing");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn refuse(reason: &'static str) {
    counter!("weir_admin_connections_refused_total", "reason" => reason).increment(1);
}

async fn welcome(door: Arc<Door>, incoming: Incoming, mut half_open: HalfOpen) {
    let evicted = half_open.eviction();
    let established = tokio::select! {
        biased;
        established = incoming.establish() => established,
        () = evicted => return refuse("half_open"),
    };
    match established {
        Ok(established) => {
            let peer = Peer {
                address: established.peer,
                local: door.local,
                certificate: established.client_certificate.map(Arc::from),
            };
            let connection = Connection { stream: established.stream, peer, _permit: half_open.let_in() };
            // Nobody takes it any more: the node stops.
            let _ = door.came.send(Ok(connection)).await;
        }
        Err(error) => {
            refuse("handshake");
            tracing::debug!(%error, "a handshake failed");
        }
    }
}

/// One connection, counted as long as it lives.
struct Connection {
    stream: Stream,
    peer: Peer,
    _permit: Permit,
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
