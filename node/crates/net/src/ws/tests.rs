//! What a WebSocket promises to those who read and write it, over a pipe in memory.

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpStream;

use super::*;

const LIMIT: u32 = 1 << 20;
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A server's WebSocket and the bare end of its client's connection.
fn server(pipe_bytes: usize) -> (Ws<DuplexStream>, DuplexStream) {
    let (ours, theirs) = duplex(pipe_bytes);
    (Ws::server(ours, Vec::new(), LIMIT), theirs)
}

/// A masked frame of at most 125 bytes.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first, 0x80 | payload.len() as u8];
    frame.extend(KEY);
    frame.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ KEY[i % 4]));
    frame
}

async fn read(ws: &mut Ws<DuplexStream>) -> Vec<u8> {
    let mut buf = vec![0; 1024];
    let read = ws.read(&mut buf).await.expect("readable");
    buf.truncate(read);
    buf
}

/// What reading `wire` ends with, and what was answered.
async fn refused(wire: &[u8]) -> (Violation, Vec<u8>) {
    let (mut ws, mut client) = server(1024);
    client.write_all(wire).await.expect("written");
    let error = ws.read_to_end(&mut Vec::new()).await.expect_err("a violation");
    ws.shutdown().await.expect("closed");
    drop(ws);
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.expect("an answer");
    let violation = error.get_ref().and_then(|inner| inner.downcast_ref::<Violation>());
    (*violation.expect("the rule"), answer)
}

/// Sends `data` through pipes of `pipe_bytes`, written in pieces of `write` and read into `read` bytes.
async fn carried(data: &[u8], pipe_bytes: usize, write: usize, read: usize, up: bool) -> Vec<u8> {
    let (ours, theirs) = duplex(pipe_bytes);
    let server = Ws::server(ours, Vec::new(), LIMIT);
    let client = Ws::client(theirs, Vec::new(), LIMIT);
    let (mut from, mut to) = if up { (client, server) } else { (server, client) };
    let sending = async {
        for piece in data.chunks(write) {
            from.write_all(piece).await.expect("written");
        }
        from.shutdown().await.expect("closed");
    };
    let receiving = async {
        let (mut received, mut buf) = (Vec::new(), vec![0; read]);
        loop {
            match to.read(&mut buf).await.expect("readable") {
                0 => return received,
                count => received.extend(&buf[..count]),
            }
        }
    };
    tokio::join!(sending, receiving).1
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn bytes_arrive_as_they_were_sent_however_small_the_pieces(
        data in proptest::collection::vec(any::<u8>(), 0..2000),
        pipe_bytes in 1usize..64,
        write in 1usize..500,
        read in 1usize..64,
        up: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let received = runtime.block_on(carried(&data, pipe_bytes, write, read, up));
        prop_assert_eq!(received, data);
    }
}

#[tokio::test]
async fn frames_read_one_byte_at_a_time_lose_nothing() {
    let data: Vec<u8> = (0..70_000u32).map(|i| i as u8).collect();
    assert!(carried(&data, 1, 70_000, 1, true).await == data);
    assert!(carried(&data, 1, 70_000, 1, false).await == data);
}

#[tokio::test]
async fn one_vectored_write_is_one_frame() {
    let (mut ws, mut client) = server(1024);
    let pieces = [IoSlice::new(b"one"), IoSlice::new(b""), IoSlice::new(b"two")];
    assert_eq!(ws.write_vectored(&pieces).await.expect("written"), 6);
    let mut wire = [0; 8];
    client.read_exact(&mut wire).await.expect("a frame");
    assert_eq!(&wire, b"\x82\x06onetwo");
}

#[tokio::test]
async fn a_long_write_becomes_frames_of_at_most_256_kib() {
    let (mut ws, mut client) = server(1 << 20);
    let data = vec![7; 300 << 10];
    ws.write_all(&data).await.expect("written");
    ws.shutdown().await.expect("closed");
    drop(ws);
    let mut wire = Vec::new();
    client.read_to_end(&mut wire).await.expect("frames");
    assert_eq!(wire[..10], [0x82, 127, 0, 0, 0, 0, 0, 4, 0, 0]);
    assert_eq!(wire[10 + (256 << 10)..][..4], [0x82, 126, 0xb0, 0]);
}

#[tokio::test]
async fn a_ping_is_answered_while_the_stream_is_read() {
    let (mut ws, mut client) = server(1024);
    let wire = [frame(0x89, b"hello"), frame(0x82, b"bytes")].concat();
    client.write_all(&wire).await.expect("written");
    assert_eq!(read(&mut ws).await, b"bytes");
    let mut answer = [0; 7];
    client.read_exact(&mut answer).await.expect("a pong");
    assert_eq!(&answer, b"\x8a\x05hello");
    assert_eq!(ws.counters(), Counters { pings: 1, pongs_dropped: 0 });
}

#[tokio::test]
async fn a_pong_that_cannot_be_written_gives_way_to_the_next() {
    let (mut ws, mut client) = server(256);
    while ws.write(&[0; 16]).now().is_some() {}
    for payload in [b"one", b"two", b"six"] {
        client.write_all(&frame(0x89, payload)).await.expect("written");
        client.write_all(&frame(0x82, b".")).await.expect("written");
        assert_eq!(read(&mut ws).await, b".");
    }
    assert_eq!(ws.counters(), Counters { pings: 3, pongs_dropped: 2 });
    let sending = async {
        ws.write_all(&[0; 16]).await.expect("written");
        ws.shutdown().await.expect("closed");
        drop(ws);
    };
    let mut wire = Vec::new();
    let (_, received) = tokio::join!(sending, client.read_to_end(&mut wire));
    received.expect("the end");
    let pongs = wire.windows(5).filter(|bytes| bytes.starts_with(b"\x8a\x03")).count();
    assert_eq!(pongs, 1);
    assert!(wire.windows(5).any(|bytes| bytes == b"\x8a\x03six"));
}

#[tokio::test]
async fn a_close_frame_is_answered_with_its_code_and_ends_the_stream() {
    let (mut ws, mut client) = server(1024);
    let wire = [frame(0x82, b"last"), frame(0x88, &4000u16.to_be_bytes())].concat();
    client.write_all(&wire).await.expect("written");
    assert_eq!(read(&mut ws).await, b"last");
    assert_eq!(read(&mut ws).await, b"");
    let mut answer = [0; 4];
    client.read_exact(&mut answer).await.expect("a close frame");
    assert_eq!(answer, [0x88, 2, 0x0f, 0xa0]);
    let error = ws.write(b"more").await.expect_err("closed");
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn a_broken_rule_is_read_as_an_error_and_its_code_is_sent_once() {
    let close = |code: u16| [&[0x88, 2][..], &code.to_be_bytes()].concat();
    assert_eq!(refused(&frame(0x81, b"text")).await, (Violation::Text, close(1003)));
    assert_eq!(refused(&frame(0xc2, b"x")).await, (Violation::ReservedBit, close(1002)));
    assert_eq!(refused(&[0x82, 1, b'x']).await.1, close(1002));
    let long = [&[0x82, 0xff][..], &(u64::from(LIMIT) + 1).to_be_bytes(), &KEY].concat();
    assert_eq!(refused(&long).await.1, close(1009));
}

#[tokio::test]
async fn bytes_that_came_with_the_handshake_are_read_first() {
    let (ours, mut client) = duplex(1024);
    let early = frame(0x82, b"early");
    let (came, later) = early.split_at(4);
    let mut ws = Ws::server(ours, came.to_vec(), LIMIT);
    client.write_all(later).await.expect("written");
    assert_eq!(read(&mut ws).await, b"early");
}

#[test]
fn a_stream_costs_32_bytes_and_a_websocket_at_most_232() {
    // Sockets of a debug build carry a word more, to find those registered twice.
    let debug_bytes = if cfg!(debug_assertions) { 8 } else { 0 };
    assert!(size_of::<crate::Stream>() <= 32 + debug_bytes);
    assert!(size_of::<Ws<TcpStream>>() <= 232 + debug_bytes);
}

/// A future's result if it has one at once.
trait Now: Future + Sized {
    fn now(self) -> Option<Self::Output> {
        let mut context = Context::from_waker(std::task::Waker::noop());
        match std::pin::pin!(self).poll(&mut context) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }
}

impl<F: Future> Now for F {}
