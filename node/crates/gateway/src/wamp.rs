//! WAMP v2 over any byte stream: HELLO, then the channel, then goodbye.
//!
//! The channel sees RawSocket frames whatever carries them: on a WebSocket `weir_net` tells messages apart that way. A
//! session is one of the directory's, called `wamp-<id>`, and publishes through the one door like all others.

pub mod authenticate;
pub mod catching;
pub mod channel;
pub mod config;
pub mod form;
pub mod handshake;
pub mod inbound;
pub mod introduce;
pub mod meta;
pub mod properties;
pub mod publish;
pub mod reading;
pub mod reason;
pub mod retained;
pub mod rpc;
pub mod subscribe;
pub mod subscriptions;
pub mod testament;

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
use channel::Wamp;
pub use introduce::Introduced;

/// A client after WELCOME.
pub struct Client {
    connection: Connection<Wamp>,
    closer: Closer,
}

/// Takes a client in; `None` when it was refused or left.
pub async fn accept(shared: &Arc<Shared>, introduced: Introduced, peer: Peer) -> Option<Box<Client>> {
    let (connection, closer) = handshake::accept(shared, introduced, peer).await?;
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
        self.connection.channel.publisher.session.outbox.ring(Bell::Shutdown);
    }
}

async fn finish(client: Box<Client>, end: End) {
    let Client { mut connection, closer } = *client;
    let shared = connection.channel.shared.clone();
    if end == End::Said {
        let patience = Duration::from_millis(shared.config.goodbye_timeout_ms);
        let words = async {
            if connection.finish_writing().await.is_ok() {
                close_gracefully(&mut connection.stream, shared.linger).await;
            }
        };
        let _ = tokio::time::timeout(patience + shared.linger.timeout, words).await;
    }
    let Connection { stream, mut channel, .. } = connection;
    drop(stream);
    channel.rpc_end();
    channel.publish_testaments();
    channel.publisher.drain().await;
    let reason = channel.ended.map_or("closed", Reason::as_str);
    counter!("weir_gateway_disconnects_total", "reason" => reason).increment(1);
    channel.forget_subscriptions();
    closer.close(|_| {}).await;
    meta::left(&channel).await;
}
