//! The last bytes sent before a close arrive.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_net::{Linger, Lingered, Transport, close_gracefully};

use crate::server::Server;

/// More than the client's kernel takes before it reads: the rest is what an RST would destroy.
const LAST_WORDS_BYTES: usize = 12 << 20;
const LINGER: Linger = Linger { timeout: Duration::from_secs(20), bytes_max: 1 << 20 };

/// The server says its last words and closes while the client's bytes lie unread.
async fn last_words(transport: Transport) {
    let server = Server::new(transport);
    let (mut client, mut stream) = server.pair().await;
    client.write_all(&[7; 100_000]).await.expect("written");
    client.flush().await.expect("flushed");
    let last_words: Vec<u8> = (0..LAST_WORDS_BYTES).map(|i| (i / 5) as u8).collect();
    let closing = async {
        stream.write_all(&last_words).await.expect("written");
        let lingered = close_gracefully(&mut stream, LINGER).await;
        drop(stream);
        lingered
    };
    let receiving = async {
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.expect("no reset");
        close_gracefully(&mut client, LINGER).await;
        received
    };
    let (lingered, received) = tokio::join!(closing, receiving);
    assert!(received == last_words, "{transport}: {} bytes", received.len());
    assert_eq!(lingered, Lingered::Clean, "{transport}");
}

#[tokio::test]
async fn the_last_bytes_arrive_although_the_client_sent_more_than_was_read() {
    for transport in Transport::ALL {
        last_words(transport).await;
    }
}

#[tokio::test]
async fn a_client_that_never_closes_is_cut_after_the_time() {
    for transport in Transport::ALL {
        let (_client, mut stream) = Server::new(transport).pair().await;
        let linger = Linger { timeout: Duration::from_millis(30), bytes_max: 1 << 20 };
        assert_eq!(close_gracefully(&mut stream, linger).await, Lingered::TimedOut, "{transport}");
    }
}

#[tokio::test]
async fn a_client_that_goes_on_sending_is_cut_after_the_bytes() {
    let (mut client, mut stream) = Server::new(Transport::Tcp).pair().await;
    client.write_all(&[7; 2000]).await.expect("written");
    let linger = Linger { bytes_max: 1999, ..LINGER };
    assert_eq!(close_gracefully(&mut stream, linger).await, Lingered::TooMuch);
}

#[tokio::test]
async fn a_closing_websocket_sends_code_1000() {
    let server = Server::new(Transport::Ws);
    let (client, mut stream) = server.pair().await;
    let weir_net::Stream::Ws(ws) = client else { panic!("a websocket") };
    let closing = close_gracefully(&mut stream, LINGER);
    let looking = async move {
        let mut wire = [0; 4];
        loop {
            ws.get_ref().readable().await.expect("readable");
            match ws.get_ref().try_read(&mut wire) {
                Ok(read) => return wire[..read].to_vec(),
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
        }
    };
    let (_, wire) = tokio::join!(closing, looking);
    assert_eq!(wire, [0x88, 2, 0x03, 0xe8]);
}
