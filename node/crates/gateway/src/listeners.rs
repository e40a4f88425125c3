//! One actor per listener: accepts, and spawns a task per connection.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use metrics::counter;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::mpsc;
use tracing::Instrument as _;
use weir_broker::supervisor::{ChildSpec, Slot};
use weir_net::http::Routes;
use weir_net::limits::{HalfOpen, Limits, Permit, Refused};
use weir_net::{AcceptError, EstablishError, Incoming, Listener, Stream};
use weir_wire::wamp::Serialization;

use crate::http::Http;
use crate::hyper;
use crate::mqtt::{self, handshake::Peer};
use crate::wamp::{self, introduce::Spoken};

/// How long a listener waits after an accept failed (mostly: no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a listener's connections speak.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    Mqtt,
    /// RawSocket.
    Wamp,
    /// fox-wamp's own protocol.
    Hyper,
    /// What a WebSocket's subprotocol says.
    Http,
    /// What ALPN says.
    Quic,
}

impl Speaks {
    /// Whether connections are for clients alone: health and metrics are asked for by others.
    fn is_for_clients(self) -> bool {
        self != Speaks::Http
    }
}

/// One listener and what its connections share.
pub struct Door {
    pub name: &'static str,
    pub speaks: Speaks,
    /// Whether it is bound to a loopback address.
    pub local: bool,
    pub listener: Listener,
    pub limits: Arc<Limits>,
    /// Whether `X-Forwarded-For` is read here.
    pub forwarded: bool,
    /// Set while no file descriptor is left, so that this is logged once.
    pub exhausted: AtomicBool,
    pub net: Arc<weir_net::Config>,
    pub shared: Arc<mqtt::Shared>,
    pub http: Arc<Http>,
    /// Cleared when the node stops: nothing more is accepted.
    pub open: Arc<AtomicBool>,
    /// A clone in each connection's task; the node has stopped when the last is gone.
    pub alive: mpsc::Sender<()>,
    pub slot: Slot<ListenerMsg>,
}

pub struct ListenerActor;

pub enum ListenerMsg {
    Accept,
    Panic,
}

impl Actor for ListenerActor {
    type Msg = ListenerMsg;
    type State = Arc<Door>;
    type Arguments = Arc<Door>;

    async fn pre_start(
        &self,
        myself: ActorRef<ListenerMsg>,
        door: Arc<Door>,
    ) -> Result<Arc<Door>, ActorProcessingErr> {
        myself.send_message(ListenerMsg::Accept)?;
        Ok(door)
    }

    async fn handle(
        &self,
        myself: ActorRef<ListenerMsg>,
        message: ListenerMsg,
        door: &mut Arc<Door>,
    ) -> Result<(), ActorProcessingErr> {
        if matches!(message, ListenerMsg::Panic) {
            panic!("a fault test asked this listener to panic");
        }
        let accepted = tokio::select! {
            biased;
            // Whoever comes meanwhile waits in the kernel. QUIC's clients cannot, and are refused; HTTP is
            // for health and metrics too, and refuses WebSockets only.
            () = door.limits.paused(), if door.speaks.is_for_clients() && door.listener.can_wait() => {
                door.limits.resumed().await;
                None
            }
            accepted = door.listener.accept() => Some(accepted),
        };
        match accepted {
            None => {}
            Some(Ok(incoming)) => {
                door.exhausted.store(false, Ordering::Relaxed);
                greet(door, incoming);
            }
            Some(Err(error)) => not_accepted(door, &error).await,
        }
        myself.send_message(ListenerMsg::Accept)?;
        Ok(())
    }
}

async fn not_accepted(door: &Door, error: &AcceptError) {
    if !door.exhausted.swap(true, Ordering::Relaxed) {
        tracing::warn!(listener = door.name, %error, "connections cannot be accepted");
    }
    match error {
        AcceptError::Shed { .. } => count_refused(Refused::Files),
        AcceptError::System { .. } => {
            counter!("weir_gateway_accept_errors_total").increment(1);
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
}

pub(crate) fn count_refused(reason: Refused) {
    counter!("weir_gateway_connections_refused_total", "reason" => reason.as_str()).increment(1);
}

/// Asks the limits, and gives a connection that may stay a task of its own.
fn greet(door: &Arc<Door>, incoming: Incoming) {
    let is_draining = door.speaks.is_for_clients() && !door.http.ready.load(Ordering::Acquire);
    if is_draining || !door.open.load(Ordering::Acquire) {
        return;
    }
    if door.limits.is_paused() && !door.listener.can_wait() {
        return count_refused(Refused::Pressure);
    }
    let wary = door.limits.is_wary();
    let Some(incoming) = (if wary { incoming.challenge() } else { Some(incoming) }) else { return };
    let half_open = match door.limits.admit(incoming.peer.ip()) {
        Ok(half_open) => half_open,
        Err(reason) => return count_refused(reason),
    };
    let guest = Guest {
        name: door.name,
        speaks: door.speaks,
        local: door.local,
        forwarded: door.forwarded,
        net: door.net.clone(),
        shared: door.shared.clone(),
        http: door.http.clone(),
        alive: door.alive.downgrade(),
    };
    // On the heap, and gone when the client is let in: from there on the task is as small as can be.
    let welcome = Box::pin(welcome(guest, incoming, half_open));
    tokio::spawn(async move {
        let steady = AssertUnwindSafe(welcome).catch_unwind().await;
        let served = match steady {
            Ok(Some((client, _alive, _permit))) => AssertUnwindSafe(client.run()).catch_unwind().await,
            Ok(None) => Ok(()),
            Err(panic) => Err(panic),
        };
        if served.is_err() {
            counter!("weir_broker_actor_restarts_total", "kind" => "connection").increment(1);
            tracing::error!("a connection's task panicked; its client may connect again");
        }
    });
}

/// What a connection knows of its door until its client is let in. The node does not wait for those
/// who only stand there, nor for idle HTTP connections.
struct Guest {
    name: &'static str,
    speaks: Speaks,
    /// Whether it is bound to a loopback address.
    local: bool,
    /// Whether `X-Forwarded-For` is read here.
    forwarded: bool,
    net: Arc<weir_net::Config>,
    shared: Arc<mqtt::Shared>,
    http: Arc<Http>,
    alive: mpsc::WeakSender<()>,
}

/// A client that was let in, and what it holds of the node while it stays.
type LetIn = (Client, mpsc::Sender<()>, Permit);

/// A client of any protocol.
enum Client {
    Mqtt(Box<mqtt::Client>),
    Wamp(Box<wamp::Client>),
    Hyper(Box<hyper::Client>),
}

impl Client {
    /// Serves it to its last byte.
    async fn run(self) {
        match self {
            Client::Mqtt(client) => client.run().await,
            Client::Wamp(client) => client.run().await,
            Client::Hyper(client) => client.run().await,
        }
    }

    fn say_goodbye(&self) {
        match self {
            Client::Mqtt(client) => client.say_goodbye(),
            Client::Wamp(client) => client.say_goodbye(),
            Client::Hyper(client) => client.say_goodbye(),
        }
    }
}

/// What a connection has sent first.
enum First {
    Mqtt((Stream, Vec<u8>)),
    Wamp(Box<wamp::Introduced>),
    Hyper(Box<hyper::Introduced>),
}

/// Handshakes, up to letting a client in.
async fn welcome(guest: Guest, incoming: Incoming, mut half_open: HalfOpen) -> Option<LetIn> {
    let evicted = half_open.eviction();
    let (first, peer) = tokio::select! {
        biased;
        came = approach(&guest, incoming, &mut half_open) => came?,
        () = evicted => {
            count_refused(Refused::HalfOpen);
            return None;
        }
    };
    // From here on the node knows the client: whatever happens is carried to its end.
    let client = match first {
        First::Mqtt(first) => Client::Mqtt(mqtt::accept(&guest.shared, first, peer).await?),
        First::Wamp(first) => Client::Wamp(wamp::accept(&guest.shared, *first, peer).await?),
        First::Hyper(first) => Client::Hyper(hyper::accept(&guest.shared, *first, peer).await?),
    };
    if !guest.http.ready.load(Ordering::Acquire) {
        // The node began to stop or to drain in between, and this client was not there to be told.
        client.say_goodbye();
    }
    Some((client, guest.alive.upgrade()?, half_open.let_in()))
}

/// Who it is, and its first packet.
async fn approach(guest: &Guest, incoming: Incoming, half_open: &mut HalfOpen) -> Option<(First, Peer)> {
    let incoming = incoming.identify().await.map_err(|error| guest.failed(&error)).ok()?;
    guest.belongs(half_open, incoming.peer.ip())?;
    let established = incoming.establish().await.map_err(|error| guest.failed(&error)).ok()?;
    let mut peer = Peer {
        address: established.peer,
        listener: guest.name,
        local: guest.local,
        certificate: established.client_certificate.map(Arc::from),
    };
    let (stream, spoken) = match guest.speaks {
        Speaks::Mqtt | Speaks::Hyper => (established.stream, None),
        Speaks::Wamp => (established.stream, Some(Spoken::RawSocket)),
        Speaks::Quic => {
            let alpn = established.alpn.as_deref().and_then(|alpn| std::str::from_utf8(alpn).ok());
            (established.stream, agreed(alpn))
        }
        Speaks::Http => {
            let routes: Arc<dyn Routes> = guest.http.clone();
            let proxies = guest.forwarded.then(|| half_open.limits().trusted().clone());
            let served =
                weir_net::http::serve(established.stream, peer.address, proxies, routes, &guest.net).await;
            let upgraded = served
                .inspect_err(|error| tracing::debug!(%error, "an HTTP connection ended"))
                .ok()
                .flatten()?;
            guest.belongs(half_open, upgraded.peer.ip())?;
            peer.address = upgraded.peer;
            (upgraded.stream, agreed(upgraded.subprotocol.as_deref()))
        }
    };
    let span = mqtt::trace::connection(&peer.origin());
    let first = async {
        Some(match spoken {
            None if guest.speaks == Speaks::Hyper => {
                First::Hyper(Box::new(hyper::introduce::login(&guest.shared, stream).await?))
            }
            None => First::Mqtt(mqtt::handshake::first_packet(&guest.shared, stream).await?),
            Some(spoken) => {
                let introduced = wamp::introduce::first_message(&guest.shared, stream, spoken).await?;
                First::Wamp(Box::new(introduced))
            }
        })
    };
    Some((first.instrument(span).await?, peer))
}

/// How WAMP is spoken by the name of a protocol; `None` = it is not one of WAMP's.
fn agreed(protocol: Option<&str>) -> Option<Spoken> {
    Serialization::of_subprotocol(protocol?).map(Spoken::Agreed)
}

impl Guest {
    /// Counts the connection for its client's address; `None` = that is one too many.
    fn belongs(&self, half_open: &mut HalfOpen, client: IpAddr) -> Option<()> {
        half_open.belongs_to(client).map_err(count_refused).ok()
    }

    fn failed(&self, error: &EstablishError) {
        match error {
            EstablishError::Untrusted { .. } => count_refused(Refused::Untrusted),
            EstablishError::ProxyHeader(_) => count_refused(Refused::ProxyHeader),
            _ => counter!("weir_gateway_handshakes_failed_total", "listener" => self.name).increment(1),
        }
        tracing::debug!(listener = self.name, %error, "a handshake failed");
    }
}

/// How the supervisor starts a listener again.
pub fn child(door: Arc<Door>) -> ChildSpec {
    let start = move |supervisor| {
        let door = door.clone();
        let started = async move {
            let (actor, _) = Actor::spawn_linked(None, ListenerActor, door.clone(), supervisor).await?;
            door.slot.set(actor.clone());
            Ok(actor.get_cell())
        };
        Box::pin(started) as BoxFuture<'static, _>
    };
    ChildSpec { kind: "listener", start: Arc::new(start) }
}
