//! The listener: connections by net, calls by tonic, and their end.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic_health::server::HealthReporter;
use weir_broker::Broker;
use weir_net::limits::Limits;
use weir_net::proxy::Trusted;
use weir_net::{BindError, Kind, Listener, tls};

mod door;

use crate::config::{Config, Security};
use crate::guard::{Gate, GuardLayer};
use crate::machine::Machine;
use crate::scope::{NotAScope, Scopes};
use crate::services::{self, Shared};
use crate::tokens::Tokens;
pub use door::Peer;
use door::{Connection, Door};

/// Connections that are through their handshake and wait for tonic; it takes them at once.
const WAITING_MAX: usize = 16;

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

/// The listener of a node that is not there yet: health says NOT_SERVING to whoever asks, all else is answered
/// UNAVAILABLE. Dropped, it is closed.
pub struct Opening {
    address: SocketAddr,
    config: Config,
    tls: Option<tls::ServerConfig>,
    gate: Arc<Gate>,
    health: HealthReporter,
    tasks: Tasks,
}

/// The open admin listener of a node. Dropped without [`Server::stop`], its calls are cut.
pub struct Server {
    address: SocketAddr,
    shared: Shared,
    tasks: Tasks,
}

/// What runs as long as the listener is open; dropped, it ends as it is.
struct Tasks {
    stopping: watch::Sender<bool>,
    /// What accepts, and what looks at the files of certificates and tokens.
    others: Vec<AbortHandle>,
    /// Taken when it is waited for.
    serves: Option<JoinHandle<()>>,
}

impl Server {
    /// Opens the listener, before there is a node that could answer.
    ///
    /// # Errors
    /// The address, the certificates or a scope cannot be used.
    pub async fn open(config: Config, listen: Listen<'_>) -> Result<Opening, StartError> {
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
        let gate = Arc::new(Gate::new(config.clone(), Arc::new(Tokens::new(path))));
        let limits =
            weir_net::config::Limits { connections_max: config.connections_max, ..listen.net.limits.clone() };
        let limits = Arc::new(Limits::new(&limits, Trusted::new(Vec::new())));
        let (came, coming) = mpsc::channel(WAITING_MAX);
        let local = address.ip().is_loopback();
        let door = Arc::new(Door { local, listener, tls: tls.clone(), limits, came });
        let (stopping, stopped) = watch::channel(false);
        let mut others = vec![tokio::spawn(door.accept()), tokio::spawn(gate.tokens.clone().mind())];
        let interval = Duration::from_secs(config.tls.reload_seconds);
        let watched = tls.clone().filter(|_| !interval.is_zero());
        others.extend(watched.map(|tls| tokio::spawn(tls.watch(interval))));
        let (health, routes) = services::health().await;
        let serves = tokio::spawn(serve(&config, gate.clone(), routes, coming, stopped));
        let others = others.iter().map(JoinHandle::abort_handle).collect();
        let tasks = Tasks { stopping, others, serves: Some(serves) };
        tracing::info!(%address, "administration listens, the node starts");
        Ok(Opening { address, config, tls, gate, health, tasks })
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
    pub async fn stop(mut self, grace: Duration) {
        self.tasks.others.iter().for_each(AbortHandle::abort);
        self.tasks.stopping.send_replace(true);
        let Some(serves) = self.tasks.serves.take() else { return };
        let end = serves.abort_handle();
        if tokio::time::timeout(grace, serves).await.is_err() {
            end.abort();
        }
    }
}

impl Opening {
    /// The node is there: calls are answered from now on, and health says what `machine` says of itself.
    ///
    /// # Errors
    /// Reflection does not start.
    pub fn serve(self, broker: Broker, machine: Arc<dyn Machine>) -> Result<Server, StartError> {
        let Opening { address, config, tls, gate, health, tasks } = self;
        let stopped = || tasks.stopping.subscribe();
        let shared = Shared::new(config, broker, machine.clone(), gate.tokens.clone(), tls, stopped());
        let routes =
            services::routes(shared.clone()).map_err(|error| StartError::Reflection(error.to_string()))?;
        tokio::spawn(services::report(health, machine.ready(), stopped()));
        gate.opens(machine, routes);
        Ok(Server { address, shared, tasks })
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.others.iter().for_each(AbortHandle::abort);
        self.serves.iter().for_each(JoinHandle::abort);
    }
}

/// Answers calls until the node stops.
fn serve(
    config: &Config,
    gate: Arc<Gate>,
    routes: Routes,
    coming: mpsc::Receiver<io::Result<Connection>>,
    mut stopped: watch::Receiver<bool>,
) -> impl Future<Output = ()> + use<> {
    let ping = Duration::from_secs(config.keep_alive_seconds);
    let mut server = tonic::transport::Server::builder()
        .max_concurrent_streams(config.calls_per_connection_max)
        .http2_max_header_list_size(HEADERS_BYTES_MAX)
        .http2_keepalive_interval((!ping.is_zero()).then_some(ping))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .layer(GuardLayer(gate));
    async move {
        let end = async move {
            // An error: the server itself is gone.
            let _ = stopped.wait_for(|stopping| *stopping).await;
        };
        let router = server.add_routes(routes);
        let served = router.serve_with_incoming_shutdown(ReceiverStream::new(coming), end).await;
        if let Err(error) = served {
            tracing::error!(%error, "administration has ended");
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
