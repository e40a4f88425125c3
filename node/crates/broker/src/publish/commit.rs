//! A commit: steps a connection has handed to the store, and the answer on its way back.

use std::sync::Arc;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use weir_store::{Answer, Delivery, Enqueue, Fence, Level, Refusal, SessionOp, Step};

use crate::broker::Broker;
use crate::ledger::Enqueued;
use crate::outbox::Bell;
use crate::session::Session;
use crate::stream::capture::Again;

/// An answer of the store on its way to a connection.
pub struct Commit {
    answer: Mutex<Option<Answer>>,
    /// Wakes a connection that has ended and only drains its line.
    pub(super) waker: AtomicWaker,
}

impl Commit {
    /// Submits steps for a session; its connection hears [`Bell::Progress`].
    pub fn submit(broker: &Broker, session: &Arc<Session>, steps: Vec<Step>) -> Arc<Commit> {
        Commit::submit_at(broker, session, steps, None)
    }

    /// The same, answered at another level than the store's own.
    pub(super) fn submit_at(
        broker: &Broker,
        session: &Arc<Session>,
        steps: Vec<Step>,
        level: Option<Level>,
    ) -> Arc<Commit> {
        Commit::submit_with(broker, session, steps, level, |_| {})
    }

    /// Submits copies for a session's own queue, which it is owed without a publish (retained messages).
    /// They are counted when the store answers, whether or not their connection is still there.
    pub fn enqueue(
        broker: &Broker,
        session: &Arc<Session>,
        fence: Fence,
        deliveries: Vec<Delivery>,
    ) -> Arc<Commit> {
        let topics: Vec<_> = deliveries.iter().map(|delivery| delivery.message.topic.clone()).collect();
        let step = |delivery| {
            let enqueue = Enqueue { generation: fence.generation, id: None, delivery };
            let ops = [SessionOp::Enqueue(enqueue)].into_iter().collect();
            Step::Session { key: session.key.clone(), ops }
        };
        let steps = deliveries.into_iter().map(step).collect();
        let (counting, client) = (broker.clone(), session.client_id().clone());
        Commit::submit_with(broker, session, steps, None, move |answer| {
            let ledger = counting.ledger();
            for (place, topic) in topics.iter().enumerate() {
                let outcome = answer.get(place).and_then(|step| step.as_ref().ok()?.first());
                if ledger.enqueued(&client, topic, outcome) != Enqueued::Before {
                    ledger.matched.add(1);
                }
            }
        })
    }

    /// Offers records once more to streams that have gone on in another generation.
    pub(super) fn again(broker: &Broker, session: &Arc<Session>, again: Again) -> Arc<Commit> {
        let commit = Arc::new(Commit { answer: Mutex::new(None), waker: AtomicWaker::new() });
        let (mine, session, broker) = (commit.clone(), session.clone(), broker.clone());
        let runtime = broker.runtime().clone();
        runtime.spawn(async move {
            let answer = again.submit(&broker).await;
            mine.take_up(answer, &session);
        });
        commit
    }

    /// The answer is there.
    fn take_up(&self, answer: Answer, session: &Session) {
        *self.answer.lock() = Some(answer);
        self.waker.wake();
        session.outbox.ring(Bell::Progress);
    }

    fn submit_with(
        broker: &Broker,
        session: &Arc<Session>,
        steps: Vec<Step>,
        level: Option<Level>,
        count: impl FnOnce(&Answer) + Send + 'static,
    ) -> Arc<Commit> {
        let none_owed = steps.is_empty().then(Answer::new);
        let commit = Arc::new(Commit { answer: Mutex::new(none_owed), waker: AtomicWaker::new() });
        if steps.is_empty() {
            return commit;
        }
        let (mine, session) = (commit.clone(), session.clone());
        broker.store().submit_at(
            steps,
            level,
            Box::new(move |answer| {
                count(&answer);
                mine.take_up(answer, &session);
            }),
        );
        commit
    }

    /// Whether the store has decided.
    pub fn is_answered(&self) -> bool {
        self.answer.lock().is_some()
    }

    /// Why the store has not done all of it, if it has answered so.
    pub fn refusal(&self) -> Option<Refusal> {
        self.answer.lock().as_ref()?.iter().find_map(|step| step.as_ref().err().copied())
    }

    /// The answer, once.
    pub(super) fn take(&self) -> Option<Answer> {
        self.answer.lock().take()
    }
}
