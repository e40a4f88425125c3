//! MQTT 3.1, 3.1.1 and 5 over any byte stream: CONNECT, then the channel, then goodbye.

pub mod alias;
pub mod audit;
pub mod authenticate;
pub mod channel;
mod conditions;
pub mod config;
pub mod form;
pub mod handshake;
pub mod inbound;
pub mod last_seen;
pub mod outbound;
pub mod reading;
pub mod reason;
pub mod request;
pub mod stream;
pub mod subscribe;
pub mod trace;

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tracing::Instrument as _;
use weir_broker::Broker;
use weir_broker::outbox::Bell;
use weir_broker::session::directory::Closing;
use weir_model::Reason;
use weir_net::{Linger, Stream, close_gracefully};

use crate::config::Config;
use crate::connection::{Connection, End};
use crate::drain::Drain;
use crate::flapping::{Failures, Flapping};
use channel::Mqtt;
use handshake::Peer;

/// What every MQTT connection of a node shares.
pub struct Shared {
    pub broker: Broker,
    pub config: Config,
    pub linger: Linger,
    pub flapping: Flapping,
    pub failures: Failures,
    pub drain: Drain,
}

/// A client after CONNACK.
pub struct Client {
    connection: Connection<Mqtt>,
    closer: Closer,
}

/// Takes a client in; `None` when it was refused or left.
pub async fn accept(shared: &Arc<Shared>, first: (Stream, Vec<u8>), peer: Peer) -> Option<Box<Client>> {
    let span = trace::connection(&peer.origin());
    let (connection, closer) = handshake::accept(shared, first, peer).instrument(span).await?;
    Some(Box::new(Client { connection, closer }))
}

impl Client {
    /// Serves it to its last byte.
    pub async fn run(mut self: Box<Self>) {
        let end = self.connection.run().await;
        Box::pin(finish(self, end)).await;
    }

    /// Lets it hear that the node stops.
    pub fn say_goodbye(&self) {
        self.connection.channel.publisher.session.outbox.ring(Bell::Shutdown);
    }
}

/// Owes the directory the end of a connection, also when its task panics.
pub struct Closer {
    broker: Broker,
    closing: Option<Closing>,
}

impl Closer {
    pub fn new(broker: Broker, closing: Closing) -> Closer {
        Closer { broker, closing: Some(closing) }
    }

    pub async fn close(mut self, amend: impl FnOnce(&mut Closing)) {
        if let Some(mut closing) = self.closing.take() {
            amend(&mut closing);
            self.broker.sessions().close(closing).await;
        }
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        if let Some(closing) = self.closing.take() {
            let broker = self.broker.clone();
            tokio::spawn(async move { broker.sessions().close(closing).await });
        }
    }
}

async fn finish(client: Box<Client>, end: End) {
    let Client { mut connection, closer } = *client;
    let shared = connection.channel.config.clone();
    // Who said DISCONNECT finds everything as it left it once our side is closed too.
    if end == End::Said && connection.channel.ended.is_none() {
        leave(&shared, &mut connection.channel, closer).await;
        return last_words(&shared, &mut connection).await;
    }
    if end == End::Said {
        last_words(&shared, &mut connection).await;
    }
    let Connection { stream, mut channel, .. } = connection;
    drop(stream);
    leave(&shared, &mut channel, closer).await;
}

async fn last_words(shared: &Shared, connection: &mut Connection<Mqtt>) {
    let patience = Duration::from_millis(shared.config.goodbye_timeout_ms);
    let words = async {
        if connection.finish_writing().await.is_ok() {
            close_gracefully(&mut connection.stream, shared.linger).await;
        }
    };
    let _ = tokio::time::timeout(patience + shared.linger.timeout, words).await;
}

/// Ends the connection's side of its session.
async fn leave(shared: &Shared, channel: &mut Mqtt, closer: Closer) {
    channel.publisher.drain().await;
    let reason = channel.ended.map_or("closed", Reason::as_str);
    counter!("weir_gateway_disconnects_total", "reason" => reason).increment(1);
    trace::session(&channel.publisher.session, channel.version)
        .in_scope(|| tracing::debug!(reason, "disconnected"));
    let goodbye = channel.goodbye();
    closer
        .close(|closing| {
            closing.will = goodbye.will;
            closing.expiry_seconds = goodbye.expiry_seconds;
            closing.sent = goodbye.sent;
        })
        .await;
    let (realm, session) = (&channel.publisher.realm, &channel.publisher.session);
    shared.broker.take_back(realm, session, goodbye.held);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An idle client costs its task, and the task is mostly this.
    #[test]
    fn a_steady_connection_is_small() {
        fn size<F: Future>(_: fn(Box<Client>) -> F) -> usize {
            size_of::<F>()
        }
        // Debug builds carry a word more per socket.
        let debug = if cfg!(debug_assertions) { 32 } else { 0 };
        let steady = size_of::<Client>() + size(Client::run);
        assert!(steady <= 600 + debug, "{} + {} bytes", size_of::<Client>(), size(Client::run));
    }
}
