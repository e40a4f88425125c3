//! The client's side of a WebSocket handshake (RFC 6455 section 4.1).

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite;
use tungstenite::handshake::client::{Response, generate_key, generate_request};
use tungstenite::handshake::derive_accept_key;
use tungstenite::handshake::machine::TryParse;
use tungstenite::http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL};
use tungstenite::http::{Request, StatusCode};

use super::ConnectError;
use super::target::Target;

/// The longest answer read before giving up.
const RESPONSE_BYTES_MAX: usize = 16 << 10;

/// Asks the server for a WebSocket; returns what it sent beyond its answer.
pub(super) async fn open<S>(io: &mut S, target: &Target, subprotocol: &str) -> Result<Vec<u8>, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let lost = |source| ConnectError::Lost { source };
    let (request, key) = request(target, subprotocol)?;
    io.write_all(&request).await.map_err(lost)?;
    io.flush().await.map_err(lost)?;
    let mut received = Vec::with_capacity(512);
    loop {
        let parsed = Response::try_parse(&received).map_err(failed)?;
        if let Some((length, response)) = parsed {
            check(&response, &key, subprotocol)?;
            return Ok(received.split_off(length));
        }
        if received.len() >= RESPONSE_BYTES_MAX {
            return Err(failed("the server's answer is too long"));
        }
        if io.read_buf(&mut received).await.map_err(lost)? == 0 {
            return Err(lost(std::io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

/// The request and the key in it.
fn request(target: &Target, subprotocol: &str) -> Result<(Vec<u8>, String), ConnectError> {
    let mut request = Request::get(&target.path)
        .header("Host", &target.authority)
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", generate_key());
    if !subprotocol.is_empty() {
        request = request.header(SEC_WEBSOCKET_PROTOCOL, subprotocol);
    }
    generate_request(request.body(()).map_err(failed)?).map_err(failed)
}

fn check(response: &Response, key: &str, subprotocol: &str) -> Result<(), ConnectError> {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(ConnectError::Refused { status: response.status().as_u16() });
    }
    let header = |name| response.headers().get(name).map(|value| value.as_bytes());
    if header(SEC_WEBSOCKET_ACCEPT) != Some(derive_accept_key(key.as_bytes()).as_bytes()) {
        return Err(failed("the server's accept key is wrong"));
    }
    if header(SEC_WEBSOCKET_PROTOCOL).unwrap_or_default() != subprotocol.as_bytes() {
        return Err(failed("the server does not speak the subprotocol asked for"));
    }
    Ok(())
}

fn failed(reason: impl std::fmt::Display) -> ConnectError {
    ConnectError::WebSocket { reason: reason.to_string() }
}
