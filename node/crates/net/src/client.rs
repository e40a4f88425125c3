//! The connecting side of every transport.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use quinn::Endpoint;
use quinn::crypto::rustls::QuicClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};
use url::Url;

use crate::quic::{self, Quic};
use crate::ws::Ws;
use crate::{Config, Stream, Transport, config, tls};

mod handshake;
mod target;

use target::Target;

/// How to connect.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// PEM file with the authorities to trust; without it, the system's.
    pub ca_file: Option<PathBuf>,
    /// Trust any server certificate.
    pub insecure: bool,
    /// PEM file with the client's certificate chain.
    pub certificate: Option<PathBuf>,
    /// PEM file with the client's key.
    pub key: Option<PathBuf>,
    /// Protocols offered by ALPN over TLS; QUIC offers `mqtt` if there is none. Not used for WebSockets.
    pub alpn: Vec<String>,
    /// The WebSocket subprotocol asked for and insisted on; empty asks for none.
    pub subprotocol: String,
    /// The time for everything: name, connection, handshakes.
    pub connect_timeout: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            ca_file: None,
            insecure: false,
            certificate: None,
            key: None,
            alpn: Vec::new(),
            subprotocol: "mqtt".to_owned(),
            connect_timeout: Duration::from_secs(10),
        }
    }
}

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL's scheme is not a transport.
    #[error("scheme {scheme:?} is not one of mqtt, tcp, mqtts, ssl, ws, wss, quic")]
    Scheme { scheme: String },
    /// The URL names no host.
    #[error("no host in {url}")]
    Host { url: String },
    /// The host has no address.
    #[error("cannot resolve {host}: {source}")]
    Resolve { host: String, source: io::Error },
    /// Nobody listens there, or nobody can be reached.
    #[error("cannot connect to {address}: {source}")]
    Tcp { address: SocketAddr, source: io::Error },
    /// The time is over.
    #[error("not connected to {host} within {after_ms} ms")]
    Timeout { host: String, after_ms: u64 },
    /// The TLS settings of the options cannot be used.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The host's name cannot stand in a certificate.
    #[error("{host:?} is not a server name")]
    ServerName { host: String },
    /// The TLS handshake failed: often a certificate that is not trusted.
    #[error("tls handshake with {host} failed: {source}")]
    TlsHandshake { host: String, source: io::Error },
    /// The QUIC settings or address cannot be used.
    #[error("cannot start quic to {address}: {reason}")]
    QuicStart { address: SocketAddr, reason: String },
    /// The QUIC handshake failed.
    #[error("quic handshake with {address} failed: {source}")]
    Quic { address: SocketAddr, source: quinn::ConnectionError },
    /// The server answered the WebSocket handshake with another status than 101.
    #[error("the server refused the websocket with status {status}")]
    Refused { status: u16 },
    /// The server's answer to the WebSocket handshake was not one.
    #[error("websocket handshake failed: {reason}")]
    WebSocket { reason: String },
    /// The connection broke during the WebSocket handshake.
    #[error("connection lost during the websocket handshake: {source}")]
    Lost { source: io::Error },
}

/// Connects once. For many connections keep a [`Connector`], which reads its certificates once.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(url: &Url, options: &ClientOptions) -> Result<Stream, ConnectError> {
    Connector::new(options.clone()).connect(url).await
}

/// Connects by the same options any number of times.
#[derive(Debug)]
pub struct Connector {
    options: ClientOptions,
    tls: OnceLock<rustls::ClientConfig>,
}

impl Connector {
    /// Reads nothing yet: certificates are read by the first connection that needs them.
    #[must_use]
    pub fn new(options: ClientOptions) -> Self {
        Self { options, tls: OnceLock::new() }
    }

    /// Connects to `mqtt://` or `tcp://` (port 1883), `mqtts://` or `ssl://` (8883), `ws://` (80)
    /// or `wss://` (443), both with path `/mqtt` unless another is given, or `quic://` (14567).
    ///
    /// All addresses of the host are tried in turn. Writes may be kept until they are flushed.
    ///
    /// # Errors
    /// See [`ConnectError`]; of several addresses, the last one's.
    pub async fn connect(&self, url: &Url) -> Result<Stream, ConnectError> {
        let target = Target::from_url(url)?;
        let timeout = self.options.connect_timeout;
        match tokio::time::timeout(timeout, Box::pin(self.connect_to(&target))).await {
            Ok(connected) => connected,
            Err(_) => {
                let after_ms = timeout.as_millis() as u64;
                Err(ConnectError::Timeout { host: target.host, after_ms })
            }
        }
    }

    async fn connect_to(&self, target: &Target) -> Result<Stream, ConnectError> {
        let frame_bytes_max = Config::default().ws_frame_bytes_max;
        let addresses = target.resolve().await?;
        match target.transport {
            Transport::Quic => self.quic(target, &addresses).await,
            Transport::Tcp => Ok(Stream::Tcp(tcp(target, &addresses).await?)),
            Transport::Tls => {
                let tcp = tcp(target, &addresses).await?;
                let alpn: Vec<&str> = self.options.alpn.iter().map(String::as_str).collect();
                Ok(Stream::Tls(Box::new(self.tls(target, tcp, &alpn).await?)))
            }
            Transport::Ws => {
                let mut tcp = tcp(target, &addresses).await?;
                let early = handshake::open(&mut tcp, target, &self.options.subprotocol).await?;
                Ok(Stream::Ws(Box::new(Ws::client(tcp, early, frame_bytes_max))))
            }
            Transport::Wss => {
                let tcp = tcp(target, &addresses).await?;
                let mut tls = self.tls(target, tcp, &["http/1.1"]).await?;
                let early = handshake::open(&mut tls, target, &self.options.subprotocol).await?;
                Ok(Stream::Wss(Box::new(Ws::client(tls, early, frame_bytes_max))))
            }
        }
    }

    /// The TLS settings, read by the first who needs them.
    fn tls_config(&self, alpn: &[&str]) -> Result<rustls::ClientConfig, ConnectError> {
        let mut config = match self.tls.get() {
            Some(config) => config.clone(),
            None => {
                let config = tls::client_config(&self.options)?;
                self.tls.get_or_init(|| config).clone()
            }
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(config)
    }

    async fn tls(
        &self,
        target: &Target,
        tcp: TcpStream,
        alpn: &[&str],
    ) -> Result<TlsStream<TcpStream>, ConnectError> {
        let host = &target.host;
        let name = ServerName::try_from(host.clone())
            .map_err(|_| ConnectError::ServerName { host: host.clone() })?;
        let connector = TlsConnector::from(Arc::new(self.tls_config(alpn)?));
        let failed = |source| ConnectError::TlsHandshake { host: host.clone(), source };
        Ok(connector.connect(name, tcp).await.map_err(failed)?.into())
    }

    /// Tries each address for its share of the time: a port nobody listens on does not answer.
    async fn quic(&self, target: &Target, addresses: &[SocketAddr]) -> Result<Stream, ConnectError> {
        let share = self.options.connect_timeout / (addresses.len() as u32 + 1);
        let mut last = unreachable_host(target);
        for address in addresses {
            let attempt = self.quic_at(target, *address);
            match tokio::time::timeout(share, attempt).await {
                Ok(Ok(quic)) => return Ok(Stream::Quic(Box::new(quic))),
                Ok(Err(error)) => last = error,
                Err(_) => {
                    let source = quinn::ConnectionError::TimedOut;
                    last = ConnectError::Quic { address: *address, source };
                }
            }
        }
        Err(last)
    }

    async fn quic_at(&self, target: &Target, address: SocketAddr) -> Result<Quic, ConnectError> {
        let start = |reason: String| ConnectError::QuicStart { address, reason };
        let failed = |source| ConnectError::Quic { address, source };
        let alpn: Vec<&str> = self.options.alpn.iter().map(String::as_str).collect();
        let alpn = if alpn.is_empty() { vec!["mqtt"] } else { alpn };
        let crypto =
            QuicClientConfig::try_from(self.tls_config(&alpn)?).map_err(|error| start(error.to_string()))?;
        let mut client = quinn::ClientConfig::new(Arc::new(crypto));
        client.transport_config(Arc::new(quic::transport(&config::Quic::default())));
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let any = any.parse().map_err(|_| start("no local address".to_owned()))?;
        let endpoint = Endpoint::client(any).map_err(|error| start(error.to_string()))?;
        let connecting =
            endpoint.connect_with(client, address, &target.host).map_err(|error| start(error.to_string()))?;
        let connection = connecting.await.map_err(failed)?;
        let stream = connection.open_bi().await.map_err(failed)?;
        Ok(Quic::new(stream, connection, Some(endpoint)))
    }
}

async fn tcp(target: &Target, addresses: &[SocketAddr]) -> Result<TcpStream, ConnectError> {
    let mut last = unreachable_host(target);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Fails only on a socket that is gone already; its first read will say so.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(source) => last = ConnectError::Tcp { address: *address, source },
        }
    }
    Err(last)
}

fn unreachable_host(target: &Target) -> ConnectError {
    let source = io::Error::from(io::ErrorKind::AddrNotAvailable);
    ConnectError::Resolve { host: target.host.clone(), source }
}
