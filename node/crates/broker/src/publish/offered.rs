//! Publishes of callers without a connection, through the one door.
//!
//! A caller has a [`Publisher`] of its own over a session that nobody is connected to, subscribes with or finds. It is
//! judged by the principal it is given, waits for full receivers as a connection does, and what it has begun is finished
//! when it goes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use weir_model::{Position, Principal, Reason};
use weir_store::{SessionKey, SessionKind};

use super::level::Reached;
use super::{Answering, Publisher, Verdict};
use crate::binding::middleware::GRPC;
use crate::broker::Broker;
use crate::form::Publish;
use crate::realm::Realm;
use crate::session::Session;

/// A full receiver is waited for so long at most before it is looked at again whether it lives.
const PRESSED: Duration = Duration::from_millis(20);

/// What became of a message that was taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offered {
    /// With an idempotency key where its first try stands; else as retained value, else in the first stream that
    /// captured it.
    pub position: Option<Position>,
    /// Somebody wants it.
    pub matched: bool,
    /// It was through before, under its key: nothing was done.
    pub repeated: bool,
    /// What it is acknowledged at, if it asked for a level.
    pub reached: Option<Reached>,
}

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// Certainly nothing of it was kept.
    #[error("{0}")]
    Refused(Reason),
    #[error("the store failed in the middle; whether the message was kept is not known")]
    Unknown,
}

/// A caller's side of the door. Messages are kept in the order in which they are put.
pub struct Offering {
    publisher: Publisher,
    /// Tags of those in the publisher's line, which is bounded (`broker.commits_waiting_max`), in its order.
    line: VecDeque<u64>,
    /// Answers that nobody has taken; as many as the line may hold and one.
    answers: VecDeque<(u64, Result<Offered, NotTaken>)>,
}

impl Broker {
    /// The door for somebody who is not connected. Its client id names it where publishers are told apart.
    pub fn offering(&self, realm: &Arc<Realm>, principal: Arc<Principal>) -> Offering {
        let name = principal.client_id.clone();
        let key = SessionKey { realm: realm.name.clone(), kind: SessionKind::Client, name };
        let session = Session::new(key, None, None);
        let mut publisher = Publisher::new(self.clone(), realm.clone(), session, principal, None);
        publisher.active.get_or_insert_default().protocol = Some(GRPC);
        Offering { publisher, line: VecDeque::new(), answers: VecDeque::new() }
    }

    /// Publishes one message of somebody who is not connected, and waits until everything it owes is kept.
    ///
    /// # Errors
    /// See [`NotTaken`].
    pub async fn offer(
        &self,
        realm: &Arc<Realm>,
        principal: Arc<Principal>,
        publish: Publish<'_>,
    ) -> Result<Offered, NotTaken> {
        let mut offering = self.offering(realm, principal);
        offering.put(0, publish).await;
        offering.next().await.map_or(Err(NotTaken::Unknown), |(_, outcome)| outcome)
    }
}

impl Offering {
    /// Takes a message in, whose answer comes by [`Offering::next`] under this tag. Waits for room, and for receivers that
    /// are full; dropped while it waits, the message was not taken.
    pub async fn put(&mut self, tag: u64, publish: Publish<'_>) {
        loop {
            self.make_room().await;
            match self.publisher.publish(publish.clone(), Answering::Nothing) {
                Verdict::Hold => match self.publisher.long_match() {
                    Some(making) => {
                        let made = making.await;
                        self.publisher.matched(made);
                    }
                    None => self.push().await,
                },
                Verdict::Waiting => return self.line.push_back(tag),
                verdict => return self.answered(tag, verdict),
            }
        }
    }

    /// The next answer, in no order; waits for it. `None` = every message was answered. May be dropped while it waits.
    pub async fn next(&mut self) -> Option<(u64, Result<Offered, NotTaken>)> {
        // What was not kept leaves before its answer does.
        self.push().await;
        let answer = std::future::poll_fn(|cx| {
            if let Some(answer) = self.answers.pop_front() {
                return Poll::Ready(Some(answer));
            }
            if self.line.is_empty() {
                return Poll::Ready(None);
            }
            self.publisher.session.outbox.register(0, cx);
            if self.take_completed() { Poll::Ready(self.answers.pop_front()) } else { Poll::Pending }
        });
        let answer = answer.await;
        self.publisher.settle();
        answer
    }

    /// Messages that are not answered, or whose answer was not taken.
    pub fn open(&self) -> usize {
        self.line.len() + self.answers.len()
    }

    /// Waits until the line takes one more.
    async fn make_room(&mut self) {
        std::future::poll_fn(|cx| {
            if !self.publisher.is_full() {
                return Poll::Ready(());
            }
            self.publisher.session.outbox.register(0, cx);
            self.take_completed();
            if self.publisher.is_full() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }

    /// Takes one answer off the line, if there is one.
    fn take_completed(&mut self) -> bool {
        let Some((_, verdict)) = self.publisher.completed() else { return false };
        let tag = self.line.pop_front().unwrap_or_default();
        self.answered(tag, verdict);
        true
    }

    fn answered(&mut self, tag: u64, verdict: Verdict) {
        let (landed, claimed) = (self.publisher.landed(), self.publisher.position());
        let reached = self.publisher.reached();
        let outcome = match verdict {
            Verdict::Accepted { matched } => {
                let position = claimed.or(landed.position);
                Ok(Offered { position, matched, repeated: landed.repeated, reached })
            }
            Verdict::Refused(reason) => Err(NotTaken::Refused(reason)),
            Verdict::Waiting | Verdict::Hold | Verdict::Lost => Err(NotTaken::Unknown),
        };
        self.answers.push_back((tag, outcome));
    }

    /// Pushes what needs no store to its receivers; waits for one that is full.
    async fn push(&mut self) {
        while let Some(by) = self.publisher.pressed_by() {
            let limits = self.publisher.broker.limits();
            let low = std::future::poll_fn(|cx| match by.wait_until_low(cx.waker(), limits) {
                true => Poll::Pending,
                false => Poll::Ready(()),
            });
            let _ = tokio::time::timeout(PRESSED, low).await;
        }
        self.publisher.push();
    }
}
