//! Administration: sessions and subscriptions looked at and ended, here and, over the links, at other nodes.

mod abroad;
mod asking;
mod ending;
pub mod events;
mod farewell;
mod inquiry;
mod listing;
mod moving;
mod subscriptions;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use weir_model::Filter;
use weir_store::{Page, SessionKey, SessionKind, SubscriptionOptions};

use crate::broker::Broker;
use crate::session::Session;
pub use abroad::Everywhere;
pub(crate) use asking::heard;
pub use ending::EndError;
pub use events::{Event, EventKind, Events, Lost};
pub use farewell::Farewell;
pub use inquiry::Inquired;
pub use listing::{Listing, Place, Query};
pub use moving::{Order, Refusal as MoveRefusal, TOLD_WITHIN};
pub use subscriptions::{Subscribed, Subscribers, Wanted};

/// Subscriptions that are told of one session, and bytes of their filters.
const SUBSCRIPTIONS_MAX: usize = 1000;
const SUBSCRIPTIONS_BYTES_MAX: usize = 256 << 10;

/// Rows of a session's queue that are counted.
const QUEUED_MAX: usize = 10_000;

/// Rows read from a queue at a time, to be counted.
const QUEUED_PAGE: Page = Page { rows_max: 1000, bytes_max: 4 << 20 };

/// Where a session's connection is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum At {
    /// It has none.
    Nowhere,
    /// At the node that says so.
    Here,
    /// At the node of this name.
    Node(Arc<str>),
}

/// A session as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionInfo {
    pub realm: Arc<str>,
    pub client_id: Arc<str>,
    /// `None` = anonymous, or not known here.
    pub user_id: Option<Arc<str>>,
    pub at: At,
    pub persistent: bool,
    pub subscriptions: usize,
    /// Copies in memory for its connection.
    pub waiting: u64,
    /// Where its connection comes from, or came from last: address and port, listener.
    pub origin: Option<(String, String)>,
    /// 0 = it may be silent for ever.
    pub keep_alive_ms: u32,
}

/// A session with what it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    pub info: SessionInfo,
    /// In the order of their filters; the first [`SUBSCRIPTIONS_MAX`], or as many as 256 KiB hold.
    pub subscriptions: Vec<(Filter, SubscriptionOptions)>,
}

/// Messages in a session's queue in the store, as far as they were counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Queue {
    pub messages: usize,
    pub more: bool,
}

/// What administration needs to remember; a node has one.
#[derive(Default)]
pub struct Admin {
    /// What is heard by those who watch.
    pub events: Events,
    asks: asking::Asks,
    /// Who watches other nodes, and for whom this one is watched.
    abroad: abroad::Abroad,
    /// What is told to clients that are sent away.
    farewells: farewell::Farewells,
    /// Who was sent to another node of late, and by whose order.
    moves: moving::Moves,
    drain: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// What protocols do when other nodes ask.
    inquiries: inquiry::Inquiries,
}

impl Admin {
    /// What another node's administrator has done when the node is to drain. Only the first one counts.
    pub fn on_drain(&self, begin: impl Fn() + Send + Sync + 'static) {
        let _ = self.drain.set(Box::new(begin));
    }
}

impl SessionInfo {
    fn of(broker: &Broker, session: &Session) -> SessionInfo {
        let at = match session.home() {
            _ if session.is_online() => At::Here,
            Some(home) => At::Node(broker.node_name(home)),
            None => At::Nowhere,
        };
        let origin = session.origin().map(|from| {
            let address = std::net::SocketAddr::new(from.address, from.port);
            (address.to_string(), from.listener.to_owned())
        });
        SessionInfo {
            realm: session.key.realm.clone(),
            client_id: session.key.name.clone(),
            user_id: session.identity().and_then(|identity| identity.principal.user_id.clone()),
            at,
            persistent: session.stored.is_some(),
            subscriptions: session.subscription_count(),
            waiting: session.outbox.waiting(),
            origin,
            keep_alive_ms: session.keep_alive_ms(),
        }
    }
}

impl Details {
    fn of(broker: &Broker, session: &Session) -> Details {
        let mut subscriptions = session.subscriptions();
        subscriptions.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
        let mut bytes = 0;
        let fits = |(filter, _): &(Filter, SubscriptionOptions)| {
            bytes += filter.as_str().len();
            bytes <= SUBSCRIPTIONS_BYTES_MAX
        };
        let subscriptions = subscriptions.into_iter().take(SUBSCRIPTIONS_MAX).take_while(fits).collect();
        Details { info: SessionInfo::of(broker, session), subscriptions }
    }
}

impl Broker {
    /// The name of a node that has, or had, a lease or a link.
    pub fn node_name(&self, incarnation: u64) -> Arc<str> {
        if let Some(peer) = self.peers().of_incarnation(incarnation) {
            return Arc::from(peer.link.node_id().as_str());
        }
        let nodes = self.store().nodes();
        let node = nodes.iter().find(|node| node.incarnation == incarnation);
        node.map_or_else(|| Arc::from("unknown"), |node| node.node_id.clone())
    }

    /// Connected sessions by the incarnation of the node that has the connection, 0 = here; of other nodes those that
    /// are mirrored. Looks at every session.
    #[must_use]
    pub fn connected_by_node(&self) -> HashMap<u64, u64> {
        let mut counts = HashMap::new();
        self.sessions().each(&mut |session| {
            let home = if session.is_online() { Some(0) } else { session.home() };
            if let Some(home) = home {
                *counts.entry(home).or_insert(0) += 1;
            }
        });
        counts
    }

    /// A session of any node. One that ends with its connection is asked of the node that has it.
    ///
    /// # Errors
    /// [`EndError::Unknown`], or [`EndError::Unreachable`] when a node that may have it does not answer.
    pub async fn show_session(&self, realm: &Arc<str>, client_id: &Arc<str>) -> Result<Details, EndError> {
        let known = self.sessions().find(realm, client_id);
        let asked = match &known {
            Some(session) if session.is_online() || session.home().is_none() => None,
            _ => Some(self.ask_to_show(realm, client_id, known.as_deref().and_then(Session::home)).await),
        };
        match (asked, known) {
            (Some(Ok(details)), _) => Ok(details),
            // What the mirror knows is better than nothing.
            (_, Some(session)) => Ok(Details::of(self, &session)),
            (Some(Err(error)), None) => Err(error),
            (None, None) => Err(EndError::Unknown),
        }
    }

    /// How many messages lie in the store for a session of any node.
    ///
    /// # Errors
    /// [`EndError::Store`]: they cannot be read now.
    pub async fn count_queue(&self, realm: &Arc<str>, client_id: &Arc<str>) -> Result<Queue, EndError> {
        let (realm, name) = (realm.clone(), client_id.clone());
        let key = SessionKey { realm, kind: SessionKind::Client, name };
        let (mut queue, mut after) = (Queue::default(), 0);
        loop {
            let read = self.store().read_queue(key.clone(), after, QUEUED_PAGE);
            let rows = read.await.map_err(|error| EndError::Store { problem: error.to_string() })?;
            let Some(last) = rows.last() else { return Ok(queue) };
            after = last.number;
            queue.messages += rows.len();
            if queue.messages >= QUEUED_MAX {
                return Ok(Queue { messages: QUEUED_MAX, more: true });
            }
        }
    }
}
