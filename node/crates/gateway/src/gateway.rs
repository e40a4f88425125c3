//! The gateway of a node: its listeners, opened together and stopped together.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorRef};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use weir_broker::Broker;
use weir_broker::pressure::Level;
use weir_broker::supervisor::{Slot, Supervise, Supervisor};
use weir_net::limits::Limits;
use weir_net::proxy::Trusted;
use weir_net::{BindError, Kind, Listener, tls};

use crate::config::Config;
use crate::drain::{self, Drain, Elsewhere};
use crate::flapping::{Failures, Flapping};
use crate::health::LookAfter;
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
    /// RawSocket.
    pub wamp: Option<SocketAddr>,
    pub wamps: Option<SocketAddr>,
    /// fox-wamp's own protocol.
    pub hyper: Option<SocketAddr>,
    /// Where a development certificate is made if none is configured.
    pub certificate_dir: PathBuf,
}

impl Listen {
    /// The listeners there are to be, by name.
    fn wanted(
        &self,
        tls: Option<&tls::ServerConfig>,
    ) -> impl Iterator<Item = (&'static str, SocketAddr, Kind, Speaks)> {
        let secure = |kind: fn(tls::ServerConfig) -> Kind| tls.cloned().map(kind);
        let all = [
            ("mqtt", self.mqtt, Some(Kind::Tcp), Speaks::Mqtt),
            ("mqtts", self.mqtts, secure(Kind::Tls), Speaks::Mqtt),
            ("http", self.http, Some(Kind::Http), Speaks::Http),
            ("https", self.https, secure(Kind::Https), Speaks::Http),
            ("quic", self.quic, secure(Kind::Quic), Speaks::Quic),
            ("wamp", self.wamp, Some(Kind::Tcp), Speaks::Wamp),
            ("wamps", self.wamps, secure(Kind::Tls), Speaks::Wamp),
            ("hyper", self.hyper, Some(Kind::Tcp), Speaks::Hyper),
        ];
        all.into_iter().filter_map(|(name, address, kind, speaks)| Some((name, address?, kind?, speaks)))
    }
}

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Tls(#[from] tls::Error),
    #[error("`net.{key}` names the listener {name}, allowed are {allowed}")]
    NoSuchListener { key: &'static str, name: String, allowed: &'static str },
    #[error(
        "`net.{key}` believes nobody without `net.trusted_proxies`: name the networks of the proxies there"
    )]
    NobodyTrusted { key: &'static str },
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
    limits: Arc<Limits>,
    tls: Option<tls::ServerConfig>,
    /// Tasks that look after the listeners: memory, and the files of TLS.
    watches: Vec<AbortHandle>,
    open: Arc<AtomicBool>,
    ready: Arc<AtomicBool>,
    shared: Arc<Shared>,
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
        health: LookAfter,
    ) -> Result<Gateway, StartError> {
        check_proxies(&net)?;
        let wants_tls = [listen.mqtts, listen.https, listen.quic, listen.wamps].iter().any(Option::is_some);
        let tls =
            wants_tls.then(|| tls::ServerConfig::load(&net.tls, &listen.certificate_dir)).transpose()?;
        let shared_net = Arc::new(net.clone());
        let (alive, stopped) = mpsc::channel(1);
        let (open, ready) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true)));
        let flapping = Flapping::new(&config);
        let trusted = Trusted::new(net.trusted_proxies.clone());
        let failures = Failures::new(&config, trusted.clone());
        let limits = Arc::new(Limits::new(&net.limits, trusted.clone()));
        let linger = net.linger();
        let drain = Drain::default();
        let wamp_bytes_max = config.wamp.message_bytes_max;
        let shared = Arc::new(Shared { broker: broker.clone(), config, linger, flapping, failures, drain });
        let http =
            Arc::new(Http { render, health, ready: ready.clone(), limits: limits.clone(), wamp_bytes_max });
        let (mut doors, mut addresses) = (Vec::new(), Vec::new());
        for (name, address, kind, speaks) in listen.wanted(tls.as_ref()) {
            let mut listener = Listener::bind(address, kind, &net)?;
            if names(&net.proxy_protocol, name) {
                listener = listener.behind(trusted.clone());
            }
            let address =
                listener.local_addr().map_err(|source| StartError::Address { listener: name, source })?;
            addresses.push((name, address));
            doors.push(Arc::new(Door {
                name,
                speaks,
                local: address.ip().is_loopback(),
                listener,
                limits: limits.clone(),
                forwarded: names(&net.forwarded_for, name),
                exhausted: AtomicBool::new(false),
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
        let mut watches = vec![tokio::spawn(mind_pressure(broker.clone(), limits.clone())).abort_handle()];
        watches.push(crate::wamp::meta::events::begin(&broker));
        let interval = Duration::from_secs(net.tls.reload_seconds);
        if let Some(tls) = tls.clone().filter(|_| !interval.is_zero()) {
            watches.push(tokio::spawn(tls.watch(interval)).abort_handle());
        }
        Ok(Gateway {
            broker,
            addresses,
            doors,
            supervisor,
            limits,
            tls,
            watches,
            open,
            ready,
            shared,
            stopped,
        })
    }

    /// What all listeners ask before they let anybody near.
    pub fn limits(&self) -> Arc<Limits> {
        self.limits.clone()
    }

    /// Reads the certificates, keys and lists of TLS again now; says whether they have changed.
    ///
    /// # Errors
    /// What they say cannot be used; the old ones stay.
    pub async fn reload_tls(&self) -> Result<bool, tls::Error> {
        let Some(tls) = self.tls.clone() else { return Ok(false) };
        match tokio::task::spawn_blocking(move || tls.reload()).await {
            Ok(reloaded) => reloaded,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// What its TLS listeners share; `None` = there are none.
    pub fn tls(&self) -> Option<tls::ServerConfig> {
        self.tls.clone()
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

    /// Lets nobody new in from now on; who comes in all the same, and who is sent away, is told of another node.
    /// Health and metrics are answered until [`Gateway::shutdown`].
    pub fn close_doors(&self, elsewhere: Elsewhere) {
        self.shared.drain.begin(elsewhere);
        self.ready.store(false, Ordering::Release);
    }

    /// Tells every client to go, at most `per_second` of them in a second (0 = all at once); returns when all
    /// were told.
    pub async fn send_away(&self, per_second: u32) {
        drain::tell_all(&self.broker, per_second).await;
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
        self.watches.iter().for_each(AbortHandle::abort);
        drop(self.doors);
        drop(self.shared);
        self.broker.say_goodbye();
        tokio::time::timeout(grace, self.stopped.recv()).await.is_ok()
    }
}

/// Lets nobody new come while the node is short of memory.
async fn mind_pressure(broker: Broker, limits: Arc<Limits>) {
    let mut levels = broker.pressure().changes();
    loop {
        limits.pause(*levels.borrow_and_update() >= Level::StopAccepting);
        if levels.changed().await.is_err() {
            return;
        }
    }
}

fn names(listeners: &[String], name: &str) -> bool {
    listeners.iter().any(|listener| listener == name)
}

/// A listener that cannot be behind a proxy, or that believes nobody, is a mistake worth telling.
fn check_proxies(net: &weir_net::Config) -> Result<(), StartError> {
    let lists = [
        ("proxy_protocol", &net.proxy_protocol, "mqtt, mqtts, http, https, wamp, wamps, hyper"),
        ("forwarded_for", &net.forwarded_for, "http, https"),
    ];
    for (key, listeners, allowed) in lists {
        if let Some(name) = listeners.iter().find(|name| !allowed.split(", ").any(|is| is == name.as_str())) {
            return Err(StartError::NoSuchListener { key, name: name.clone(), allowed });
        }
        if !listeners.is_empty() && net.trusted_proxies.is_empty() {
            return Err(StartError::NobodyTrusted { key });
        }
    }
    Ok(())
}
