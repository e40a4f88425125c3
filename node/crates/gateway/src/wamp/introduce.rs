//! The first message of a client, whatever carries it: nothing knows of the client yet.

use std::time::Duration;

use metrics::counter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_net::{Stream, close_gracefully};
use weir_wire::wamp::rawsocket::{self, Frame, FrameType, HandshakeError, LengthClass};
use weir_wire::wamp::{Batching, Format, Serialization, batch};

use crate::mqtt::Shared;

/// How the messages of a connection come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoken {
    /// RawSocket, which begins with a handshake of its own.
    RawSocket,
    /// Agreed on already, by a WebSocket's subprotocol or by ALPN.
    Agreed(Serialization),
}

/// A client that has sent its first message.
pub struct Introduced {
    pub stream: Stream,
    pub serialization: Serialization,
    /// The longest message the client takes.
    pub peer_bytes_max: usize,
    pub first: Vec<u8>,
    /// What came behind it.
    pub rest: Vec<u8>,
}

/// Waits for the first message; `None` when none came, or too late. May be dropped at any time.
pub async fn first_message(shared: &Shared, mut stream: Stream, spoken: Spoken) -> Option<Introduced> {
    let patience = Duration::from_millis(shared.config.connect_timeout_ms);
    let what = match tokio::time::timeout(patience, introduce(shared, &mut stream, spoken)).await {
        Ok(Ok(came)) => {
            let Came { serialization, peer_bytes_max, first, rest } = came;
            return Some(Introduced { stream, serialization, peer_bytes_max, first, rest });
        }
        Ok(Err(what)) => what,
        Err(_) => "timeout",
    };
    counter!("weir_gateway_connects_refused_total").increment(1);
    tracing::debug!(what, "a connection was refused");
    close_gracefully(&mut stream, shared.linger).await;
    None
}

struct Came {
    serialization: Serialization,
    peer_bytes_max: usize,
    first: Vec<u8>,
    rest: Vec<u8>,
}

async fn introduce(shared: &Shared, stream: &mut Stream, spoken: Spoken) -> Result<Came, &'static str> {
    let mut bytes = Vec::new();
    let bytes_max = shared.config.wamp.message_bytes_max;
    let (serialization, peer_bytes_max) = match spoken {
        Spoken::Agreed(serialization) => (serialization, LengthClass::within(usize::MAX).bytes_max()),
        Spoken::RawSocket => shake_hands(stream, &mut bytes, bytes_max).await?,
    };
    loop {
        match rawsocket::read_frame(&bytes, bytes_max) {
            Ok(Some((Frame { kind: FrameType::Message, payload }, behind))) => {
                return split(payload, behind, serialization, peer_bytes_max);
            }
            Ok(Some(_)) => return Err("no message"),
            Ok(None) => read_some(stream, &mut bytes).await?,
            Err(_) => return Err("not a frame, or a message that is too long"),
        }
    }
}

/// The first message of the first frame, and the others of it as a frame of their own.
fn split(
    payload: &[u8],
    behind: &[u8],
    serialization: Serialization,
    peer_bytes_max: usize,
) -> Result<Came, &'static str> {
    let serialization = batch::heard(payload, serialization);
    let first = batch::messages(payload, serialization).next();
    let Some(Ok(first)) = first else { return Err("a broken batch") };
    let framing = match (serialization.batching, serialization.format) {
        (Batching::One, _) => 0,
        (_, Format::Json) => 1,
        _ => 4,
    };
    let others = &payload[(first.len() + framing).min(payload.len())..];
    let mut rest = Vec::new();
    if !others.is_empty() {
        let _ = rawsocket::append(&mut rest, FrameType::Message, others, usize::MAX);
    }
    rest.extend_from_slice(behind);
    Ok(Came { serialization, peer_bytes_max, first: first.to_vec(), rest })
}

/// The handshake of RawSocket; what is refused is told why.
async fn shake_hands(
    stream: &mut Stream,
    bytes: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<(Serialization, usize), &'static str> {
    let asked = loop {
        match rawsocket::read_request(bytes) {
            Ok(Some(asked)) => break asked,
            Ok(None) => read_some(stream, bytes).await?,
            Err(HandshakeError::Refused(refusal)) => {
                write(stream, &refusal.reply()).await?;
                return Err("a handshake that is refused");
            }
            Err(_) => return Err("no handshake of RawSocket"),
        }
    };
    bytes.drain(..rawsocket::HANDSHAKE_BYTES);
    let length = LengthClass::within(bytes_max);
    write(stream, &rawsocket::Handshake { length, format: asked.format }.bytes()).await?;
    Ok((Serialization { format: asked.format, batching: Batching::One }, asked.length.bytes_max()))
}

/// The next message while a session is being made; `rest` holds what has come.
pub async fn next_message(
    stream: &mut Stream,
    rest: &mut Vec<u8>,
    serialization: Serialization,
    bytes_max: usize,
) -> Result<Vec<u8>, &'static str> {
    loop {
        match rawsocket::read_frame(rest, bytes_max) {
            Ok(Some((Frame { kind: FrameType::Message, payload }, behind))) => {
                let came = split(payload, behind, serialization, 0)?;
                *rest = came.rest;
                return Ok(came.first);
            }
            Ok(Some(_)) => return Err("no message"),
            Ok(None) => read_some(stream, rest).await?,
            Err(_) => return Err("not a frame, or a message that is too long"),
        }
    }
}

pub async fn write(stream: &mut Stream, bytes: &[u8]) -> Result<(), &'static str> {
    let written = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    written.await.map_err(|_| "the socket failed")
}

async fn read_some(stream: &mut Stream, bytes: &mut Vec<u8>) -> Result<(), &'static str> {
    let mut buffer = [0; 2048];
    let read = stream.read(&mut buffer).await.map_err(|_| "the socket failed")?;
    if read == 0 {
        return Err("closed too early");
    }
    bytes.extend_from_slice(&buffer[..read]);
    Ok(())
}
