//! Server sockets: bind, accept, and the handshake that makes a stream of what was accepted.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use quinn::Endpoint;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::{Config, Stream, quic, tls};

/// An open server socket of one kind.
#[derive(Debug)]
pub struct Listener {
    socket: ServerSocket,
    handshake_timeout: Duration,
}

/// What a listener speaks below its messages.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Messages over plain TCP.
    Tcp,
    /// Messages over TLS 1.2 or 1.3.
    Tls(tls::ServerConfig),
    /// HTTP/1.1, WebSockets included: give the stream to [`crate::http::serve`].
    Http,
    /// HTTP/1.1 over TLS.
    Https(tls::ServerConfig),
    /// Messages over one bidirectional QUIC stream, chosen by ALPN; never in 0-RTT, which can be replayed.
    Quic(tls::ServerConfig),
}

enum ServerSocket {
    Tcp(TcpListener),
    Tls(TcpListener, TlsAcceptor),
    Quic(Endpoint),
}

/// A connection that was accepted and has had no handshake yet.
#[derive(Debug)]
pub struct Incoming {
    /// The client's address.
    pub peer: SocketAddr,
    accepted: Accepted,
    handshake_timeout: Duration,
}

enum Accepted {
    Tcp(TcpStream),
    Tls(TcpStream, TlsAcceptor),
    Quic(Box<quinn::Incoming>),
}

/// A connection after its handshake.
#[derive(Debug)]
pub struct Established {
    /// Its bytes.
    pub stream: Stream,
    /// The client's address.
    pub peer: SocketAddr,
    /// The protocol chosen by ALPN (RFC 7301), where the listener offers any.
    pub alpn: Option<Vec<u8>>,
    /// The client's verified certificate in DER, where one was asked for and given.
    pub client_certificate: Option<Vec<u8>>,
}

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address is taken, not ours, or not allowed.
    #[error("cannot listen on {address}: {source}")]
    Socket { address: SocketAddr, source: io::Error },
    /// The TLS settings cannot be used for QUIC.
    #[error("cannot use these tls settings for quic: {source}")]
    Quic { source: quinn::crypto::rustls::NoInitialCipherSuite },
}

/// Why an accepted connection came to nothing: the client's doing, all of it.
#[derive(Debug, thiserror::Error)]
pub enum EstablishError {
    /// It did not finish in time.
    #[error("no handshake within {after_ms} ms")]
    Timeout { after_ms: u64 },
    /// The TLS handshake failed.
    #[error("tls handshake failed: {source}")]
    Tls { source: io::Error },
    /// The QUIC handshake failed, or the connection ended before its stream was opened.
    #[error("quic handshake failed: {source}")]
    Quic { source: quinn::ConnectionError },
}

impl Listener {
    /// Opens a server socket; port 0 takes a free port. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The address cannot be bound, or the TLS settings do not fit QUIC.
    pub fn bind(address: SocketAddr, kind: Kind, config: &Config) -> Result<Self, BindError> {
        let tcp =
            || tcp_listener(address, config.backlog).map_err(|source| BindError::Socket { address, source });
        let socket = match kind {
            Kind::Tcp | Kind::Http => ServerSocket::Tcp(tcp()?),
            Kind::Tls(tls) => ServerSocket::Tls(tcp()?, tls.acceptor(&[])),
            Kind::Https(tls) => ServerSocket::Tls(tcp()?, tls.acceptor(&["http/1.1"])),
            Kind::Quic(tls) => {
                let tls = tls.with_alpn(&config.quic.alpn);
                ServerSocket::Quic(quic::bind(address, tls, &config.quic)?)
            }
        };
        Ok(Self { socket, handshake_timeout: config.handshake_timeout() })
    }

    /// The address it is bound to, with the port it really has.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.socket {
            ServerSocket::Tcp(listener) | ServerSocket::Tls(listener, _) => listener.local_addr(),
            ServerSocket::Quic(endpoint) => endpoint.local_addr(),
        }
    }

    /// Waits for the next connection. Cancel safe: no connection is lost.
    ///
    /// # Errors
    /// The system is short of something (file handles, memory): back off before the next call.
    /// Connections that were gone before they were accepted are passed over.
    pub async fn accept(&self) -> io::Result<Incoming> {
        let (accepted, peer) = match &self.socket {
            ServerSocket::Tcp(listener) => {
                let (stream, peer) = accept_tcp(listener).await?;
                (Accepted::Tcp(stream), peer)
            }
            ServerSocket::Tls(listener, acceptor) => {
                let (stream, peer) = accept_tcp(listener).await?;
                (Accepted::Tls(stream, acceptor.clone()), peer)
            }
            ServerSocket::Quic(endpoint) => {
                let closed = || io::Error::from(io::ErrorKind::NotConnected);
                let incoming = endpoint.accept().await.ok_or_else(closed)?;
                let peer = incoming.remote_address();
                (Accepted::Quic(Box::new(incoming)), peer)
            }
        };
        Ok(Incoming { peer, accepted, handshake_timeout: self.handshake_timeout })
    }
}

impl Drop for Listener {
    /// Established QUIC connections live on; new ones are refused instead of waiting for nobody.
    fn drop(&mut self) {
        if let ServerSocket::Quic(endpoint) = &self.socket {
            endpoint.set_server_config(None);
        }
    }
}

impl Incoming {
    /// Does the handshake of the transport, if it has one, within the configured time.
    ///
    /// For QUIC it also waits for the client's first bytes on its stream.
    ///
    /// # Errors
    /// The client failed the handshake or was too slow.
    pub async fn establish(self) -> Result<Established, EstablishError> {
        let Self { peer, accepted, handshake_timeout } = self;
        if let Accepted::Tcp(tcp) = accepted {
            let stream = Stream::Tcp(tcp);
            return Ok(Established { stream, peer, alpn: None, client_certificate: None });
        }
        let handshake = Box::pin(tokio::time::timeout(handshake_timeout, shake(accepted, peer)));
        handshake.await.unwrap_or_else(|_| {
            let after_ms = handshake_timeout.as_millis() as u64;
            Err(EstablishError::Timeout { after_ms })
        })
    }
}

async fn shake(accepted: Accepted, peer: SocketAddr) -> Result<Established, EstablishError> {
    match accepted {
        Accepted::Tcp(tcp) => {
            Ok(Established { stream: Stream::Tcp(tcp), peer, alpn: None, client_certificate: None })
        }
        Accepted::Tls(tcp, acceptor) => {
            let tls = acceptor.accept(tcp).await.map_err(|source| EstablishError::Tls { source })?;
            let (_, session) = tls.get_ref();
            let alpn = session.alpn_protocol().map(<[u8]>::to_vec);
            let leaf = session.peer_certificates().and_then(<[_]>::first);
            let client_certificate = leaf.map(|leaf| leaf.to_vec());
            let stream = Stream::Tls(Box::new(tls.into()));
            Ok(Established { stream, peer, alpn, client_certificate })
        }
        Accepted::Quic(incoming) => {
            let (quic, alpn, client_certificate) = quic::accept(*incoming).await?;
            let stream = Stream::Quic(Box::new(quic));
            Ok(Established { stream, peer, alpn, client_certificate })
        }
    }
}

fn tcp_listener(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog.try_into().unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

async fn accept_tcp(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Fails only on a socket that is gone already; its first read will say so.
                let _ = stream.set_nodelay(true);
                return Ok((stream, peer));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether an accept error concerns only the connection that was to be accepted (`accept(2)`).
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

impl std::fmt::Debug for ServerSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(listener) => f.debug_tuple("Tcp").field(listener).finish(),
            Self::Tls(listener, _) => f.debug_tuple("Tls").field(listener).finish_non_exhaustive(),
            Self::Quic(endpoint) => f.debug_tuple("Quic").field(endpoint).finish(),
        }
    }
}

impl std::fmt::Debug for Accepted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp(_) => "Tcp",
            Self::Tls(..) => "Tls",
            Self::Quic(_) => "Quic",
        })
    }
}
