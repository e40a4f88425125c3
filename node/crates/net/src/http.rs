//! HTTP/1.1 with limits and timeouts, up to the moment a connection becomes a WebSocket.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use crate::limited::Limit;
use crate::proxy::{self, Trusted};
use crate::ws::{Messages, Ws};
use crate::{Config, Stream, close_gracefully, config};

mod upgrade;

pub use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use upgrade::Chosen;
pub use upgrade::Handshake;

/// The least read buffer hyper can work with.
const BUFFER_BYTES_MIN: usize = 8 << 10;

/// What the server answers, by path: the one route table, implemented by the gateway.
pub trait Routes: Send + Sync + 'static {
    /// Answers a request, whose body is complete and within its limit.
    fn route(&self, request: Request<Bytes>, peer: SocketAddr) -> BoxFuture<'_, Response<Bytes>>;

    /// Decides whether a WebSocket may open: the subprotocol to speak, one of those offered or
    /// none, or the status to refuse it with (400 if no offered subprotocol is known, 404 if the
    /// path is not).
    ///
    /// # Errors
    /// The status of the refusal.
    fn upgrade(&self, handshake: &Handshake<'_>) -> Result<Option<String>, StatusCode>;

    /// Whether messages of a subprotocol are told apart, and which; `None` = what comes is bytes.
    fn messages(&self, subprotocol: Option<&str>) -> Option<Messages> {
        let _ = subprotocol;
        None
    }
}

/// A connection that has become a WebSocket.
#[derive(Debug)]
pub struct Upgraded {
    /// Its bytes: [`Stream::Ws`] or [`Stream::Wss`].
    pub stream: Stream,
    /// The client's address; one taken from `X-Forwarded-For` has port 0.
    pub peer: SocketAddr,
    /// The path it was opened on.
    pub path: String,
    /// The query it was opened with, after the `?`.
    pub query: Option<String>,
    /// The subprotocol agreed on.
    pub subprotocol: Option<String>,
}

/// Why an HTTP connection ended early. The client has been told where that was possible.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client did not speak HTTP, was too slow with its headers, or went away.
    #[error("http connection failed: {source}")]
    Connection { source: hyper::Error },
    /// The connection was too old and did not end when asked to.
    #[error("http connection cut after {after_ms} ms")]
    TooOld { after_ms: u64 },
    /// The stream is not one that HTTP can travel on.
    #[error("http over {transport} is not served")]
    Transport { transport: crate::Transport },
}

/// Serves requests on a TCP or TLS stream until it ends (`None`, closed gracefully) or becomes a WebSocket.
///
/// Everything HTTP needs is on the heap and gone when this returns, so a task that goes on with the
/// WebSocket is as small as any other. Who the client is, `peer` may say for others if it is one of
/// `proxies`: they are believed about `X-Forwarded-For`.
///
/// # Errors
/// The connection broke a limit or ended early; the stream is closed.
pub async fn serve(
    stream: Stream,
    peer: SocketAddr,
    proxies: Option<Trusted>,
    routes: Arc<dyn Routes>,
    config: &Config,
) -> Result<Option<Upgraded>, Error> {
    Box::pin(serve_boxed(stream, peer, proxies, routes, config)).await
}

async fn serve_boxed(
    stream: Stream,
    peer: SocketAddr,
    proxies: Option<Trusted>,
    routes: Arc<dyn Routes>,
    config: &Config,
) -> Result<Option<Upgraded>, Error> {
    let chosen = Arc::new(OnceLock::<Chosen>::new());
    let all_routes = Arc::clone(&routes);
    let exchange = Arc::new(Exchange {
        routes,
        peer,
        proxies,
        body_bytes_max: config.http.body_bytes_max,
        body_timeout: Duration::from_millis(config.http.body_timeout_ms),
        chosen: chosen.clone(),
    });
    let service = service_fn(move |request| {
        let exchange = exchange.clone();
        let answer: BoxFuture<'static, Result<_, Infallible>> =
            Box::pin(async move { Ok(exchange.answer(request).await.map(Full::new)) });
        answer
    });
    let mut connection = builder(&config.http).serve_connection(TokioIo::new(stream), service);
    let age_max = Duration::from_millis(config.http.connection_timeout_ms);
    let ended = tokio::select! {
        ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => ended,
        () = tokio::time::sleep(age_max) => {
            Limit::ConnectionTimeout.count();
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            let grace = Duration::from_millis(config.http.header_timeout_ms);
            let ending = poll_fn(|cx| connection.poll_without_shutdown(cx));
            let too_old = Error::TooOld { after_ms: config.http.connection_timeout_ms };
            tokio::time::timeout(grace, ending).await.map_err(|_| too_old)?
        }
    };
    let parts = connection.into_parts();
    let mut stream = parts.io.into_inner();
    if let Err(source) = ended {
        note_limit(&source);
        close_gracefully(&mut stream, config.linger()).await;
        return Err(Error::Connection { source });
    }
    match chosen.get() {
        Some(chosen) => {
            let early = parts.read_buf.to_vec();
            let messages = all_routes.messages(chosen.subprotocol.as_deref());
            let stream = websocket(stream, early, config.ws_frame_bytes_max, messages)?;
            let Chosen { peer, path, query, subprotocol } = chosen.clone();
            Ok(Some(Upgraded { stream, peer, path, query, subprotocol }))
        }
        None => {
            close_gracefully(&mut stream, config.linger()).await;
            Ok(None)
        }
    }
}

/// Counts the limit for which HTTP gave a connection up, if it was one.
fn note_limit(error: &hyper::Error) {
    if error.is_parse_too_large() {
        Limit::Headers.count();
    } else if error.is_timeout() {
        Limit::HeaderTimeout.count();
    }
}

fn builder(limits: &config::Http) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.header_timeout_ms))
        .max_headers(limits.headers_max)
        .max_header_size(limits.header_bytes_max)
        .max_buf_size(limits.header_bytes_max.max(BUFFER_BYTES_MIN));
    builder
}

fn websocket(
    stream: Stream,
    early: Vec<u8>,
    frame_bytes_max: u32,
    messages: Option<Messages>,
) -> Result<Stream, Error> {
    match stream {
        Stream::Tcp(tcp) => Ok(Stream::Ws(Box::new(opened(tcp, early, frame_bytes_max, messages)))),
        Stream::Tls(tls) => Ok(Stream::Wss(Box::new(opened(*tls, early, frame_bytes_max, messages)))),
        other => Err(Error::Transport { transport: other.transport() }),
    }
}

fn opened<S>(io: S, early: Vec<u8>, frame_bytes_max: u32, messages: Option<Messages>) -> Ws<S> {
    let ws = Ws::server(io, early, frame_bytes_max);
    match messages {
        Some(messages) => {
            ws.telling(Messages { bytes_max: messages.bytes_max.min(frame_bytes_max), ..messages })
        }
        None => ws,
    }
}

/// What the requests of one connection share.
struct Exchange {
    routes: Arc<dyn Routes>,
    peer: SocketAddr,
    /// Set where `X-Forwarded-For` is read.
    proxies: Option<Trusted>,
    body_bytes_max: usize,
    body_timeout: Duration,
    /// Set when the connection has been told that it is a WebSocket now.
    chosen: Arc<OnceLock<Chosen>>,
}

impl Exchange {
    async fn answer(&self, request: Request<Incoming>) -> Response<Bytes> {
        let client = match &self.proxies {
            Some(proxies) => proxy::client(self.peer, request.headers(), proxies),
            None => self.peer,
        };
        if upgrade::is_asked_for(request.headers()) {
            return upgrade::answer(request, client, &*self.routes, &self.chosen);
        }
        let (head, body) = request.into_parts();
        match self.body(body).await {
            Ok(body) => self.routes.route(Request::from_parts(head, body), client).await,
            Err(status) => {
                let mut response = refusal(status);
                response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
                response
            }
        }
    }

    async fn body(&self, body: Incoming) -> Result<Bytes, StatusCode> {
        if body.size_hint().lower() > self.body_bytes_max as u64 {
            return Err(beyond(Limit::BodyBytes, StatusCode::PAYLOAD_TOO_LARGE));
        }
        let read = Limited::new(body, self.body_bytes_max).collect();
        match tokio::time::timeout(self.body_timeout, read).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                Err(beyond(Limit::BodyBytes, StatusCode::PAYLOAD_TOO_LARGE))
            }
            Ok(Err(_)) => Err(StatusCode::BAD_REQUEST),
            Err(_) => Err(beyond(Limit::BodyTimeout, StatusCode::REQUEST_TIMEOUT)),
        }
    }
}

/// Counts the limit that a request broke; `status` says it to the client.
fn beyond(limit: Limit, status: StatusCode) -> StatusCode {
    limit.count();
    status
}

/// An answer that is its status, said once more in the body.
fn refusal(status: StatusCode) -> Response<Bytes> {
    let reason = status.canonical_reason().unwrap_or("refused");
    let mut response = Response::new(Bytes::from_static(reason.as_bytes()));
    *response.status_mut() = status;
    response
}
