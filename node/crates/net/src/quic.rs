//! One bidirectional QUIC stream as a byte stream (RFC 9000).

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use quinn::crypto::rustls::{HandshakeData, QuicServerConfig};
use quinn::{Connection, ConnectionError, Endpoint, ReadError, RecvStream, SendStream, VarInt};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::config;
use crate::listener::{BindError, EstablishError};

/// What the UDP socket of all connections may hold in the kernel, each way, where the system allows it.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
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

/// Binds the one UDP socket of a QUIC listener.
pub(crate) fn bind(
    address: SocketAddr,
    tls: rustls::ServerConfig,
    config: &config::Quic,
) -> Result<Endpoint, BindError> {
    let crypto = QuicServerConfig::try_from(tls).map_err(|source| BindError::Quic { source })?;
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    server.transport_config(Arc::new(transport(config)));
    udp_socket(address)
        .and_then(|socket| {
            let runtime = Arc::new(quinn::TokioRuntime);
            Endpoint::new(quinn::EndpointConfig::default(), Some(server), socket, runtime)
        })
        .map_err(|source| BindError::Socket { address, source })
}

fn udp_socket(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
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

/// Completes the handshake and waits for the client's stream; says which protocol ALPN chose.
pub(crate) async fn accept(
    incoming: quinn::Incoming,
) -> Result<(Quic, Option<Vec<u8>>, Option<Vec<u8>>), EstablishError> {
    let connection = incoming.await.map_err(|source| EstablishError::Quic { source })?;
    let alpn = connection
        .handshake_data()
        .and_then(|data| data.downcast::<HandshakeData>().ok())
        .and_then(|data| data.protocol);
    let certificate = connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<rustls_pki_types::CertificateDer>>().ok())
        .and_then(|chain| chain.first().map(|leaf| leaf.to_vec()));
    let stream = connection.accept_bi().await.map_err(|source| EstablishError::Quic { source })?;
    Ok((Quic::new(stream, connection, None), alpn, certificate))
}

impl Drop for Quic {
    /// Without [`crate::close_gracefully`] the connection is cut; a client's endpoint goes with it.
    fn drop(&mut self) {
        if let Some(endpoint) = self.endpoint.take() {
            endpoint.close(DONE, b"");
        }
    }
}
