//! One bidirectional QUIC stream as a byte stream (RFC 9000).

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use quinn::crypto::rustls::{HandshakeData, QuicServerConfig};
use quinn::{Connection, ConnectionError, Endpoint, ReadError, RecvStream, SendStream, VarInt};
use rustls_pki_types::CertificateDer;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::config;
use crate::listener::{BindError, EstablishError};
use crate::tls::{self, Offer};

/// What the UDP socket of all connections may hold in the kernel, each way, where the system allows it.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// Clients that have said hello and wait to be accepted; more are refused by quinn.
const INCOMING_MAX: usize = 4096;
/// What is kept of what one of them sends meanwhile.
const INCOMING_BYTES: u64 = 16 << 10;
/// What is kept of all of them together.
const INCOMING_BYTES_TOTAL: u64 = 16 << 20;
/// The application error code for a connection that is done.
const DONE: VarInt = VarInt::from_u32(0);

/// A QUIC connection that carries one bidirectional stream.
#[derive(Debug)]
pub struct Quic {
    send: SendStream,
    recv: RecvStream,
    connection: Connection,
    finished: bool,
    /// A client's own endpoint, alive as long as its connection.
    endpoint: Option<Endpoint>,
}

impl Quic {
    pub(crate) fn new(
        (send, recv): (SendStream, RecvStream),
        connection: Connection,
        endpoint: Option<Endpoint>,
    ) -> Self {
        Self { send, recv, connection, finished: false, endpoint }
    }

    /// Waits until the peer has acknowledged all of a finished stream, or wants no more of it.
    pub(crate) async fn delivered(&self) {
        let _ = self.send.stopped().await;
    }

    /// Ends the connection; what is not delivered is lost.
    pub(crate) fn close(&self) {
        self.connection.close(DONE, b"");
    }
}

impl AsyncRead for Quic {
    /// Reads the stream; a peer that closed its whole connection as done has ended the stream too.
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match ready!(self.recv.poll_read_buf(cx, buf)) {
            Err(ReadError::ConnectionLost(ConnectionError::ApplicationClosed(close)))
                if close.error_code == DONE =>
            {
                Poll::Ready(Ok(()))
            }
            read => Poll::Ready(read.map_err(Into::into)),
        }
    }
}

impl AsyncWrite for Quic {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.send).poll_write(cx, buf).map_err(Into::into)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut taken = 0;
        for buf in bufs.iter().filter(|buf| !buf.is_empty()) {
            match self.as_mut().poll_write(cx, buf) {
                Poll::Ready(Ok(written)) => {
                    taken += written;
                    if written < buf.len() {
                        break;
                    }
                }
                Poll::Ready(Err(_)) | Poll::Pending if taken > 0 => break,
                stopped => return stopped,
            }
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Ends the sending side; [`crate::close_gracefully`] also waits for what was sent to arrive.
    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.finished {
            return Poll::Ready(Ok(()));
        }
        self.finished = true;
        Poll::Ready(self.send.finish().map_err(Into::into))
    }
}

/// The settings of a QUIC server as they are now.
pub(crate) type ServerOffer = Offer<Arc<quinn::ServerConfig>>;

/// Binds the one UDP socket of a QUIC listener. Its connections are to be accepted with what is on
/// offer at their time.
pub(crate) fn bind(
    address: SocketAddr,
    tls: &tls::ServerConfig,
    config: &config::Quic,
) -> Result<(Endpoint, ServerOffer), BindError> {
    let transport = Arc::new(transport(config));
    // One token key for all versions of the settings: a token outlives a change of certificates.
    let first = Arc::new(std::sync::OnceLock::<quinn::ServerConfig>::new());
    let make = move |tls: rustls::ServerConfig| {
        let crypto = Arc::new(QuicServerConfig::try_from(tls)?);
        let original = first.get_or_init(|| server(crypto.clone(), &transport));
        let mut server = original.clone();
        server.crypto = crypto;
        Ok(Arc::new(server))
    };
    let offer = Offer::new(tls.clone(), &config.alpn, make).map_err(|source| BindError::Quic { source })?;
    let server = (*offer.current()).clone();
    let endpoint = udp_socket(address)
        .and_then(|socket| {
            let runtime = Arc::new(quinn::TokioRuntime);
            Endpoint::new(quinn::EndpointConfig::default(), Some(server), socket, runtime)
        })
        .map_err(|source| BindError::Socket { address, source })?;
    Ok((endpoint, offer))
}

fn server(crypto: Arc<QuicServerConfig>, transport: &Arc<quinn::TransportConfig>) -> quinn::ServerConfig {
    let mut server = quinn::ServerConfig::with_crypto(crypto);
    server
        .transport_config(transport.clone())
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_BYTES)
        .incoming_buffer_size_total(INCOMING_BYTES_TOTAL);
    server
}

pub(crate) fn udp_socket(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    // Best effort: the system's own limit is lower on most machines.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// One bidirectional stream opened by the client, no other streams, no datagrams.
pub(crate) fn transport(config: &config::Quic) -> quinn::TransportConfig {
    let mut transport = quinn::TransportConfig::default();
    let keep_alive = Duration::from_millis(config.keep_alive_ms.into());
    transport
        .max_concurrent_bidi_streams(1u8.into())
        .max_concurrent_uni_streams(0u8.into())
        .datagram_receive_buffer_size(None)
        .stream_receive_window(config.receive_window_bytes.into())
        .receive_window(config.receive_window_bytes.into())
        .send_window(config.send_window_bytes.into())
        .max_idle_timeout(Some(VarInt::from_u32(config.idle_timeout_ms).into()))
        .keep_alive_interval((!keep_alive.is_zero()).then_some(keep_alive));
    transport
}

/// Completes the handshake and waits for the client's stream; says which protocol ALPN chose, and what certificates
/// the client has shown.
pub(crate) async fn accept(
    incoming: quinn::Incoming,
    server: Arc<quinn::ServerConfig>,
) -> Result<(Quic, Option<Vec<u8>>, Option<Vec<CertificateDer<'static>>>), EstablishError> {
    let failed = |source| EstablishError::Quic { source };
    // Never before the handshake is done: 0-RTT can be replayed.
    let connection = incoming.accept_with(server).map_err(failed)?.await.map_err(failed)?;
    let alpn = connection
        .handshake_data()
        .and_then(|data| data.downcast::<HandshakeData>().ok())
        .and_then(|data| data.protocol);
    let chain = connection.peer_identity().and_then(|identity| identity.downcast().ok()).map(|chain| *chain);
    let stream = connection.accept_bi().await.map_err(failed)?;
    Ok((Quic::new(stream, connection, None), alpn, chain))
}

impl Drop for Quic {
    /// Without [`crate::close_gracefully`] the connection is cut; a client's endpoint goes with it.
    fn drop(&mut self) {
        if let Some(endpoint) = self.endpoint.take() {
            endpoint.close(DONE, b"");
        }
    }
}
