//! A ticket: what somebody who asked the desk holds until it is answered.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use weir_model::{Position, Reason};

use crate::outbox::Bell;
use crate::session::Session;

/// How a publish ended that was decided at the desk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decided {
    /// It happened.
    Accepted {
        /// Where it stands as retained value, or in the first stream that captured it.
        position: Option<Position>,
        /// It had happened before: nobody was given anything now.
        repeated: bool,
        /// Copies made of it.
        copies: u64,
    },
    Refused(Reason),
    /// Nobody knows.
    Lost,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It is being decided, or handed out.
    Pending,
    /// It waits for its condition.
    Waits,
    Decided(Decided),
    /// Who held it is gone.
    Abandoned,
}

pub(crate) struct Ticket {
    progress: Mutex<Progress>,
    waker: AtomicWaker,
    /// Whose connection hears of it by [`Bell::Progress`].
    session: Option<Arc<Session>>,
}

impl Ticket {
    pub fn new(session: Option<Arc<Session>>) -> Arc<Ticket> {
        let progress = Mutex::new(Progress::Pending);
        Arc::new(Ticket { progress, waker: AtomicWaker::new(), session })
    }

    pub fn progress(&self) -> Progress {
        *self.progress.lock()
    }

    /// Who published it, for subscriptions that do not want their own.
    pub fn session(&self) -> Option<&Arc<Session>> {
        self.session.as_ref()
    }

    /// It waits from now on.
    pub fn waits(&self) {
        self.change(|progress| *progress == Progress::Pending, Progress::Waits);
    }

    /// It has its turn.
    pub fn proceeds(&self) {
        let mut progress = self.progress.lock();
        if *progress == Progress::Waits {
            *progress = Progress::Pending;
        }
    }

    /// Answers it; false when nobody hears that any more.
    pub fn decide(&self, decided: Decided) -> bool {
        let is_open = |progress: &Progress| matches!(progress, Progress::Pending | Progress::Waits);
        self.change(is_open, Progress::Decided(decided))
    }

    /// Nobody waits for it any more; what it was answered by then.
    pub fn abandon(&self) -> Option<Decided> {
        match std::mem::replace(&mut *self.progress.lock(), Progress::Abandoned) {
            Progress::Decided(decided) => Some(decided),
            _ => None,
        }
    }

    pub fn register(&self, cx: &Context<'_>) {
        self.waker.register(cx.waker());
    }

    /// The answer. One that has to wait does not end before it has its turn.
    pub async fn decided(&self) -> Decided {
        std::future::poll_fn(|cx| {
            self.waker.register(cx.waker());
            match self.progress() {
                Progress::Decided(decided) => Poll::Ready(decided),
                Progress::Abandoned => Poll::Ready(Decided::Lost),
                Progress::Pending | Progress::Waits => Poll::Pending,
            }
        })
        .await
    }

    fn change(&self, may: impl FnOnce(&Progress) -> bool, to: Progress) -> bool {
        let mut progress = self.progress.lock();
        if !may(&progress) {
            return false;
        }
        *progress = to;
        drop(progress);
        self.waker.wake();
        if let Some(session) = &self.session {
            session.outbox.ring(Bell::Progress);
        }
        true
    }
}
