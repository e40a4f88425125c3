//! How a node is told to end or to read its settings again, and what a second word means.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Which signal came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// SIGINT: ctrl-C.
    Interrupt,
    /// SIGTERM: the service manager.
    Terminate,
}

impl Told {
    /// What a shell reports for a process that died of this signal.
    #[must_use]
    pub const fn exit_code(self) -> i32 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

/// The signals a node hears.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// From now on none of them kills the process by itself.
    ///
    /// # Errors
    /// The handlers cannot be installed.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits until the node is told to end; `reload` is done whenever it is told that meanwhile.
    pub async fn next_or(&mut self, reload: impl AsyncFn()) -> Told {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return Told::Interrupt,
                _ = self.terminate.recv() => return Told::Terminate,
                _ = self.hangup.recv() => reload().await,
            }
        }
    }

    /// Waits until the node is told to end. Cancel safe.
    pub async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.interrupt.recv() => Told::Interrupt,
            _ = self.terminate.recv() => Told::Terminate,
        }
    }
}
