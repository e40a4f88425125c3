//! One connection to a NATS server.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::failed;
use super::frame::{self, Frame};
use crate::Error;

/// What one read takes at most.
const READ_BYTES: usize = 256 * 1024;

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);

pub(super) struct Client {
    address: SocketAddr,
    stream: TcpStream,
    input: BytesMut,
}

impl Client {
    /// Connects and waits until the server has taken the introduction.
    pub(super) async fn connect(address: SocketAddr) -> Result<Client, Error> {
        let stream = TcpStream::connect(address).await.map_err(|error| failed(address, error))?;
        stream.set_nodelay(true).map_err(|error| failed(address, error))?;
        let mut client = Client { address, stream, input: BytesMut::new() };
        client.write(b"CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":false}\r\nPING\r\n").await?;
        let mut is_in = false;
        while !is_in {
            client
                .read(ANSWER_MAX, |frame| {
                    is_in |= frame == Frame::Pong;
                    Ok(())
                })
                .await?;
        }
        Ok(client)
    }

    /// Subscribes to a subject of its own, for answers.
    pub(super) async fn inbox(&mut self) -> Result<String, Error> {
        let port = self.stream.local_addr().map_err(|error| failed(self.address, error))?.port();
        let inbox = format!("_INBOX.{port}");
        self.write(format!("SUB {inbox} 1\r\n").as_bytes()).await?;
        Ok(inbox)
    }

    /// A question to JetStream, whose answer is not looked at beyond whether it is a refusal.
    pub(super) async fn ask(&mut self, subject: &str, question: &str) -> Result<(), Error> {
        let inbox = self.inbox().await?;
        let question = format!("PUB {subject} {inbox} {}\r\n{question}\r\n", question.len());
        self.write(question.as_bytes()).await?;
        let mut is_answered = false;
        while !is_answered {
            self.read(ANSWER_MAX, |frame| {
                let Frame::Message { payload, .. } = frame else { return Ok(()) };
                is_answered = true;
                super::refusal(payload).map_or(Ok(()), Err)
            })
            .await?;
        }
        self.write(b"UNSUB 1\r\n").await
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.stream.write_all(bytes).await.map_err(|error| failed(self.address, error))
    }

    /// Reads once and hands out the frames that are whole. PING is answered.
    ///
    /// # Errors
    ///
    /// The end of the connection, nothing for `patience`, a refusal of the server or of `each`.
    pub(super) async fn read(
        &mut self,
        patience: Duration,
        mut each: impl FnMut(Frame<'_>) -> Result<(), String>,
    ) -> Result<(), Error> {
        let address = self.address;
        self.input.reserve(READ_BYTES);
        let read = tokio::time::timeout(patience, self.stream.read_buf(&mut self.input)).await;
        let read = read.map_err(|_| failed(address, "nothing comes"))?;
        if read.map_err(|error| failed(address, error))? == 0 {
            return Err(failed(address, "it has closed the connection"));
        }
        let (mut at, mut pings) = (0, 0);
        while let Some((frame, len)) =
            frame::first(&self.input[at..]).map_err(|line| failed(address, line))?
        {
            match frame {
                Frame::Ping => pings += 1,
                Frame::Refused(line) => return Err(failed(address, String::from_utf8_lossy(line))),
                other => each(other).map_err(|reason| failed(address, reason))?,
            }
            at += len;
        }
        self.input.advance(at);
        for _ in 0..pings {
            self.write(b"PONG\r\n").await?;
        }
        Ok(())
    }
}
