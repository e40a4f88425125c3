//! Listeners of every kind for the tests, each on a free port.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_net::client::{ClientOptions, connect};
use weir_net::http::{Handshake, Request, Response, Routes, StatusCode, serve};
use weir_net::tls::{ServerConfig, dev_certificate};
use weir_net::{Config, Established, Kind, Listener, Stream, Transport, close_gracefully};

/// A listener and what its clients need to trust it.
pub struct Server {
    pub listener: Listener,
    pub config: Config,
    pub transport: Transport,
    dir: TempDir,
}

impl Server {
    pub fn new(transport: Transport) -> Self {
        Self::with_config(transport, Config::default())
    }

    pub fn with_config(transport: Transport, config: Config) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let made = dev_certificate(dir.path()).expect("a certificate");
        let tls = ServerConfig::from_pem(&made.certificate, &made.key, None).expect("settings");
        let kind = match transport {
            Transport::Tcp => Kind::Tcp,
            Transport::Tls => Kind::Tls(tls),
            Transport::Ws => Kind::Http,
            Transport::Wss => Kind::Https(tls),
            Transport::Quic => Kind::Quic(tls),
        };
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::bind(any, kind, &config).expect("a listener");
        Self { listener, config, transport, dir }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("an address")
    }

    pub fn url(&self) -> String {
        let scheme = match self.transport {
            Transport::Tcp => "mqtt",
            Transport::Tls => "mqtts",
            Transport::Ws => "ws",
            Transport::Wss => "wss",
            Transport::Quic => "quic",
        };
        format!("{scheme}://localhost:{}", self.address().port())
    }

    pub fn options(&self) -> ClientOptions {
        let ca = dev_certificate(self.dir.path()).expect("a certificate").ca;
        ClientOptions { ca_file: Some(ca), ..ClientOptions::default() }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The next connection, up to where messages begin; `None` for an HTTP connection that stayed one.
    pub async fn next(&self) -> Option<Stream> {
        let incoming = self.listener.accept().await.expect("a connection");
        let Established { stream, peer, .. } = incoming.establish().await.expect("a handshake");
        if matches!(self.transport, Transport::Tcp | Transport::Tls | Transport::Quic) {
            return Some(stream);
        }
        let served = serve(stream, peer, None, Arc::new(Echo), &self.config).await;
        served.ok().flatten().map(|upgraded| upgraded.stream)
    }

    /// One connection from both ends. The client has sent one byte, which the server has read.
    pub async fn pair(&self) -> (Stream, Stream) {
        let url = self.url().parse().expect("a url");
        let options = self.options();
        let client = async {
            let mut client = connect(&url, &options).await.expect("connected");
            client.write_all(b".").await.expect("written");
            client.flush().await.expect("flushed");
            client
        };
        let server = async {
            let mut server = self.next().await.expect("a stream");
            assert_eq!(server.read_u8().await.expect("a byte"), b'.');
            server
        };
        tokio::join!(client, server)
    }

    /// Sends back all of one connection.
    pub async fn echo_once(&self) {
        let Some(mut stream) = self.next().await else { return };
        let mut buf = vec![0; 10_000];
        loop {
            match stream.read(&mut buf).await.expect("readable") {
                0 => break,
                read => {
                    stream.write_all(&buf[..read]).await.expect("written");
                    stream.flush().await.expect("flushed");
                }
            }
        }
        close_gracefully(&mut stream, self.config.linger()).await;
    }
}

/// Routes that answer with the request's body and open WebSockets on `/mqtt` for `mqtt`.
pub struct Echo;

impl Routes for Echo {
    fn route(&self, request: Request<bytes::Bytes>, _: SocketAddr) -> BoxFuture<'_, Response<bytes::Bytes>> {
        async move { Response::new(request.into_body()) }.boxed()
    }

    fn upgrade(&self, handshake: &Handshake<'_>) -> Result<Option<String>, StatusCode> {
        if handshake.path != "/mqtt" {
            return Err(StatusCode::NOT_FOUND);
        }
        match handshake.subprotocols.contains(&"mqtt") {
            true => Ok(Some("mqtt".to_owned())),
            false => Err(StatusCode::BAD_REQUEST),
        }
    }
}
