//! A client that says exactly what a test gives it, by RawSocket and JSON.

use std::io::{Read, Write};
use std::net::TcpStream;

use weir_testkit::{Node, PATIENCE};

pub const HELLO: &str = r#"[1,"default",{"roles":{"publisher":{}}}]"#;

/// A client by RawSocket and JSON.
pub struct Client(TcpStream);

impl Client {
    pub fn open(node: &Node) -> Client {
        Client::speaking(node, 1)
    }

    /// With the serialization of this number: 1 is JSON, 2 MessagePack, 3 CBOR.
    pub fn speaking(node: &Node, serialization: u8) -> Client {
        let mut stream = TcpStream::connect(node.address("wamp")).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("a socket");
        stream.write_all(&[0x7f, 0xf0 | serialization, 0, 0]).expect("a handshake");
        let mut reply = [0; 4];
        stream.read_exact(&mut reply).expect("a reply");
        assert_eq!((reply[0], reply[1] & 0x0f), (0x7f, serialization));
        Client(stream)
    }

    pub fn welcomed(node: &Node) -> Client {
        let mut client = Client::open(node);
        client.say(HELLO);
        assert!(client.hear().starts_with("[2,"));
        client
    }

    pub fn say(&mut self, message: &str) {
        self.say_bytes(message.as_bytes());
    }

    /// The bytes of a message, in a frame.
    pub fn say_bytes(&mut self, message: &[u8]) {
        let header = u32::try_from(message.len()).expect("a short message").to_be_bytes();
        self.0.write_all(&[&header, message].concat()).expect("written");
    }

    pub fn hear(&mut self) -> String {
        String::from_utf8(self.hear_bytes()).expect("text")
    }

    pub fn hear_bytes(&mut self) -> Vec<u8> {
        let mut header = [0; 4];
        self.0.read_exact(&mut header).expect("a frame");
        let mut message = vec![0; u32::from_be_bytes(header) as usize];
        self.0.read_exact(&mut message).expect("a message");
        message
    }

    /// What is said, and the answer, which must be the next that comes.
    pub fn ask(&mut self, message: &str) -> String {
        self.say(message);
        self.hear()
    }

    /// A second handle of the same connection, to speak and to hear at the same time.
    pub fn twin(&self) -> Client {
        Client(self.0.try_clone().expect("a handle"))
    }

    /// Bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("written");
    }

    /// Whether a handshake is answered with an error or nothing, and the connection ended.
    pub fn refused_handshake(node: &Node, handshake: [u8; 4]) -> bool {
        let mut stream = TcpStream::connect(node.address("wamp")).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.write_all(&handshake).expect("written");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an end");
        // An error has no serialization in its second byte, but a number above.
        answer.is_empty() || (answer.len() == 4 && answer[0] == 0x7f && answer[1] & 0x0f == 0)
    }

    /// The router has nothing more to say.
    pub fn ends_closed(mut self) -> bool {
        matches!(self.0.read(&mut [0]), Ok(0))
    }
}

/// The second number of a message, as the id in SUBSCRIBED.
pub fn second_id(message: &str) -> u64 {
    let id = message.trim_end_matches(']').split(',').nth(2).and_then(|id| id.parse().ok());
    id.unwrap_or_else(|| panic!("no id in {message}"))
}
