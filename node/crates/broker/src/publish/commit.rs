//! A commit: steps a connection has handed to the store, and the answer on its way back.

use std::sync::Arc;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use weir_store::{Answer, Step};

use crate::broker::Broker;
use crate::outbox::Bell;
use crate::session::Session;

/// An answer of the store on its way to a connection.
pub struct Commit {
    answer: Mutex<Option<Answer>>,
    /// Wakes a connection that has ended and only drains its line.
    pub(super) waker: AtomicWaker,
}

impl Commit {
    /// Submits steps for a session; its connection hears [`Bell::Progress`].
    pub fn submit(broker: &Broker, session: &Arc<Session>, steps: Vec<Step>) -> Arc<Commit> {
        let none_owed = steps.is_empty().then(Answer::new);
        let commit = Arc::new(Commit { answer: Mutex::new(none_owed), waker: AtomicWaker::new() });
        if steps.is_empty() {
            return commit;
        }
        let (mine, session) = (commit.clone(), session.clone());
        broker.store().submit(
            steps,
            Box::new(move |answer| {
                *mine.answer.lock() = Some(answer);
                mine.waker.wake();
                session.outbox.ring(Bell::Progress);
            }),
        );
        commit
    }

    /// Whether the store has decided.
    pub fn is_answered(&self) -> bool {
        self.answer.lock().is_some()
    }

    /// The answer, once.
    pub(super) fn take(&self) -> Option<Answer> {
        self.answer.lock().take()
    }
}
