//! Server sockets: bind, accept, and the handshake that makes a stream of what was accepted.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::Endpoint;
use rustls_pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;

mod tcp;

use crate::proxy::{self, HeaderError, Trusted};
use crate::quic::ServerOffer;
use crate::tls::Offer;
use crate::{Config, Stream, quic, tls};
use tcp::Socket;

/// An open server socket of one kind.
#[derive(Debug)]
pub struct Listener {
    socket: ServerSocket,
    handshake_timeout: Duration,
    /// Set when each connection begins with a PROXY protocol header of one of these.
    proxies: Option<Trusted>,
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
    /// HTTP/2 alone over TLS: gRPC. Without TLS it is [`Kind::Tcp`], as nothing is chosen there.
    Http2(tls::ServerConfig),
    /// Messages over one bidirectional QUIC stream, chosen by ALPN; never in 0-RTT, which can be replayed.
    Quic(tls::ServerConfig),
}

#[derive(Debug)]
enum ServerSocket {
    Tcp(Socket),
    Tls(Socket, Offer<Arc<rustls::ServerConfig>>),
    Quic(Endpoint, ServerOffer),
}

/// A connection that was accepted and has had no handshake yet.
#[derive(Debug)]
pub struct Incoming {
    /// The client's address; behind a proxy that announces its clients, the proxy's until [`Incoming::identify`].
    pub peer: SocketAddr,
    accepted: Accepted,
    handshake_timeout: Duration,
    /// When the handshake, with what comes before it, has to be done.
    deadline: Instant,
    proxies: Option<Trusted>,
}

enum Accepted {
    Tcp(TcpStream),
    Tls(TcpStream, TlsAcceptor),
    Quic(Box<quinn::Incoming>, Arc<quinn::ServerConfig>),
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
    /// What the client has sent beside it: of the authorities between it and one that is believed. In DER.
    pub client_authorities: Vec<Vec<u8>>,
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

/// Why no connection was accepted.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// No file descriptor was left; the client was told by closing its connection, with one kept for that.
    #[error("no file descriptor is left, a connection was closed at once: {source}")]
    Shed { source: io::Error },
    /// The system is short of something: back off before the next call.
    #[error("the system accepts nothing: {source}")]
    System { source: io::Error },
}

/// Why an accepted connection came to nothing: the client's doing, all of it.
#[derive(Debug, thiserror::Error)]
pub enum EstablishError {
    /// It did not finish in time.
    #[error("no handshake within {after_ms} ms")]
    Timeout { after_ms: u64 },
    /// Only trusted proxies may connect here, and this is none.
    #[error("{peer} is no trusted proxy")]
    Untrusted { peer: SocketAddr },
    /// A trusted proxy did not say for whom it connects.
    #[error(transparent)]
    ProxyHeader(#[from] HeaderError),
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
            || Socket::bind(address, config.backlog).map_err(|source| BindError::Socket { address, source });
        let socket = match kind {
            Kind::Tcp | Kind::Http => ServerSocket::Tcp(tcp()?),
            Kind::Tls(tls) => ServerSocket::Tls(tcp()?, tls.offer(&[])),
            Kind::Http2(tls) => ServerSocket::Tls(tcp()?, tls.offer(&["h2"])),
            Kind::Https(tls) => ServerSocket::Tls(tcp()?, tls.offer(&["http/1.1"])),
            Kind::Quic(tls) => {
                let (endpoint, offer) = quic::bind(address, &tls, &config.quic)?;
                ServerSocket::Quic(endpoint, offer)
            }
        };
        Ok(Self { socket, handshake_timeout: config.handshake_timeout(), proxies: None })
    }

    /// From now on takes connections only from these proxies, each with a PROXY protocol header first.
    /// QUIC knows none: there it changes nothing.
    #[must_use]
    pub fn behind(mut self, proxies: Trusted) -> Self {
        self.proxies = Some(proxies);
        self
    }

    /// The address it is bound to, with the port it really has.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.socket {
            ServerSocket::Tcp(socket) | ServerSocket::Tls(socket, _) => socket.local_addr(),
            ServerSocket::Quic(endpoint, _) => endpoint.local_addr(),
        }
    }

    /// Whether connections wait in the kernel while nobody accepts them: TCP's do, QUIC's do not.
    #[must_use]
    pub fn can_wait(&self) -> bool {
        !matches!(self.socket, ServerSocket::Quic(..))
    }

    /// Waits for the next connection. Cancel safe: no connection is lost.
    ///
    /// # Errors
    /// No file descriptor is left, or the system is short of something else. Connections that were
    /// gone before they were accepted are passed over.
    pub async fn accept(&self) -> Result<Incoming, AcceptError> {
        let (accepted, peer) = match &self.socket {
            ServerSocket::Tcp(socket) => {
                let (stream, peer) = socket.accept().await?;
                (Accepted::Tcp(stream), peer)
            }
            ServerSocket::Tls(socket, offer) => {
                let (stream, peer) = socket.accept().await?;
                (Accepted::Tls(stream, offer.current().into()), peer)
            }
            ServerSocket::Quic(endpoint, offer) => {
                let closed = || AcceptError::System { source: io::ErrorKind::NotConnected.into() };
                let incoming = endpoint.accept().await.ok_or_else(closed)?;
                let peer = incoming.remote_address();
                (Accepted::Quic(Box::new(incoming), offer.current()), peer)
            }
        };
        let handshake_timeout = self.handshake_timeout;
        let deadline = Instant::now() + handshake_timeout;
        Ok(Incoming { peer, accepted, handshake_timeout, deadline, proxies: self.proxies.clone() })
    }
}

impl Drop for Listener {
    /// Established QUIC connections live on; new ones are refused instead of waiting for nobody.
    fn drop(&mut self) {
        if let ServerSocket::Quic(endpoint, _) = &self.socket {
            endpoint.set_server_config(None);
        }
    }
}

impl Incoming {
    /// Asks a client whose address may be forged to prove that it hears us: a QUIC Retry (RFC 9000
    /// section 8.1.2). `None` = it was asked, and if it is real it comes again.
    #[must_use]
    pub fn challenge(mut self) -> Option<Self> {
        match self.accepted {
            Accepted::Quic(incoming, server) if !incoming.remote_address_validated() => {
                match incoming.retry() {
                    Ok(()) => None,
                    Err(error) => {
                        self.accepted = Accepted::Quic(Box::new(error.into_incoming()), server);
                        Some(self)
                    }
                }
            }
            _ => Some(self),
        }
    }

    /// Reads the PROXY protocol header, where the listener is behind proxies, and takes the client's
    /// address from it. To be called once, before [`Incoming::establish`].
    ///
    /// # Errors
    /// It is no trusted proxy, or it did not send a good header within the handshake's time.
    pub async fn identify(mut self) -> Result<Self, EstablishError> {
        let Some(proxies) = self.proxies.take() else { return Ok(self) };
        let (Accepted::Tcp(stream) | Accepted::Tls(stream, _)) = &mut self.accepted else { return Ok(self) };
        if !proxies.contains(self.peer.ip()) {
            return Err(EstablishError::Untrusted { peer: self.peer });
        }
        let read = timeout_at(self.deadline, proxy::read(stream)).await;
        if let Some(client) = read.map_err(|_| too_slow(self.handshake_timeout))?? {
            self.peer = client;
        }
        Ok(self)
    }

    /// Does the handshake of the transport, if it has one, within the configured time.
    ///
    /// For QUIC it also waits for the client's first bytes on its stream.
    ///
    /// # Errors
    /// The client failed the handshake or was too slow.
    pub async fn establish(self) -> Result<Established, EstablishError> {
        let Self { peer, accepted, handshake_timeout, deadline, .. } = self;
        if let Accepted::Tcp(tcp) = accepted {
            return Ok(Established::plain(tcp, peer));
        }
        let handshake = Box::pin(timeout_at(deadline, shake(accepted, peer)));
        handshake.await.unwrap_or_else(|_| Err(too_slow(handshake_timeout)))
    }
}

fn too_slow(after: Duration) -> EstablishError {
    EstablishError::Timeout { after_ms: after.as_millis() as u64 }
}

async fn shake(accepted: Accepted, peer: SocketAddr) -> Result<Established, EstablishError> {
    match accepted {
        Accepted::Tcp(tcp) => Ok(Established::plain(tcp, peer)),
        Accepted::Tls(tcp, acceptor) => {
            let tls = acceptor.accept(tcp).await.map_err(|source| EstablishError::Tls { source })?;
            let (_, session) = tls.get_ref();
            let alpn = session.alpn_protocol().map(<[u8]>::to_vec);
            let (client_certificate, client_authorities) = apart(session.peer_certificates());
            let stream = Stream::Tls(Box::new(tls.into()));
            Ok(Established { stream, peer, alpn, client_certificate, client_authorities })
        }
        Accepted::Quic(incoming, server) => {
            let (quic, alpn, chain) = quic::accept(*incoming, server).await?;
            let (client_certificate, client_authorities) = apart(chain.as_deref());
            let stream = Stream::Quic(Box::new(quic));
            Ok(Established { stream, peer, alpn, client_certificate, client_authorities })
        }
    }
}

impl Established {
    fn plain(tcp: TcpStream, peer: SocketAddr) -> Self {
        let (client_certificate, client_authorities) = (None, Vec::new());
        Self { stream: Stream::Tcp(tcp), peer, alpn: None, client_certificate, client_authorities }
    }
}

/// The leaf of a chain, and the others.
fn apart(chain: Option<&[CertificateDer<'_>]>) -> (Option<Vec<u8>>, Vec<Vec<u8>>) {
    let mut all = chain.unwrap_or_default().iter().map(|certificate| certificate.to_vec());
    (all.next(), all.collect())
}

impl std::fmt::Debug for Accepted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp(_) => "Tcp",
            Self::Tls(..) => "Tls",
            Self::Quic(..) => "Quic",
        })
    }
}
