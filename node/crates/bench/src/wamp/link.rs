//! A connection of the generator: a WebSocket whose messages are read in place.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::frame;
use super::speech::Protocol;
use crate::Error;

/// What one read takes.
const READ_BYTES: usize = 64 << 10;

/// What a read takes before the load begins: thousands of connections are open at once.
const QUIET_READ_BYTES: usize = 2 << 10;

/// Any will do (RFC 6455, section 4.1): whoever answers is known.
const KEY: &str = "d2VpciBiZW5jaCBrZXkhIQ==";

/// Where a router takes WebSockets.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) address: SocketAddr,
    pub(super) path: &'static str,
}

/// One connection.
pub(super) struct Link {
    stream: TcpStream,
    buffer: Vec<u8>,
    peer: SocketAddr,
}

/// Its two sides, once the load begins.
pub(super) struct Ear {
    stream: OwnedReadHalf,
    buffer: Vec<u8>,
    peer: SocketAddr,
}

pub(super) struct Mouth {
    stream: OwnedWriteHalf,
    peer: SocketAddr,
}

impl Link {
    /// Connects and shakes hands.
    pub(super) async fn connect(place: &Place, protocol: Protocol) -> Result<Link, Error> {
        let address = place.address;
        let stream = TcpStream::connect(address).await.map_err(failed(address))?;
        stream.set_nodelay(true).map_err(failed(address))?;
        let mut link = Link { stream, buffer: Vec::new(), peer: address };
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {}\r\n\r\n",
            place.path,
            protocol.subprotocol()
        );
        link.stream.write_all(request.as_bytes()).await.map_err(failed(address))?;
        let head = loop {
            let end = link.buffer.windows(4).position(|window| window == b"\r\n\r\n");
            match end {
                Some(end) => break end,
                None => link.fill().await?,
            }
        };
        if !link.buffer.starts_with(b"HTTP/1.1 101") {
            return Err(link.unexpected(&link.buffer));
        }
        link.buffer.drain(..head + 4);
        Ok(link)
    }

    /// Sends one message.
    pub(super) async fn say(&mut self, kind: u8, payload: &[u8]) -> Result<(), Error> {
        let mut out = Vec::new();
        frame::append(&mut out, kind, payload);
        self.stream.write_all(&out).await.map_err(failed(self.peer))
    }

    /// Waits for one message, which has to begin so.
    pub(super) async fn hear(&mut self, beginning: &[u8]) -> Result<(), Error> {
        loop {
            if let Some((_, len, payload)) = frame::first(&self.buffer) {
                if !payload.starts_with(beginning) {
                    return Err(self.unexpected(payload));
                }
                self.buffer.drain(..len);
                return Ok(());
            }
            self.fill().await?;
        }
    }

    pub(super) fn split(self) -> (Ear, Mouth) {
        let (read, write) = self.stream.into_split();
        let peer = self.peer;
        (Ear { stream: read, buffer: self.buffer, peer }, Mouth { stream: write, peer })
    }

    async fn fill(&mut self) -> Result<(), Error> {
        let peer = self.peer;
        self.buffer.reserve_exact(QUIET_READ_BYTES);
        match self.stream.read_buf(&mut self.buffer).await.map_err(failed(peer))? {
            0 => Err(failed(peer)(io::ErrorKind::UnexpectedEof.into())),
            _ => Ok(()),
        }
    }

    fn unexpected(&self, said: &[u8]) -> Error {
        let said = String::from_utf8_lossy(&said[..said.len().min(200)]).into_owned();
        Error::Router { address: self.peer, reason: format!("it says {said}") }
    }
}

impl Ear {
    /// Reads once, and shows each message that is whole.
    ///
    /// # Errors
    ///
    /// The connection has ended.
    pub(super) async fn read(&mut self, mut each: impl FnMut(&[u8])) -> Result<(), Error> {
        self.buffer.reserve(READ_BYTES);
        let peer = self.peer;
        if self.stream.read_buf(&mut self.buffer).await.map_err(failed(peer))? == 0 {
            return Err(failed(peer)(io::ErrorKind::UnexpectedEof.into()));
        }
        let mut at = 0;
        while let Some((kind, len, payload)) = frame::first(&self.buffer[at..]) {
            match kind {
                frame::TEXT | frame::BINARY => each(payload),
                frame::CLOSE => return Err(failed(peer)(io::ErrorKind::ConnectionAborted.into())),
                _ => {}
            }
            at += len;
        }
        let rest = self.buffer.len() - at;
        self.buffer.copy_within(at.., 0);
        self.buffer.truncate(rest);
        Ok(())
    }
}

impl Mouth {
    /// Writes messages that are framed already.
    pub(super) async fn write(&mut self, frames: &[u8]) -> Result<(), Error> {
        self.stream.write_all(frames).await.map_err(failed(self.peer))
    }
}

fn failed(address: SocketAddr) -> impl FnOnce(io::Error) -> Error {
    move |error| Error::Router { address, reason: error.to_string() }
}
