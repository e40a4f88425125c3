//! The server's side of a WebSocket handshake (RFC 6455 section 4.2).

use std::net::SocketAddr;
use std::sync::OnceLock;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper::{Request, Response, StatusCode};
use tokio_tungstenite::tungstenite;
use tungstenite::error::ProtocolError;
use tungstenite::handshake::server::create_response;

use super::{Routes, refusal};

/// The one version there is (RFC 6455 section 4.1).
const VERSION: HeaderValue = HeaderValue::from_static("13");

/// What a client asks for when it opens a WebSocket.
#[derive(Debug)]
pub struct Handshake<'a> {
    /// The path, percent-encoded as sent.
    pub path: &'a str,
    /// The query, after the `?`.
    pub query: Option<&'a str>,
    /// The subprotocols offered, the client's favourite first.
    pub subprotocols: Vec<&'a str>,
    /// All headers of the request.
    pub headers: &'a HeaderMap,
}

/// What was agreed on.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    pub peer: SocketAddr,
    pub path: String,
    pub query: Option<String>,
    pub subprotocol: Option<String>,
}

/// Whether a request wants the connection to become a WebSocket.
pub(super) fn is_asked_for(headers: &HeaderMap) -> bool {
    tokens(headers, UPGRADE).any(|token| token.eq_ignore_ascii_case("websocket"))
}

/// Answers a handshake and notes what was agreed on if it succeeds.
pub(super) fn answer(
    request: Request<Incoming>,
    peer: SocketAddr,
    routes: &dyn Routes,
    chosen: &OnceLock<Chosen>,
) -> Response<Bytes> {
    let request = request.map(drop);
    let mut response = match create_response(&request) {
        Ok(response) => response.map(|()| Bytes::new()),
        Err(error) => return malformed(&error),
    };
    let handshake = Handshake {
        path: request.uri().path(),
        query: request.uri().query(),
        subprotocols: tokens(request.headers(), SEC_WEBSOCKET_PROTOCOL).collect(),
        headers: request.headers(),
    };
    let subprotocol = match routes.upgrade(&handshake) {
        Ok(subprotocol) => subprotocol,
        Err(status) => return refusal(status),
    };
    if let Some(name) = &subprotocol {
        match HeaderValue::from_str(name) {
            Ok(value) => response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, value),
            Err(_) => return refusal(StatusCode::INTERNAL_SERVER_ERROR),
        };
    }
    let path = handshake.path.to_owned();
    let query = handshake.query.map(str::to_owned);
    // A second handshake cannot come: the first one ends HTTP on the connection.
    let _ = chosen.set(Chosen { peer, path, query, subprotocol });
    response
}

fn malformed(error: &tungstenite::Error) -> Response<Bytes> {
    match error {
        tungstenite::Error::Protocol(ProtocolError::MissingSecWebSocketVersionHeader) => {
            let mut response = refusal(StatusCode::UPGRADE_REQUIRED);
            response.headers_mut().insert(SEC_WEBSOCKET_VERSION, VERSION);
            response
        }
        tungstenite::Error::Protocol(ProtocolError::WrongHttpMethod) => {
            refusal(StatusCode::METHOD_NOT_ALLOWED)
        }
        _ => refusal(StatusCode::BAD_REQUEST),
    }
}

/// The comma-separated values of a header that may stand several times.
fn tokens(headers: &HeaderMap, name: hyper::header::HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}
