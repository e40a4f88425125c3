//! Connections on their way in: accepted, through their handshake, and handed to tonic with who is at the other end.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use metrics::counter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tonic::transport::server::Connected;
use weir_net::limits::{HalfOpen, Limits, Permit};
use weir_net::{AcceptError, Incoming, Listener, Stream, tls};

use crate::certificate::Shown;

/// How long the listener waits after an accept failed (mostly: no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    pub address: SocketAddr,
    /// Whether the listener is bound to a loopback address.
    pub local: bool,
    /// Where one was asked for and shown.
    pub certificate: Option<Arc<Shown>>,
}

pub struct Door {
    /// Whether the listener is bound to a loopback address.
    pub local: bool,
    pub listener: Listener,
    pub tls: Option<tls::ServerConfig>,
    pub limits: Arc<Limits>,
    /// Bounded; a handshake that is done waits for room.
    pub came: mpsc::Sender<io::Result<Connection>>,
}

impl Door {
    /// Accepts for ever; each handshake is a task of its own.
    pub async fn accept(self: Arc<Self>) {
        loop {
            match self.listener.accept().await {
                Ok(incoming) => match self.limits.admit(incoming.peer.ip()) {
                    Ok(half_open) => drop(tokio::spawn(self.clone().welcome(incoming, half_open))),
                    Err(refused) => refuse(refused.as_str()),
                },
                Err(AcceptError::Shed { .. }) => refuse("files"),
                Err(AcceptError::System { source }) => {
                    tracing::debug!(error = %source, "administration accepts nothing");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn welcome(self: Arc<Self>, incoming: Incoming, mut half_open: HalfOpen) {
        let evicted = half_open.eviction();
        let established = tokio::select! {
            biased;
            established = incoming.establish() => established,
            () = evicted => return refuse("half_open"),
        };
        match established {
            Ok(established) => {
                let shown = established.client_certificate.zip(self.tls.clone());
                let beside = established.client_authorities;
                let certificate = shown.map(|(leaf, tls)| Arc::new(Shown::new(leaf, beside, tls)));
                let peer = Peer { address: established.peer, local: self.local, certificate };
                let connection = Connection { stream: established.stream, peer, _permit: half_open.let_in() };
                // Nobody takes it any more: the node stops.
                let _ = self.came.send(Ok(connection)).await;
            }
            Err(error) => {
                refuse("handshake");
                tracing::debug!(%error, "a handshake failed");
            }
        }
    }
}

fn refuse(reason: &'static str) {
    counter!("weir_admin_connections_refused_total", "reason" => reason).increment(1);
}

/// One connection, counted as long as it lives.
pub struct Connection {
    stream: Stream,
    peer: Peer,
    _permit: Permit,
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
