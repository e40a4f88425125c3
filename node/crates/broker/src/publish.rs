//! The one door: every message of a connection comes in here, and nothing is fanned out elsewhere.
//!
//! A message that nobody durable wants joins the connection's current run and is pushed when the
//! read is done. A kept one (retained, delayed, or QoS 1/2 for a stored session) goes to the store
//! first and waits in the connection's bounded line; whatever comes behind it waits too, so that a
//! connection's messages reach the fan-out in arrival order.

pub mod cache;
pub mod internal;
pub mod plan;

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use weir_access::Action;
use weir_model::{Message, MessageId, Principal, Qos, Reason, UnixMillis};
use weir_store::{Answer, Fence, Outcome, Refusal, SessionOp, Step};

use crate::broker::Broker;
use crate::clock;
use crate::fanout::{self, Run};
use crate::form::Publish;
use crate::ledger::{Loss, Tally};
use crate::outbox::Bell;
use crate::realm::Realm;
use crate::session::Session;
use cache::Cache;
use plan::Plan;

/// How a publish wants to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answering {
    Nothing,
    Puback(u16),
    Pubrec(u16),
    /// A PUBREL: the packet id is being released.
    Pubcomp(u16),
}

/// What became of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Answer it now. `matched`: somebody wants it.
    Accepted {
        matched: bool,
    },
    /// [`Publisher::completed`] will say.
    Waiting,
    Refused(Reason),
    /// Not taken: [`Publisher::push`] must come first, when [`Publisher::pressed_by`] allows. Offer it again.
    Hold,
    /// The outcome is unknown: end the connection without an answer.
    Lost,
}

/// A connection's side of the door.
pub struct Publisher {
    pub broker: Broker,
    pub realm: Arc<Realm>,
    pub session: Arc<Session>,
    pub principal: Arc<Principal>,
    pub tally: Tally,
    /// Set for a stored session: its incoming QoS 2 ids are noted in the store.
    fence: Option<Fence>,
    active: Option<Box<Active>>,
}

/// What only a connection that publishes needs.
#[derive(Default)]
struct Active {
    cache: Cache,
    run: Run,
    line: VecDeque<Waiting>,
    /// Bytes of the messages in the line.
    line_bytes: usize,
}

/// A message whose commit, or whose turn, has not come yet.
struct Waiting {
    answering: Answering,
    bytes: usize,
    stage: Stage,
}

enum Stage {
    /// A QoS 2 id is being noted; the rest follows when it is.
    Noting { message: Arc<Message>, due: Option<UnixMillis>, commit: Arc<Commit> },
    /// The store has the plan.
    Keeping { message: Arc<Message>, plan: Box<Plan>, commit: Arc<Commit> },
    /// Not kept: only waits for its turn.
    Turn { message: Arc<Message> },
    /// A PUBREL in the store.
    Releasing { commit: Arc<Commit> },
    /// Refused while it waited.
    Refused(Verdict),
}

/// An answer of the store on its way to a connection.
pub struct Commit {
    answer: Mutex<Option<Answer>>,
    waker: AtomicWaker,
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

    pub fn is_answered(&self) -> bool {
        self.answer.lock().is_some()
    }

    fn take(&self) -> Option<Answer> {
        self.answer.lock().take()
    }
}

impl Publisher {
    pub fn new(
        broker: Broker,
        realm: Arc<Realm>,
        session: Arc<Session>,
        principal: Arc<Principal>,
        fence: Option<Fence>,
    ) -> Publisher {
        Publisher { broker, realm, session, principal, tally: Tally::default(), fence, active: None }
    }

    /// Takes a message in. Its run is pushed by [`Publisher::push`], which must follow before answers leave.
    pub fn publish(&mut self, publish: Publish<'_>, answering: Answering) -> Verdict {
        let active = self.active.get_or_insert_default();
        let line_empty = active.line.is_empty();
        let hit = match active.cache.find(&self.realm.routes, &self.broker, &self.principal, &publish) {
            Ok(hit) => hit,
            Err(reason) => {
                self.tally.receive(publish.payload.len());
                self.tally.refused += 1;
                return Verdict::Refused(reason);
            }
        };
        let matched = &hit.matched;
        let kept = publish.retain
            || (publish.qos > Qos::AtMostOnce && matched.queued)
            || (publish.qos == Qos::ExactlyOnce && self.fence.is_some())
            || publish.topic.starts_with(plan::DELAYED);
        let slow = kept || !line_empty || !matched.groups.is_empty();
        if slow || !active.run.takes(matched) || active.run.is_full() {
            if active.run.pressed_by(self.broker.limits()).is_some() {
                return Verdict::Hold;
            }
            self.tally.matched += active.run.push(&self.broker);
        }
        self.tally.receive(publish.payload.len());
        if slow {
            return self.publish_slowly(publish, answering, kept);
        }
        self.tally.accepted += 1;
        if matched.is_empty() {
            self.tally.unmatched += 1;
            return Verdict::Accepted { matched: false };
        }
        let message =
            (publish.qos > Qos::AtMostOnce).then(|| publish.to_message(hit.topic.clone(), clock::unix()));
        active.run.add(&self.broker, matched, &self.session, &publish, message);
        Verdict::Accepted { matched: true }
    }

    /// The way of what is kept, shared, or behind something kept.
    fn publish_slowly(&mut self, publish: Publish<'_>, answering: Answering, kept: bool) -> Verdict {
        let now = clock::unix();
        let (topic, due) = match plan::target(publish.topic, now, self.broker.config().delay_seconds_max) {
            Ok(found) => found,
            Err(reason) => {
                self.tally.refused += 1;
                return Verdict::Refused(reason);
            }
        };
        let topic_text = topic.clone();
        let publish = Publish { topic: &topic_text, ..publish };
        let message = publish.to_message(topic, now);
        let stage = match (self.fence, answering) {
            (Some(fence), Answering::Pubrec(packet_id)) => {
                let op = SessionOp::Receive { fence, packet_id };
                Stage::Noting { commit: self.submit_own(op), message, due }
            }
            _ if kept => self.keep(&message, None, due),
            _ => Stage::Turn { message },
        };
        let active = self.active.get_or_insert_default();
        let bytes = publish.topic.len() + publish.payload.len();
        active.line_bytes += bytes;
        active.line.push_back(Waiting { answering, bytes, stage });
        if active.line.len() > 1 {
            return Verdict::Waiting;
        }
        match self.completed() {
            Some((_, verdict)) => verdict,
            None => Verdict::Waiting,
        }
    }

    fn keep(&mut self, message: &Arc<Message>, id: Option<MessageId>, due: Option<UnixMillis>) -> Stage {
        let mut plan = match due {
            Some(due) => Plan::delayed(&self.realm, message, id, due),
            None => {
                let matched = self.realm.routes.find(&message.topic);
                Plan::new(&self.realm, message, &matched, Some(&self.session), id)
            }
        };
        let steps = std::mem::take(&mut plan.steps);
        let commit = Commit::submit(&self.broker, &self.session, steps);
        Stage::Keeping { message: message.clone(), plan: Box::new(plan), commit }
    }

    fn submit_own(&self, op: SessionOp) -> Arc<Commit> {
        let step = Step::Session { key: self.session.key.clone(), ops: [op].into_iter().collect() };
        Commit::submit(&self.broker, &self.session, vec![step])
    }

    /// PUBREL for a QoS 2 message. `None` = answer PUBCOMP now.
    pub fn release(&mut self, packet_id: u16) -> Verdict {
        self.session.fanned_out(packet_id, false);
        let Some(fence) = self.fence else { return Verdict::Accepted { matched: true } };
        let commit = self.submit_own(SessionOp::Release { fence, packet_id });
        let active = self.active.get_or_insert_default();
        let waiting = Waiting {
            answering: Answering::Pubcomp(packet_id),
            bytes: 0,
            stage: Stage::Releasing { commit },
        };
        active.line.push_back(waiting);
        match active.line.len() {
            1 => self.completed().map_or(Verdict::Waiting, |(_, verdict)| verdict),
            _ => Verdict::Waiting,
        }
    }

    /// The next message of the line that is through, in order.
    pub fn completed(&mut self) -> Option<(Answering, Verdict)> {
        loop {
            self.advance_notes();
            let active = self.active.as_mut()?;
            let head = active.line.front()?;
            let ready = match &head.stage {
                Stage::Noting { .. } => false,
                Stage::Keeping { commit, .. } | Stage::Releasing { commit } => commit.is_answered(),
                Stage::Turn { .. } | Stage::Refused(_) => true,
            };
            if !ready {
                return None;
            }
            let head = active.line.pop_front()?;
            active.line_bytes -= head.bytes;
            if let Some(done) = self.finish(head) {
                return Some(done);
            }
        }
    }

    /// QoS 2 ids that have been noted: their messages go to the store now, in order.
    fn advance_notes(&mut self) {
        let Some(active) = &mut self.active else { return };
        let noted = |w: &Waiting| match &w.stage {
            Stage::Noting { commit, .. } => Some(commit.is_answered()),
            _ => None,
        };
        let Some(at) = active.line.iter().position(|w| noted(w) == Some(true)) else { return };
        if active.line.iter().take(at).any(|w| noted(w) == Some(false)) {
            return;
        }
        let placeholder = Stage::Refused(Verdict::Lost);
        let Stage::Noting { message, due, commit } =
            std::mem::replace(&mut active.line[at].stage, placeholder)
        else {
            return;
        };
        let stage = match plan::outcome(commit.take(), 0) {
            Ok(Outcome::Received { id, .. }) => self.keep_noted(message, id, due),
            Ok(_) => Stage::Refused(Verdict::Lost),
            Err(refusal) => Stage::Refused(plan::verdict(refusal)),
        };
        if let Some(active) = &mut self.active {
            active.line[at].stage = stage;
        }
        self.advance_notes();
    }

    fn keep_noted(&mut self, message: Arc<Message>, id: MessageId, due: Option<UnixMillis>) -> Stage {
        let matched = self.realm.routes.find(&message.topic);
        if due.is_none() && !message.retain && !matched.queued {
            return Stage::Turn { message };
        }
        self.keep(&message, Some(id), due)
    }

    /// The head of the line has its answer: fan it out. `None` = it had to go to the store again.
    fn finish(&mut self, waiting: Waiting) -> Option<(Answering, Verdict)> {
        let answering = waiting.answering;
        let (message, plan) = match waiting.stage {
            Stage::Turn { message } => (message, None),
            Stage::Keeping { message, plan, commit } => match plan.settle(&self.broker, commit.take()) {
                Ok(plan) => (message, Some(plan)),
                Err(refusal) if message.qos == Qos::AtMostOnce => {
                    self.broker.ledger().lost(Loss::RetainSkipped, u64::from(message.retain));
                    tracing::debug!(%refusal, "a QoS 0 message could not be kept");
                    (message, None)
                }
                Err(refusal) => {
                    self.tally.refused += 1;
                    self.broker.ledger().lost(Loss::StoreRefused, 1);
                    return Some((answering, plan::verdict(refusal)));
                }
            },
            Stage::Releasing { commit } => {
                let verdict = match plan::outcome(commit.take(), 0) {
                    Ok(_) => Verdict::Accepted { matched: true },
                    Err(refusal) => plan::verdict(refusal),
                };
                return Some((answering, verdict));
            }
            Stage::Refused(verdict) => return Some((answering, verdict)),
            Stage::Noting { .. } => return Some((answering, Verdict::Lost)),
        };
        if plan.as_ref().is_some_and(|plan| plan.is_delayed()) {
            self.tally.accepted += 1;
            return Some((answering, Verdict::Accepted { matched: true }));
        }
        self.fan_out(message, plan, answering)
    }

    fn fan_out(
        &mut self,
        message: Arc<Message>,
        plan: Option<Box<Plan>>,
        answering: Answering,
    ) -> Option<(Answering, Verdict)> {
        let matched = self.realm.routes.find(&message.topic);
        if message.retain
            && let Some(plan) = &plan
        {
            // Somebody subscribed while it was in the store: their queues are owed it too.
            let mut more = plan.missing(&message, &matched, &self.session);
            if !more.steps.is_empty() {
                let steps = std::mem::take(&mut more.steps);
                let commit = Commit::submit(&self.broker, &self.session, steps);
                plan.push(&self.broker);
                more.covers(plan);
                let stage = Stage::Keeping { message, plan: Box::new(more), commit };
                let active = self.active.get_or_insert_default();
                active.line.push_front(Waiting { answering, bytes: 0, stage });
                return None;
            }
        }
        let mut copies = fanout::deliver(&self.broker, &message, &matched, Some(&self.session));
        copies += match plan {
            Some(plan) => plan.push(&self.broker),
            None => Plan::groups(&message, &matched).push(&self.broker),
        };
        self.tally.accepted += 1;
        self.tally.matched += copies;
        self.tally.unmatched += u64::from(copies == 0);
        if let Answering::Pubrec(packet_id) = answering {
            self.session.fanned_out(packet_id, true);
        }
        Some((answering, Verdict::Accepted { matched: copies > 0 }))
    }

    /// Pushes the run to its receivers.
    pub fn push(&mut self) {
        if let Some(active) = &mut self.active
            && !active.run.is_empty()
        {
            self.tally.matched += active.run.push(&self.broker);
        }
    }

    /// A receiver to wait for before [`Publisher::push`], and before more is read.
    pub fn pressed_by(&self) -> Option<Arc<Session>> {
        let active = self.active.as_ref()?;
        active.run.pressed_by(self.broker.limits())
    }

    /// Whether the line is full: read no more until something completes.
    pub fn is_full(&self) -> bool {
        let config = self.broker.config();
        self.active.as_ref().is_some_and(|active| {
            active.line.len() >= config.commits_waiting_max
                || active.line_bytes >= config.commits_waiting_bytes_max
        })
    }

    pub fn waiting(&self) -> usize {
        self.active.as_ref().map_or(0, |active| active.line.len())
    }

    /// Settles the counts with the node's ledger.
    pub fn settle(&mut self) {
        let ledger = self.broker.ledger();
        ledger.settle(&mut self.tally);
    }

    /// The connection is over: what is in the line is still owed to its receivers.
    pub async fn drain(&mut self) {
        self.push();
        while self.waiting() > 0 {
            std::future::poll_fn(|cx| {
                if let Some(commit) = self.head() {
                    commit.waker.register(cx.waker());
                }
                match self.completed() {
                    Some(_) => std::task::Poll::Ready(()),
                    None if self.waiting() == 0 => std::task::Poll::Ready(()),
                    None => std::task::Poll::Pending,
                }
            })
            .await;
        }
        self.settle();
    }

    /// The commit the head of the line waits for.
    fn head(&self) -> Option<&Commit> {
        match &self.active.as_ref()?.line.front()?.stage {
            Stage::Noting { commit, .. } | Stage::Keeping { commit, .. } | Stage::Releasing { commit } => {
                Some(commit)
            }
            Stage::Turn { .. } | Stage::Refused(_) => None,
        }
    }

    /// Whether this principal may subscribe to a filter.
    pub fn may_subscribe(&self, filter: &str, qos: Qos) -> bool {
        self.broker.access().may(&self.principal, Action::Subscribe { filter, qos })
    }
}

impl From<Refusal> for Verdict {
    fn from(refusal: Refusal) -> Verdict {
        plan::verdict(refusal)
    }
}
