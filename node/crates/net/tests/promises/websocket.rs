//! WebSocket handshakes are refused with the status that says why.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir_net::client::{ClientOptions, ConnectError, connect};
use weir_net::{Config, Transport};

use crate::server::Server;

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
const VERSION: &str = "Sec-WebSocket-Version: 13";
const PROTOCOL: &str = "Sec-WebSocket-Protocol: mqttv3.1, mqtt";

/// A handshake and bytes sent right after it.
fn handshake(path: &str, headers: &[&str], after: &[u8]) -> Vec<u8> {
    let start = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\n");
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    [format!("{start}Upgrade: WebSocket\r\n{headers}\r\n").as_bytes(), after].concat()
}

/// The answer to a handshake that is refused, up to the end of its headers.
async fn refusal(path: &str, headers: &[&str]) -> String {
    let server = Server::with_config(Transport::Ws, Config { linger_timeout_ms: 100, ..Config::default() });
    let client = async {
        let mut tcp = TcpStream::connect(server.address()).await.expect("connected");
        tcp.write_all(&handshake(path, headers, b"")).await.expect("written");
        tcp.shutdown().await.expect("half closed");
        let mut answer = Vec::new();
        tcp.read_to_end(&mut answer).await.expect("no reset");
        String::from_utf8(answer).expect("text").to_lowercase()
    };
    let (upgraded, answer) = tokio::join!(server.next(), client);
    assert!(upgraded.is_none());
    answer
}

#[tokio::test]
async fn another_version_gets_426_and_the_version_to_use() {
    let answer = refusal("/mqtt", &[KEY, PROTOCOL, "Sec-WebSocket-Version: 8"]).await;
    assert!(answer.starts_with("http/1.1 426 "), "{answer}");
    assert!(answer.contains("\r\nsec-websocket-version: 13\r\n"), "{answer}");
}

#[tokio::test]
async fn a_missing_or_wrong_key_gets_400() {
    let missing = refusal("/mqtt", &[VERSION, PROTOCOL]).await;
    assert!(missing.starts_with("http/1.1 400 "), "{missing}");
    let wrong = refusal("/mqtt", &[VERSION, PROTOCOL, "Sec-WebSocket-Key: short"]).await;
    assert!(wrong.starts_with("http/1.1 400 "), "{wrong}");
}

#[tokio::test]
async fn no_known_subprotocol_gets_400() {
    let answer = refusal("/mqtt", &[KEY, VERSION, "Sec-WebSocket-Protocol: other"]).await;
    assert!(answer.starts_with("http/1.1 400 "), "{answer}");
    let answer = refusal("/mqtt", &[KEY, VERSION]).await;
    assert!(answer.starts_with("http/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn an_unknown_path_gets_404() {
    let server = Server::new(Transport::Ws);
    let url = format!("{}/elsewhere", server.url()).parse().expect("a url");
    let options = ClientOptions::default();
    let client = async {
        match connect(&url, &options).await {
            Err(ConnectError::Refused { status }) => status,
            other => panic!("not refused but {other:?}"),
        }
    };
    let (_, status) = tokio::join!(server.next(), client);
    assert_eq!(status, 404);
}

#[tokio::test]
async fn frames_sent_with_the_handshake_are_not_lost() {
    let server = Server::new(Transport::Ws);
    let frame = [0x82, 0x85, 0, 0, 0, 0, b'e', b'a', b'r', b'l', b'y'];
    let mut tcp = TcpStream::connect(server.address()).await.expect("connected");
    tcp.write_all(&handshake("/mqtt", &[KEY, VERSION, PROTOCOL], &frame)).await.expect("written");
    let mut stream = server.next().await.expect("a websocket");
    let mut early = [0; 5];
    stream.read_exact(&mut early).await.expect("bytes");
    assert_eq!(&early, b"early");
    let mut answer = vec![0; 400];
    let read = tcp.read(&mut answer).await.expect("an answer");
    let answer = String::from_utf8_lossy(&answer[..read]).to_lowercase();
    assert!(answer.starts_with("http/1.1 101 "), "{answer}");
    assert!(answer.contains("\r\nsec-websocket-protocol: mqtt\r\n"), "{answer}");
    assert!(answer.contains("\r\nsec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{answer}");
}
