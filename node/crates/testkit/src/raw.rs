//! A connection that says exactly the bytes a test gives it, well formed or not.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::PATIENCE;

/// MQTT over TCP, byte by byte.
#[derive(Debug)]
pub struct RawMqtt {
    stream: TcpStream,
    /// Read and not yet asked for.
    pending: Vec<u8>,
}

/// How a peer closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// In order: everything it sent has arrived.
    Fin,
    /// Cut: what it sent last may be lost.
    Rst,
}

impl RawMqtt {
    /// # Panics
    /// Nobody listens there.
    #[must_use]
    pub fn connect(address: SocketAddr) -> RawMqtt {
        RawMqtt::try_connect(address).unwrap_or_else(|error| panic!("no connection to {address}: {error}"))
    }

    pub fn try_connect(address: SocketAddr) -> std::io::Result<RawMqtt> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        // With nobody listening a socket can connect to itself when it is given the port it asks for.
        if stream.local_addr()? == stream.peer_addr()? {
            return Err(ErrorKind::ConnectionRefused.into());
        }
        stream.set_nodelay(true)?;
        Ok(RawMqtt { stream, pending: Vec::new() })
    }

    /// Sends all of `bytes`, as one write if the socket takes it.
    ///
    /// # Panics
    /// The connection is gone.
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the connection takes bytes");
    }

    pub fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.set_write_timeout(Some(PATIENCE))?;
        self.stream.write_all(bytes)
    }

    /// Sends `bytes` one at a time.
    pub fn send_slowly(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.send(&[*byte]));
    }

    /// The next whole frame.
    ///
    /// # Panics
    /// The connection ended, or nothing came within [`PATIENCE`].
    pub fn frame(&mut self) -> Vec<u8> {
        self.frame_or_end().unwrap_or_else(|closed| panic!("closed ({closed:?}) instead of a frame"))
    }

    /// The next whole frame, or how the connection ended. Bytes of half a frame before the end are an end too.
    ///
    /// # Panics
    /// Nothing came within [`PATIENCE`].
    pub fn frame_or_end(&mut self) -> Result<Vec<u8>, Closed> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(length) = frame_length(&self.pending) {
                return Ok(self.pending.drain(..length).collect());
            }
            if let Some(closed) = self.fill(deadline) {
                return Err(closed);
            }
        }
    }

    /// The next whole frame if it comes this soon; `None` if it does not.
    ///
    /// # Errors
    /// How the connection ended.
    pub fn frame_within(&mut self, wait: Duration) -> Result<Option<Vec<u8>>, Closed> {
        let deadline = Instant::now() + wait;
        loop {
            if let Some(length) = frame_length(&self.pending) {
                return Ok(Some(self.pending.drain(..length).collect()));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            if let Some(closed) = self.read(left) {
                return Err(closed);
            }
        }
    }

    /// How the peer closed, after whatever it still sent.
    ///
    /// # Panics
    /// It did not close within [`PATIENCE`].
    pub fn end(&mut self) -> Closed {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(closed) = self.fill(deadline) {
                return closed;
            }
        }
    }

    /// How the peer closed, having sent nothing more.
    ///
    /// # Panics
    /// It sent something first, or did not close.
    pub fn end_without_a_word(&mut self) -> Closed {
        let closed = self.end();
        assert!(self.pending.is_empty(), "it said {:02x?} before it closed", self.pending);
        closed
    }

    /// Sends FIN and goes on reading.
    pub fn finish(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The socket, for options and for tests that do not read.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn fill(&mut self, deadline: Instant) -> Option<Closed> {
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "nothing came within {PATIENCE:?}; pending {:02x?}", self.pending);
        self.read(left)
    }

    fn read(&mut self, wait: Duration) -> Option<Closed> {
        self.stream.set_read_timeout(Some(wait)).expect("a read timeout");
        let mut buffer = [0; 64 << 10];
        match self.stream.read(&mut buffer) {
            Ok(0) => Some(Closed::Fin),
            Ok(count) => {
                self.pending.extend_from_slice(&buffer[..count]);
                None
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => None,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Some(Closed::Rst),
            Err(error) => panic!("reading failed: {error}"),
        }
    }
}

/// Bytes of the first frame, if all of them are here.
fn frame_length(bytes: &[u8]) -> Option<usize> {
    let mut length = 0;
    for (index, byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            let whole = index + 2 + length;
            return (bytes.len() >= whole).then_some(whole);
        }
    }
    None
}
