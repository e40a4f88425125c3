//! One connection of a link, from the first words to its end.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use prost::Message;
use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;
use weir_net::peer::{Alpn, PeerConnectError, PeerConnection, PeerEndpoint, PeerRecv, PeerSend, StreamError};

use super::hello::{Refusal, check};
use super::wire::{CALLS, INTEREST, STREAMS, Violation, proto, put_message, take_message};
use super::{Inbox, Link, receive, send};
use crate::interest::Interest;
use crate::links::LinkLocal;
use proto::control_frame::Frame;

/// What a read asks for at once.
pub(super) const READ_BYTES: usize = 64 << 10;

/// A connection whose peer has said hello.
pub(crate) struct Connected {
    pub connection: PeerConnection,
    pub control: Control,
    pub hello: proto::Hello,
}

/// The control stream: both halves, and what was read ahead.
pub(crate) struct Control {
    pub send: PeerSend,
    pub recv: PeerRecv,
    pub read: BytesMut,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("the peer ended a stream")]
    Finished,
    #[error(transparent)]
    Violation(#[from] Violation),
    #[error("cannot read: {0}")]
    Read(#[from] std::io::Error),
    #[error("the peer has connected anew")]
    Replaced,
    #[error("the peer counts as dead, or this node stops")]
    Over,
}

/// Why there is no connection yet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error(transparent)]
    Connect(#[from] PeerConnectError),
    #[error("refused by this node: {0}")]
    Refused(#[from] Refusal),
    #[error("no hello: {0}")]
    Hello(#[from] Ended),
    #[error("no hello in {millis} ms")]
    Silent { millis: u64 },
}

impl Control {
    pub fn new((send, recv): (PeerSend, PeerRecv)) -> Control {
        Control { send, recv, read: BytesMut::new() }
    }

    pub async fn say(&mut self, frame: Frame) -> Result<(), Ended> {
        Ok(self.send.write_chunk(control_bytes(frame)).await?)
    }

    /// The next message of the peer.
    pub async fn hear(&mut self) -> Result<proto::ControlFrame, Ended> {
        next_message(&mut self.recv, &mut self.read).await
    }
}

pub(super) fn control_bytes(frame: Frame) -> Bytes {
    message_bytes(&proto::ControlFrame { frame: Some(frame) })
}

pub(super) fn message_bytes(message: &impl Message) -> Bytes {
    let mut bytes = Vec::with_capacity(message.encoded_len() + 4);
    put_message(&mut bytes, message);
    Bytes::from(bytes)
}

pub(super) async fn next_message<M: Message + Default>(
    recv: &mut PeerRecv,
    read: &mut BytesMut,
) -> Result<M, Ended> {
    loop {
        if let Some(message) = take_message(read)? {
            return Ok(message);
        }
        read_some(recv, read).await?;
    }
}

/// Reads what there is, at least a byte; returns how many.
pub(super) async fn read_some(recv: &mut PeerRecv, read: &mut BytesMut) -> Result<usize, Ended> {
    if read.capacity() - read.len() < READ_BYTES / 16 {
        read.reserve(READ_BYTES);
    }
    match recv.read_buf(read).await? {
        0 => Err(Ended::Finished),
        bytes => Ok(bytes),
    }
}

/// Dials the peer of `link` and exchanges hellos; nothing may come in by an earlier connection any more.
pub(crate) async fn dial(
    link: &Link,
    endpoint: &PeerEndpoint,
    local: &LinkLocal,
) -> Result<Connected, DialError> {
    let connection = endpoint.connect(link.address(), Alpn::Link).await?;
    let within = Duration::from_millis(link.config.hello_timeout_ms);
    let hellos = async {
        let opened = connection.open_bi().await.map_err(|closed| Ended::Stream(closed.into()))?;
        let mut control = Control::new(opened);
        control.say(Frame::Hello(link.hello(local))).await?;
        let frame = control.hear().await?;
        let hello = check(frame, local, connection.peer_node_id())?;
        link.is_for(&connection, &hello)?;
        Ok((control, hello))
    };
    let result = match tokio::time::timeout(within, hellos).await {
        Ok(result) => result,
        Err(_) => Err(DialError::Silent { millis: within.as_millis() as u64 }),
    };
    match result {
        Ok((control, hello)) => Ok(Connected { connection, control, hello }),
        Err(error) => {
            if let DialError::Refused(refusal) = &error {
                connection.close(refusal.code(), &refusal.to_string());
            }
            Err(error)
        }
    }
}

impl Link {
    /// Whether a connection is with the very process this link is for.
    pub(crate) fn is_for(&self, connection: &PeerConnection, hello: &proto::Hello) -> Result<(), Refusal> {
        if *connection.peer_node_id() != self.node {
            return Err(Refusal::NotMember);
        }
        let (theirs, ours) = (hello.incarnation, self.incarnation);
        if theirs == ours { Ok(()) } else { Err(Refusal::Incarnation { theirs, ours }) }
    }
}

/// What all connections of a node share.
#[derive(Clone)]
pub(crate) struct Ends {
    pub local: LinkLocal,
    pub interest: Arc<Interest>,
    pub inbox: Arc<dyn Inbox>,
}

/// Carries the link over one connection until it ends. `tasks` must be shut down before the next one begins.
pub(crate) async fn run(
    link: &Arc<Link>,
    ends: &Ends,
    connected: Connected,
    tasks: &mut JoinSet<Result<(), Ended>>,
) -> Ended {
    let Connected { connection, mut control, hello } = connected;
    if !connection.dialled()
        && let Err(ended) = control.say(Frame::Hello(link.hello(&ends.local))).await
    {
        return ended;
    }
    link.resume(&hello, &ends.interest);
    for stream in (0..STREAMS).filter(|stream| *stream != CALLS || link.takes_calls()) {
        tasks.spawn(send::numbered(link.clone(), connection.clone(), stream));
    }
    tasks.spawn(send::interest(link.clone(), connection.clone(), ends.interest.clone()));
    tasks.spawn(send::control(link.clone(), connection.clone(), control.send));
    tasks.spawn(receive::control(link.clone(), control.recv, control.read));
    tasks.spawn(receive::mirror(link.clone(), ends.inbox.clone()));
    tracing::info!(node = %link.node, incarnation = link.incarnation, "link up");
    let mut known = 0_u32;
    loop {
        tokio::select! {
            Some(ended) = tasks.join_next() => match ended {
                Ok(Err(ended)) => return ended,
                Ok(Ok(())) => return Ended::Finished,
                Err(error) => return Ended::Read(std::io::Error::other(error)),
            },
            accepted = connection.accept_uni() => match accepted {
                Err(closed) => return Ended::Stream(closed.into()),
                Ok(recv) => match first_byte(recv, &mut known).await {
                    Err(ended) => return ended,
                    Ok((INTEREST, recv)) => drop(tasks.spawn(receive::interest(link.clone(), recv, ends.inbox.clone()))),
                    Ok((stream, recv)) => {
                        drop(tasks.spawn(receive::numbered(link.clone(), recv, stream.into(), ends.inbox.clone())));
                    }
                },
            },
        }
    }
}

/// Which stream it is; each comes once.
async fn first_byte(mut recv: PeerRecv, known: &mut u32) -> Result<(u8, PeerRecv), Ended> {
    let index = recv.read_u8().await?;
    let is_stream = usize::from(index) < STREAMS || index == INTEREST;
    if !is_stream || *known & 1 << index != 0 {
        return Err(Violation::Stream { index }.into());
    }
    *known |= 1 << index;
    Ok((index, recv))
}
