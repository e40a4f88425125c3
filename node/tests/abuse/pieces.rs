//! Good packets in pieces and in heaps.

use weir_testkit::{Node, RawMqtt};

use super::frames::{V5, V311, connect, frame, publish, subscribe};

const MESSAGES: usize = 300;

#[test]
fn packets_may_come_one_byte_at_a_time() {
    let node = Node::of(env!("CARGO_BIN_EXE_weir")).store("memory").listen("http").start();
    for level in [V311, V5] {
        let mut raw = RawMqtt::connect(node.address("mqtt"));
        raw.send_slowly(&connect(level, "slow"));
        assert_eq!(raw.frame()[0], 0x20);
        raw.send_slowly(&subscribe(level, "t"));
        assert_eq!(raw.frame()[0], 0x90);
        let message = publish(0, "t", b"\0byte by byte");
        raw.send_slowly(&message);
        assert_eq!(raw.frame(), message);
    }
    node.balanced();
}

#[test]
fn many_packets_may_come_in_one_write_with_the_connect() {
    let node = Node::of(env!("CARGO_BIN_EXE_weir")).store("memory").listen("http").start();
    let numbered = |number: usize| publish(0, "t", format!("\0{number}").as_bytes());
    let mut heap = [connect(V5, "eager"), subscribe(V5, "t")].concat();
    heap.extend((0..MESSAGES).flat_map(numbered));
    heap.extend(frame(0xC0, &[]));
    let mut raw = RawMqtt::connect(node.address("mqtt"));
    raw.send(&heap);

    assert_eq!(raw.frame()[0], 0x20);
    assert_eq!(raw.frame()[0], 0x90);
    let mut expected = (0..MESSAGES).map(numbered).peekable();
    let mut pongs = 0;
    while expected.peek().is_some() || pongs == 0 {
        match raw.frame() {
            pong if pong == [0xD0, 0] => pongs += 1,
            message => assert_eq!(Some(message), expected.next()),
        }
    }
    node.balanced();
}

#[test]
fn frames_larger_than_any_buffer_come_through_in_pieces() {
    let node = Node::of(env!("CARGO_BIN_EXE_weir")).store("memory").listen("http").start();
    let mut raw = RawMqtt::connect(node.address("mqtt"));
    raw.send(&[connect(V5, "large"), subscribe(V5, "t")].concat());
    assert_eq!((raw.frame()[0], raw.frame()[0]), (0x20, 0x90));
    let large = publish(0, "t", &[&[0], &vec![b'x'; 900_000][..]].concat());
    for piece in large.chunks(1_000) {
        raw.send(piece);
    }
    assert_eq!(raw.frame(), large);
    node.balanced();
}
