//! The gateway of a node: its listeners, opened together and stopped together.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorRef};
use tokio::sync::mpsc;
use weir_broker::Broker;
use weir_broker::supervisor::{Slot, Supervise, Supervisor};
use weir_net::{BindError, Kind, Listener, tls};

use crate::config::Config;
use crate::http::Http;
pub use crate::http::Render;
use crate::listeners::{self, Door, ListenerMsg, Speaks};
use crate::mqtt::Shared;

/// Where to listen; `None` = closed.
#[derive(Debug, Clone, Default)]
pub struct Listen {
    pub mqtt: Option<SocketAddr>,
    pub mqtts: Option<SocketAddr>,
    pub http: Option<SocketAddr>,
    pub https: Option<SocketAddr>,
    pub quic: Option<SocketAddr>,
    /// Where a development certificate is made if none is configured.
    pub certificate_dir: PathBuf,
}

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Tls(#[from] tls::Error),
    #[error("the address of listener {listener} cannot be read: {source}")]
    Address { listener: &'static str, source: std::io::Error },
    #[error("a listener does not start: {0}")]
    Actors(#[from] ractor::SpawnErr),
}

/// The open listeners of a node.
pub struct Gateway {
    broker: Broker,
    addresses: Vec<(&'static str, SocketAddr)>,
    doors: Vec<Arc<Door>>,
    supervisor: ActorRef<Supervise>,
    open: Arc<AtomicBool>,
    ready: Arc<AtomicBool>,
    stopped: mpsc::Receiver<()>,
}

impl Gateway {
    /// Opens all listeners, or none.
    pub async fn start(
        broker: Broker,
        config: Config,
        net: weir_net::Config,
        listen: Listen,
        render: Render,
    ) -> Result<Gateway, StartError> {
        let wants_tls = [listen.mqtts, listen.https, listen.quic].iter().any(Option::is_some);
        let tls =
            wants_tls.then(|| tls::ServerConfig::load(&net.tls, &listen.certificate_dir)).transpose()?;
        let shared_net = Arc::new(net.clone());
        let (alive, stopped) = mpsc::channel(1);
        let (open, ready) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true)));
        let shared = Arc::new(Shared { broker: broker.clone(), config, linger: net.linger() });
        let http = Arc::new(Http { render, ready: ready.clone() });
        let secure = |kind: fn(tls::ServerConfig) -> Kind| tls.clone().map(kind);
        let wanted = [
            ("mqtt", listen.mqtt, Some(Kind::Tcp), Speaks::Mqtt),
            ("mqtts", listen.mqtts, secure(Kind::Tls), Speaks::Mqtt),
            ("http", listen.http, Some(Kind::Http), Speaks::Http),
            ("https", listen.https, secure(Kind::Https), Speaks::Http),
            ("quic", listen.quic, secure(Kind::Quic), Speaks::Mqtt),
        ];
        let (mut doors, mut addresses) = (Vec::new(), Vec::new());
        for (name, address, kind, speaks) in wanted {
            let (Some(address), Some(kind)) = (address, kind) else { continue };
            let listener = Listener::bind(address, kind, &net)?;
            let address =
                listener.local_addr().map_err(|source| StartError::Address { listener: name, source })?;
            addresses.push((name, address));
            doors.push(Arc::new(Door {
                name,
                speaks,
                listener,
                net: shared_net.clone(),
                shared: shared.clone(),
                http: http.clone(),
                open: open.clone(),
                alive: alive.clone(),
                slot: Slot::default(),
            }));
        }
        let children = doors.iter().cloned().map(listeners::child).collect();
        let (supervisor, _) = Actor::spawn(None, Supervisor, children).await?;
        Ok(Gateway { broker, addresses, doors, supervisor, open, ready, stopped })
    }

    /// The open listeners by name, with the ports they got.
    pub fn addresses(&self) -> Vec<(&'static str, SocketAddr)> {
        self.addresses.clone()
    }

    /// Makes a listener panic at its next connection, for the supervision tests.
    pub fn panic(&self, listener: &str) {
        for door in self.doors.iter().filter(|door| door.name == listener) {
            door.slot.cast(ListenerMsg::Panic);
        }
    }

    /// Stops accepting, says goodbye to every client, waits until they are gone or `grace` is over.
    /// Returns whether all went in time.
    pub async fn shutdown(mut self, grace: Duration) -> bool {
        self.open.store(false, Ordering::Release);
        self.ready.store(false, Ordering::Release);
        for child in self.supervisor.get_children() {
            child.unlink(self.supervisor.get_cell());
            child.kill();
        }
        self.supervisor.kill();
        drop(self.doors);
        self.broker.say_goodbye();
        tokio::time::timeout(grace, self.stopped.recv()).await.is_ok()
    }
}
