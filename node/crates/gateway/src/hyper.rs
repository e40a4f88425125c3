//! Hyper, fox-wamp's own protocol, over any byte stream: LOGIN, then the channel, then goodbye.
//!
//! A session is one of WAMP's that speaks otherwise: what a client says becomes the message of WAMP that means the same,
//! what WAMP answers becomes Hyper's words for it. Events and calls have ways of their own, because a body is one value
//! here and a list of arguments there.

pub mod answers;
pub mod calls;
pub mod channel;
pub mod form;
pub mod inbound;
pub mod introduce;
pub mod login;
pub mod traces;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use metrics::counter;
use weir_broker::outbox::Bell;
use weir_model::Reason;
use weir_net::close_gracefully;

use crate::connection::{Connection, End};
use crate::mqtt::handshake::Peer;
use crate::mqtt::{Closer, Shared};
use crate::wamp::meta;
use channel::Hyper;
pub use introduce::Introduced;

/// A client after its LOGIN.
pub struct Client {
    connection: Connection<Hyper>,
    closer: Closer,
}

/// Takes a client in; `None` when it was refused or left.
pub async fn accept(shared: &Arc<Shared>, introduced: Introduced, peer: Peer) -> Option<Box<Client>> {
    let (connection, closer) = login::accept(shared, introduced, peer).await?;
    Some(Box::new(Client { connection, closer }))
}

impl Client {
    /// Serves it to its last byte. On the heap: tasks of other protocols are not to grow by it.
    pub fn run(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let end = self.connection.run().await;
            Box::pin(finish(self, end)).await;
        })
    }

    /// Lets it hear that the node stops.
    pub fn say_goodbye(&self) {
        self.connection.channel.wamp.publisher.session.outbox.ring(Bell::Shutdown);
    }
}

async fn finish(client: Box<Client>, end: End) {
    let Client { mut connection, closer } = *client;
    let shared = connection.channel.wamp.shared.clone();
    if end == End::Said {
        let patience = Duration::from_millis(shared.config.goodbye_timeout_ms);
        let words = async {
            if connection.finish_writing().await.is_ok() {
                close_gracefully(&mut connection.stream, shared.linger).await;
            }
        };
        let _ = tokio::time::timeout(patience + shared.linger.timeout, words).await;
    }
    let Connection { stream, channel, .. } = connection;
    drop(stream);
    let mut wamp = channel.wamp;
    wamp.rpc_end();
    wamp.publish_testaments();
    wamp.publisher.drain().await;
    let reason = wamp.ended.map_or("closed", Reason::as_str);
    counter!("weir_gateway_disconnects_total", "reason" => reason).increment(1);
    wamp.forget_subscriptions();
    closer.close(|_| {}).await;
    meta::left(&wamp).await;
}
