//! Attacks on WebSocket framing (RFC 6455).

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use weir_testkit::{Node, PATIENCE};

use crate::frames::{V5, connect};
use crate::scene::{Scene, node};

/// A WebSocket after its handshake, frame by frame.
struct Socket(TcpStream);

impl Socket {
    /// Returns the server's answer in lower case, too.
    fn open(node: &Node, header: &str) -> (Socket, String) {
        let mut tcp = TcpStream::connect_timeout(&node.address("http"), PATIENCE).expect("a connection");
        tcp.set_read_timeout(Some(PATIENCE)).expect("a socket");
        tcp.set_write_timeout(Some(PATIENCE)).expect("a socket");
        let request = format!(
            "GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: mqtt\r\n{header}\r\n"
        );
        tcp.write_all(request.as_bytes()).expect("sent");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            tcp.read_exact(&mut byte).expect("an answer");
            answer.push(byte[0]);
        }
        let answer = String::from_utf8(answer).expect("text").to_lowercase();
        assert!(answer.starts_with("http/1.1 101 "), "{answer}");
        (Socket(tcp), answer)
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("sent");
    }

    /// The next frame: its first byte and its payload.
    fn frame(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).expect("a frame");
        assert!(head[1] < 126, "an unmasked, short frame");
        let mut payload = vec![0; head[1].into()];
        self.0.read_exact(&mut payload).expect("a payload");
        (head[0], payload)
    }

    /// The code of the close frame that must come next, and the end behind it.
    fn closed(mut self) -> u16 {
        let (first, payload) = self.frame();
        assert_eq!(first, 0x88, "a close frame");
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).expect("an end in order");
        assert_eq!(rest, b"");
        u16::from_be_bytes([payload[0], payload[1]])
    }
}

/// A frame of a client, masked with zeros.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len();
    let mut frame = vec![first];
    match u8::try_from(length) {
        Ok(short @ 0..126) => frame.push(0x80 | short),
        _ => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&u16::try_from(length).expect("a short frame").to_be_bytes());
        }
    }
    [&frame[..], &[0; 4], payload].concat()
}

/// The head of a masked binary frame that announces this many bytes.
fn announcing(bytes: u64) -> Vec<u8> {
    [&[0x82, 0xff][..], &bytes.to_be_bytes(), &[0; 4]].concat()
}

#[test]
fn a_length_with_the_top_bit_set_is_told_1002_and_a_huge_one_1009() {
    let scene = Scene::of(node());
    for _ in 0..100 {
        for (bytes, code) in [(1 << 63, 1002), (u64::MAX, 1002), (u64::MAX >> 1, 1009), (1 << 32, 1009)] {
            let (mut socket, _) = Socket::open(&scene.node, "");
            socket.send(&announcing(bytes));
            assert_eq!(socket.closed(), code, "{bytes:#x}");
        }
    }
    scene.survives(0);
}

#[test]
fn frames_that_are_only_announced_take_no_memory() {
    const ATTACKERS: usize = 200;
    let scene = Scene::of(node());
    let frame_bytes_max = 16 << 20;
    let mut attackers: Vec<_> = (0..ATTACKERS).map(|_| Socket::open(&scene.node, "").0).collect();
    for attacker in &mut attackers {
        attacker.send(&announcing(frame_bytes_max));
        attacker.send(&connect(V5, "")[..4]);
    }
    scene.serves_others();
    drop(attackers);
    scene.survives(ATTACKERS as u64 * (64 << 10));
}

#[test]
fn unmasked_frames_are_told_1002() {
    let scene = Scene::of(node());
    for _ in 0..100 {
        let (mut socket, _) = Socket::open(&scene.node, "");
        socket.send(&[0x82, 2, 0xC0, 0]);
        assert_eq!(socket.closed(), 1002);
    }
    scene.survives(0);
}

#[test]
fn offers_of_compression_are_declined_and_compressed_frames_told_1002() {
    let scene = Scene::of(node());
    let offers = [
        "Sec-WebSocket-Extensions: permessage-deflate\r\n",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-webkit-deflate-frame\r\n",
        "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n\
         Sec-WebSocket-Extensions: permessage-bzip2\r\n",
    ];
    for offer in offers {
        let (mut socket, answer) = Socket::open(&scene.node, offer);
        assert!(!answer.contains("extensions"), "{answer}");
        // RSV1: compressed.
        socket.send(&masked(0xC2, &connect(V5, "")));
        assert_eq!(socket.closed(), 1002);
    }
    scene.survives(0);
}

#[test]
fn endless_fragments_are_bytes_like_others_and_take_no_memory() {
    const FRAGMENTS: usize = 100_000;
    let scene = Scene::of(node());
    let mut attackers: Vec<_> = (0..4).map(|_| Socket::open(&scene.node, "").0).collect();
    let heap = masked(0x00, b"").repeat(1000);
    for attacker in &mut attackers {
        attacker.send(&masked(0x02, b""));
        (0..FRAGMENTS / 1000).for_each(|_| attacker.send(&heap));
    }
    scene.serves_others();
    for attacker in &mut attackers {
        for byte in connect(V5, "") {
            attacker.send(&masked(0x00, &[byte]));
        }
        let (first, connack) = attacker.frame();
        assert_eq!((first, connack[0], connack[3]), (0x82, 0x20, 0));
    }
    drop(attackers);
    scene.survives(0);
}

#[test]
fn pings_whose_pongs_nobody_reads_take_no_memory() {
    let scene = Scene::of(node());
    let (mut socket, _) = Socket::open(&scene.node, "");
    socket.send(&masked(0x82, &connect(V5, "pinger")));
    assert_eq!(socket.frame().1[3], 0);
    let heap = masked(0x89, &[b'p'; 125]).repeat(1000);
    socket.0.set_nonblocking(true).expect("a socket");
    let mut sent = 0;
    while sent < 64 << 20 {
        match socket.0.write(&heap[sent % heap.len()..]) {
            Ok(count) => sent += count,
            // It is read no further while its pongs wait.
            Err(_) => break,
        }
        if sent % (8 << 20) < heap.len() {
            scene.serves_others();
        }
    }
    scene.serves_others();
    drop(socket);
    scene.survives(0);
}
