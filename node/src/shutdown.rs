//! How a node is told to end, to drain or to read its settings again, and what a second word means.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What the node is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// End, and say goodbye.
    End(Told),
    /// SIGUSR1: send the clients elsewhere first.
    Drain,
}

/// Which signal ends it.
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
    drain: Signal,
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
            drain: signal(SignalKind::user_defined1())?,
        })
    }

    /// Waits until the node is told to end or to drain; `reload` is done whenever it is told that meanwhile.
    /// Cancel safe, but for a reload under way.
    pub async fn next_or(&mut self, reload: impl AsyncFn()) -> Word {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return Word::End(Told::Interrupt),
                _ = self.terminate.recv() => return Word::End(Told::Terminate),
                _ = self.drain.recv() => return Word::Drain,
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
