//! What stopped the original: each with others beside it, who notice nothing.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::scene::Scene;

/// An MQTT 3.1.1 CONNECT with a user name.
fn connect(username: &str) -> Vec<u8> {
    let id = "c1";
    let mut body = vec![0, 4];
    body.extend_from_slice(b"MQTT\x04\x82\x00\x3c");
    for text in [id, username] {
        body.extend_from_slice(&(text.len() as u16).to_be_bytes());
        body.extend_from_slice(text.as_bytes());
    }
    [vec![0x10, body.len() as u8], body].concat()
}

fn answer(scene: &Scene, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(scene.node.address("mqtt")).expect("it connects");
    socket.write_all(bytes).expect("it is written");
    let mut said = Vec::new();
    let _ = socket.read_to_end(&mut said);
    said
}

#[test]
fn a_realm_with_capitals_or_a_dash_is_refused_with_a_code_and_the_connection_closed() {
    let scene = Scene::new();
    for username in ["joe@REALM", "joe@re-alm", "joe@"] {
        assert_eq!(answer(&scene, &connect(username)), [0x20, 2, 0, 4], "{username}");
    }
    scene.run("mqtt.mjs");
}

#[test]
fn broken_packets_end_their_connection_alone() {
    let scene = Scene::new();
    let login = connect("joe@realm1");
    let broken: [&[u8]; 5] = [
        // A PUBLISH whose topic is longer than it.
        &[0x30, 4, 0, 200, b'a', b'b'],
        // QoS 3.
        &[0x36, 5, 0, 1, b'a', 0, 1],
        // A length that never ends.
        &[0x30, 0xff, 0xff, 0xff, 0xff],
        // SUBSCRIBE without a filter.
        &[0x82, 2, 0, 1],
        // A packet there is not.
        &[0x00, 0],
    ];
    for bytes in broken {
        let said = answer(&scene, &[&login[..], bytes].concat());
        assert_eq!(said, [0x20, 2, 0, 0], "{bytes:02x?}");
    }
    scene.run("bodies.mjs");
}
