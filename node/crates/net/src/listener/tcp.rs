//! The server socket of TCP, which tells clients apart from waiting forever when no file descriptor is left.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use rustix::io::Errno;
use socket2::{Domain, Protocol, Type};
use tokio::net::{TcpListener, TcpStream};

use super::AcceptError;

#[derive(Debug)]
pub(super) struct Socket {
    listener: TcpListener,
    /// A file descriptor to give up when there is no other: with it a connection can be accepted and
    /// closed, where its client would otherwise wait in the kernel for nobody.
    spare: Mutex<Option<File>>,
}

impl Socket {
    pub fn bind(address: SocketAddr, backlog: u32) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(backlog.try_into().unwrap_or(i32::MAX))?;
        let listener = TcpListener::from_std(socket.into())?;
        Ok(Self { listener, spare: Mutex::new(open_spare()) })
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Cancel safe.
    pub async fn accept(&self) -> Result<(TcpStream, SocketAddr), AcceptError> {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    // Fails only on a socket that is gone already; its first read will say so.
                    let _ = stream.set_nodelay(true);
                    return Ok((stream, peer));
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(source) if is_out_of_files(&source) && self.shed() => {
                    return Err(AcceptError::Shed { source });
                }
                Err(source) => return Err(AcceptError::System { source }),
            }
        }
    }

    /// Closes the connection that has waited longest; says whether that could be done.
    fn shed(&self) -> bool {
        let mut spare = self.spare.lock();
        if spare.take().or_else(open_spare).is_none() {
            return false;
        }
        // The next `accept` waits for itself: nobody needs to be woken by this one.
        let accepted = self.listener.poll_accept(&mut Context::from_waker(Waker::noop()));
        let is_shed = matches!(accepted, Poll::Ready(Ok(_)));
        drop(accepted);
        // Somebody else may have been faster; then it is tried again the next time.
        *spare = open_spare();
        is_shed
    }
}

fn open_spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Whether an accept error concerns only the connection that was to be accepted (`accept(2)`).
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Whether the process or the system has no file descriptor left.
fn is_out_of_files(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE]
        .map(Errno::raw_os_error)
        .into_iter()
        .any(|is| error.raw_os_error() == Some(is))
}
