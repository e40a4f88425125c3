//! The same abuse through TLS, WebSocket and both: the code arrives there too, and the end is in order.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use url::Url;
use weir_bench::Client;
use weir_bench::client::Options;
use weir_net::Stream;
use weir_net::client::ClientOptions;
use weir_testkit::{Node, PATIENCE};

use super::frames::{frame, publish, subscribe};

const TRANSPORTS: [(&str, &str, &str); 4] =
    [("mqtts", "mqtts", ""), ("ws", "http", "/mqtt"), ("wss", "https", "/mqtt"), ("quic", "quic", "")];

fn node() -> Node {
    let node = Node::of(env!("CARGO_BIN_EXE_weir")).store("memory");
    ["mqtts", "http", "https", "quic"].into_iter().fold(node, weir_testkit::node::Builder::listen).start()
}

/// A connection after CONNACK, as bytes.
async fn connected(node: &Node, (scheme, listener, path): (&str, &'static str, &str)) -> Stream {
    let port = node.address(listener).port();
    let url = Url::parse(&format!("{scheme}://localhost:{port}{path}")).expect("a URL");
    let transport = ClientOptions { insecure: true, ..ClientOptions::default() };
    let options = Options { transport, timeout: PATIENCE, ..Options::default() };
    let client = Client::connect(&url, &options).await.unwrap_or_else(|error| panic!("{url}: {error}"));
    client.into_parts().0
}

/// Everything that still comes, up to an end in order.
async fn rest(stream: &mut Stream, transport: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    read.expect("an end in time")
        .unwrap_or_else(|error| panic!("{transport}: cut after {bytes:02x?}: {error}"));
    bytes
}

#[tokio::test]
async fn the_reason_code_arrives_over_every_transport_and_then_an_end_in_order() {
    let node = node();
    let cases = [
        (0x81, vec![0x30, 0xff, 0xff, 0xff, 0xff, 0x01]),
        (0x82, frame(0x20, &[0, 0, 0])),
        (0x82, publish(0x02, "t", &[0, 0, 0])),
        (0x90, publish(0, "a/#", &[0])),
        (0x94, publish(0, "t", &[3, 0x23, 0, 0])),
    ];
    for transport in TRANSPORTS {
        for (code, bytes) in &cases {
            let mut stream = connected(&node, transport).await;
            // More than was asked for: what is not read must not cut off the answer.
            let abuse = [&bytes[..], &frame(0xC0, &[]).repeat(20_000)].concat();
            // A node that has seen enough may stop taking.
            let _ = stream.write_all(&abuse).await;
            let _ = stream.flush().await;
            let said = rest(&mut stream, transport.0).await;
            assert_eq!((said[0], said[2]), (0xE0, *code), "{}: {bytes:02x?}", transport.0);
        }
    }
}

#[tokio::test]
async fn packets_split_over_websocket_frames_and_many_in_one_are_the_same_packets() {
    let node = node();
    for transport in TRANSPORTS {
        let mut stream = connected(&node, transport).await;
        let mut answer = [0; 6];
        for byte in subscribe(5, "t") {
            stream.write_all(&[byte]).await.expect("taken");
            stream.flush().await.expect("taken");
        }
        stream.read_exact(&mut answer).await.expect("SUBACK");
        assert_eq!(answer, [0x90, 4, 0, 1, 0, 0], "{}", transport.0);

        let messages: Vec<u8> = (0..100u8).flat_map(|number| publish(0, "t", &[0, number])).collect();
        stream.write_all(&messages).await.expect("taken");
        stream.flush().await.expect("taken");
        let mut echo = vec![0; messages.len()];
        stream.read_exact(&mut echo).await.expect("all messages");
        assert_eq!(echo, messages, "{}", transport.0);
    }
    node.balanced();
}
