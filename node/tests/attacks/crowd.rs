//! Many connections at once, none of which blocks the test.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use weir_testkit::{Node, PATIENCE, RawMqtt, eventually};

use super::frames::{V5, connect_with, frame, text};

/// Lets this test hold as many sockets as the system allows.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).expect("the soft limit may be raised");
}

/// A stream that never blocks.
pub struct Attacker(TcpStream);

impl Attacker {
    pub fn connect(address: SocketAddr) -> Attacker {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        stream.set_nonblocking(true).expect("a socket");
        Attacker(stream)
    }

    /// Sends what the socket takes; `None` = the node has closed.
    pub fn pour(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut sent = 0;
        while sent < bytes.len() {
            match self.0.write(&bytes[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return None,
            }
        }
        Some(sent)
    }

    /// Whether the node has closed; what it said goes to `said`.
    pub fn is_closed(&mut self, said: &mut Vec<u8>) -> bool {
        let mut buffer = [0; 4096];
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => return true,
                Ok(count) => said.extend_from_slice(&buffer[..count]),
                Err(error) => return error.kind() != ErrorKind::WouldBlock,
            }
        }
    }

    /// Waits until the node has closed; returns what it said.
    pub fn end(&mut self) -> Vec<u8> {
        let mut said = Vec::new();
        eventually("the node to close", || self.is_closed(&mut said).then_some(()));
        said
    }
}

/// A CONNECT with properties of any length, a clean start and no keep alive.
pub fn connect_long(flags: u8, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let body = [&text("MQTT")[..], &[V5, flags, 0, 0], &long(properties), payload].concat();
    frame(0x10, &body)
}

/// Properties of any length behind their length.
pub fn long(properties: &[u8]) -> Vec<u8> {
    // A frame is its first byte, a length and a body.
    frame(0, properties).split_off(1)
}

/// Connected with an id, flags and properties of one's choice.
pub fn enter(node: &Node, client_id: &str, flags: u8, properties: &[u8]) -> RawMqtt {
    let mut raw = RawMqtt::connect(node.address("mqtt"));
    raw.send(&connect_with("MQTT", V5, flags, properties, &text(client_id)));
    let connack = raw.frame();
    assert_eq!((connack[0], connack[3]), (0x20, 0), "{connack:02x?}");
    raw
}
