//! One actor per listener: accepts, and spawns a task per connection.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use metrics::counter;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::mpsc;
use weir_broker::supervisor::{ChildSpec, Slot};
use weir_net::http::Routes;
use weir_net::{Incoming, Listener};

use crate::http::Http;
use crate::mqtt::{self, handshake::Peer};

/// How long a listener waits after an accept failed (mostly: no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a listener's connections speak.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    Mqtt,
    Http,
}

/// One listener and what its connections share.
pub struct Door {
    pub name: &'static str,
    pub speaks: Speaks,
    pub listener: Listener,
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
        match door.listener.accept().await {
            Ok(incoming) if door.open.load(Ordering::Acquire) => greet(door, incoming),
            Ok(refused) => drop(refused),
            Err(error) => {
                counter!("weir_gateway_accept_errors_total").increment(1);
                tracing::warn!(listener = door.name, %error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        myself.send_message(ListenerMsg::Accept)?;
        Ok(())
    }
}

fn greet(door: &Arc<Door>, incoming: Incoming) {
    let guest = Guest {
        name: door.name,
        speaks: door.speaks,
        net: door.net.clone(),
        shared: door.shared.clone(),
        http: door.http.clone(),
        open: door.open.clone(),
        alive: door.alive.downgrade(),
    };
    // On the heap, and gone when the client is let in: from there on the task is as small as can be.
    let welcome = Box::pin(welcome(guest, incoming));
    tokio::spawn(async move {
        let steady = AssertUnwindSafe(welcome).catch_unwind().await;
        let served = match steady {
            Ok(Some((client, _alive))) => AssertUnwindSafe(client.run()).catch_unwind().await,
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
    net: Arc<weir_net::Config>,
    shared: Arc<mqtt::Shared>,
    http: Arc<Http>,
    open: Arc<AtomicBool>,
    alive: mpsc::WeakSender<()>,
}

/// Handshakes, up to the client's CONNECT.
async fn welcome(guest: Guest, incoming: Incoming) -> Option<(Box<mqtt::Client>, mpsc::Sender<()>)> {
    let peer = Peer { address: incoming.peer, listener: guest.name };
    let stream = match incoming.establish().await {
        Ok(established) => established.stream,
        Err(error) => {
            counter!("weir_gateway_handshakes_failed_total", "listener" => guest.name).increment(1);
            tracing::debug!(listener = guest.name, %error, "a handshake failed");
            return None;
        }
    };
    let stream = match guest.speaks {
        Speaks::Mqtt => stream,
        Speaks::Http => {
            let routes: Arc<dyn Routes> = guest.http.clone();
            match weir_net::http::serve(stream, peer.address, routes, &guest.net).await {
                Ok(Some(upgraded)) => upgraded.stream,
                Ok(None) => return None,
                Err(error) => {
                    tracing::debug!(%error, "an HTTP connection ended");
                    return None;
                }
            }
        }
    };
    let client = mqtt::accept(&guest.shared, stream, peer).await?;
    if !guest.open.load(Ordering::Acquire) {
        // The node began to stop in between, and this client was not there to be told.
        client.say_goodbye();
    }
    Some((client, guest.alive.upgrade()?))
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
