//! What is to be sent: one bounded line per peer, whose task dials when there is something to say.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use weir_net::peer::{Alpn, PeerConnectError, PeerConnection, PeerEndpoint, StreamError};

use super::connections::Connections;
use super::intake::Intake;
use super::{dropped, passed};

/// Messages waiting for one peer; more are dropped.
const LINE_MESSAGES_MAX: usize = 64;
/// Peers with a line at once; messages to others are dropped until one falls idle.
const LINES_MAX: usize = 1024;
/// A line that had nothing to send for so long ends.
const LINE_IDLE: Duration = Duration::from_secs(30);
/// How long a peer that could not be reached is left alone.
const BACK_OFF: Duration = Duration::from_millis(300);
/// How long one message on a stream may take.
const STREAM_TIMEOUT: Duration = Duration::from_secs(2);

/// The lines to all peers; used by the gossip loop alone.
pub(super) struct Lines {
    lines: HashMap<SocketAddr, mpsc::Sender<Bytes>>,
    dialler: Dialler,
}

/// What a line needs to have a connection.
#[derive(Clone)]
struct Dialler {
    endpoint: PeerEndpoint,
    connections: Connections,
    intake: Intake,
}

/// One peer's line.
struct Line {
    peer: SocketAddr,
    dialler: Dialler,
    retry_at: Option<Instant>,
}

impl Lines {
    pub fn new(endpoint: PeerEndpoint, connections: Connections, intake: Intake) -> Self {
        Self { lines: HashMap::new(), dialler: Dialler { endpoint, connections, intake } }
    }

    /// Queues a message; drops it if there is no room.
    pub fn send(&mut self, to: SocketAddr, message: Bytes) {
        let message = match self.lines.get(&to).map(|line| line.try_send(message.clone())) {
            Some(Ok(())) => return,
            Some(Err(mpsc::error::TrySendError::Full(_))) => return dropped("line_full"),
            Some(Err(mpsc::error::TrySendError::Closed(message))) => message,
            None => message,
        };
        if self.lines.len() >= LINES_MAX {
            self.lines.retain(|_, line| !line.is_closed());
            if self.lines.len() >= LINES_MAX {
                return dropped("lines_full");
            }
        }
        let (sender, messages) = mpsc::channel(LINE_MESSAGES_MAX);
        // A new line has room for one.
        let _ = sender.try_send(message);
        self.lines.insert(to, sender);
        let line = Line { peer: to, dialler: self.dialler.clone(), retry_at: None };
        tokio::spawn(line.run(messages));
    }
}

impl Line {
    /// Sends until the line is dropped or idle.
    async fn run(mut self, mut messages: mpsc::Receiver<Bytes>) {
        while let Ok(Some(message)) = timeout(LINE_IDLE, messages.recv()).await {
            match self.connection().await {
                Some(connection) => deliver(&connection, message).await,
                None => dropped("unreachable"),
            }
        }
    }

    async fn connection(&mut self) -> Option<PeerConnection> {
        if let Some(open) = self.dialler.connections.get(self.peer) {
            self.retry_at = None;
            return Some(open);
        }
        let too_early = self.retry_at.is_some_and(|at| Instant::now() < at);
        if too_early || self.dialler.connections.is_shunned(self.peer) {
            return None;
        }
        match self.dialler.endpoint.connect(self.peer, Alpn::Gossip).await {
            Ok(connection) => {
                self.retry_at = None;
                self.dialler.intake.take(connection.clone()).then_some(connection)
            }
            Err(error) => {
                self.failed(&error);
                self.retry_at = Some(Instant::now() + BACK_OFF);
                None
            }
        }
    }

    /// The first failure in a row is told, the others are the same.
    fn failed(&self, error: &PeerConnectError) {
        if self.retry_at.is_none() {
            tracing::warn!(%error, "no gossip with a peer");
        }
    }
}

async fn deliver(connection: &PeerConnection, message: Bytes) {
    if message.len() <= connection.max_datagram() && connection.send_datagram(message.clone()).is_ok() {
        return passed("datagram");
    }
    match timeout(STREAM_TIMEOUT, stream(connection, message)).await {
        Ok(Ok(())) => passed("stream"),
        Ok(Err(_)) => dropped("connection_lost"),
        Err(_) => dropped("slow"),
    }
}

async fn stream(connection: &PeerConnection, message: Bytes) -> Result<(), StreamError> {
    let mut stream = connection.open_uni().await?;
    stream.write_chunk(message).await?;
    stream.finish()
}
