//! The one door: every message of a connection comes in here, and nothing is fanned out elsewhere.
//!
//! A message that nobody durable wants joins the connection's current run and is pushed when the
//! read is done. A kept one (retained, delayed, or QoS 1/2 for a stored session) goes to the store
//! first and waits in the connection's bounded line; whatever comes behind it waits too, so that a
//! connection's messages reach the fan-out in arrival order.

pub mod cache;
pub mod claim;
mod commit;
mod decided;
pub mod internal;
pub mod level;
mod line;
mod long;
pub(crate) mod matches;
pub mod offered;
mod passing;
pub mod plan;
pub(crate) mod settle;
mod shared;

use std::collections::VecDeque;
use std::sync::Arc;

use weir_access::Identity;
use weir_model::{Filter, Level, Position, Principal, Qos, Reason};
use weir_store::{Fence, Refusal, SessionOp, Step};

use crate::addressed::is_addressed;
use crate::binding::Hook;
use crate::broker::Broker;
use crate::clock;
use crate::explain;
use crate::fanout::Run;
use crate::form::Publish;
use crate::ledger::Tally;
use crate::limited::Limit;
use crate::peers::Pressed;
use crate::realm::Realm;
use crate::routes::Matched;
use crate::session::Session;
use crate::stream::history;
use cache::{Cache, Miss};
pub use commit::Commit;
use level::Reached;
use line::{Owed, Stage, Waiting};
pub use long::LongMatch;
pub use passing::Speaker;

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
    /// Not taken: what [`Publisher::long_match`] says must come first if it says something, else
    /// [`Publisher::push`], when [`Publisher::pressed_by`] allows. Offer it again.
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
    /// What waits for its condition; it holds nothing up. At most `waiters_per_session_max`.
    parked: Vec<Waiting>,
    /// Bytes of the messages in the line.
    line_bytes: usize,
    /// How many in the line have not been handed to the store yet as what they are: [`Stage::is_preparing`].
    preparing: usize,
    /// And how many of those have everything behind them wait: [`Stage::holds_up`].
    holding: usize,
    /// Where the message answered last stands, if it has an idempotency key.
    position: Option<Position>,
    /// What it was acknowledged at, if it asked for a level.
    reached: Option<Reached>,
    /// What else became of it.
    landed: Landed,
    /// Messages in the line, and how many of them the ledger knows of.
    messages: u64,
    settled: u64,
    /// It was taken over from a publisher whose task has panicked.
    salvaged: bool,
    /// A full link that a publish waits for.
    pressed: Option<Pressed>,
    /// Why middleware refused the message answered last.
    why: Option<Arc<str>>,
    /// What middleware is told that it speaks; `None` = what its connection does.
    protocol: Option<&'static str>,
}

/// What became of a message that was kept.
#[derive(Debug, Clone, Copy, Default)]
struct Landed {
    /// Where it stands as retained value, or else in the first stream that captured it.
    position: Option<Position>,
    /// It was through before, under its idempotency key.
    repeated: bool,
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
        self.take(publish, answering, true)
    }

    /// `is_new`: middleware has not been asked about it.
    fn take(&mut self, publish: Publish<'_>, answering: Answering, is_new: bool) -> Verdict {
        // A node without its lease may not know who has subscribed since (`guarantees.md` 5).
        if publish.qos > Qos::AtMostOnce && !self.broker.store().stands() {
            return self.turn_away(&publish, Reason::Busy);
        }
        let active = self.active.get_or_insert_default();
        let (broker, realm, protocol) = (&self.broker, &*self.realm, active.protocol);
        let speaker = Speaker { broker, realm, session: &self.session, principal: &self.principal, protocol };
        let line_empty = active.line.is_empty();
        let hit = match active.cache.find(speaker, &publish) {
            Ok(hit) => hit,
            Err(miss) => return self.missed(&publish, miss),
        };
        let matched = &hit.matched;
        if publish.qos > Qos::AtMostOnce && self.broker.peers().any() {
            let since_ms = active.pressed.take().map_or_else(clock::now_ms, |pressed| pressed.since_ms);
            active.pressed = self.broker.peers().pressed_by(&self.realm, matched, publish.topic, since_ms);
            if active.pressed.is_some() {
                return Verdict::Hold;
            }
        }
        if is_new && realm.middleware.wants(Hook::Publish) {
            match speaker.passes(&publish) {
                Ok(None) => {}
                Ok(Some(altered)) => return self.publish_altered(&publish, altered, answering),
                Err(refusal) => return self.stop(&publish, refusal),
            }
        }
        let level = match level::asked(&self.broker, &self.principal, &publish) {
            Ok(level) => level,
            Err(reason) => return self.turn_away(&publish, reason),
        };
        let kept = is_kept(&publish, answering, self.fence.is_some(), matched);
        let some_only = is_addressed(publish.properties.as_deref());
        let depends = matched.selects() || !matched.groups.is_empty();
        let slow = kept || some_only || !line_empty || depends || {
            // Each receiver's copy is its own then.
            realm.middleware.wants_of(Hook::Deliver, publish.topic)
        };
        if slow || !active.run.takes(matched, publish.qos) || active.run.is_full() {
            if active.run.pressed_by(self.broker.limits()).is_some() {
                return Verdict::Hold;
            }
            active.run.push(&self.broker, &mut self.tally);
        }
        self.tally.receive(publish.payload.len());
        if let Some(level) = level {
            level::count_taken(&self.broker, level);
        }
        if slow {
            let matched = matched.clone();
            return self.publish_slowly(publish, level, answering, kept, matched);
        }
        active.reached = level.map(|_| Reached::Nothing);
        self.tally.accepted += 1;
        if matched.is_empty() {
            self.tally.unmatched += 1;
            return Verdict::Accepted { matched: false };
        }
        let is_shared = publish.qos > Qos::AtMostOnce || !matched.live.is_empty();
        let message = is_shared.then(|| publish.to_message(hit.topic.clone(), clock::unix()));
        if let Some(message) = &message {
            matched.live.iter().for_each(|live| live.offer(message));
        }
        let message = message.filter(|message| message.qos > Qos::AtMostOnce);
        active.run.add(&self.broker, &self.realm, matched, Some(&self.session), &publish, message);
        Verdict::Accepted { matched: true }
    }

    /// It has no way in, or none yet.
    fn missed(&mut self, publish: &Publish<'_>, miss: Miss) -> Verdict {
        match miss {
            Miss::Long => Verdict::Hold,
            Miss::Stopped(refusal) => self.stop(publish, refusal),
            Miss::Refused(_) if publish.topic == explain::TOPIC => {
                self.tally.receive(publish.payload.len());
                self.explain(publish)
            }
            Miss::Refused(reason) => self.turn_away(publish, reason),
        }
    }

    /// Refuses a message before anything of it is done.
    pub fn turn_away(&mut self, publish: &Publish<'_>, reason: Reason) -> Verdict {
        self.tally.receive(publish.payload.len());
        self.broker.ledger().refuse(reason.into());
        Verdict::Refused(reason)
    }

    /// The way of what is kept, shared, or behind something kept.
    fn publish_slowly(
        &mut self,
        publish: Publish<'_>,
        level: Option<Level>,
        answering: Answering,
        kept: bool,
        matched: Arc<Matched>,
    ) -> Verdict {
        let now = clock::unix();
        let (topic, due) = match plan::target(publish.topic, now, self.broker.config().delay_seconds_max) {
            Ok(found) => found,
            Err(reason) => {
                self.broker.ledger().refuse(reason.into());
                return Verdict::Refused(reason);
            }
        };
        let term = self.broker.store().term();
        if publish.qos > Qos::AtMostOnce && self.waits_since_before(term) {
            self.broker.ledger().refuse(Reason::Busy.into());
            return Verdict::Refused(Reason::Busy);
        }
        let topic_text = topic.clone();
        let mut publish = Publish { topic: &topic_text, ..publish };
        if matched.history_of(publish.qos, publish.properties.as_deref()).is_some() {
            history::number(&mut publish.properties);
        }
        let key = claim::key_of(publish.properties.as_deref());
        if key.is_some_and(|key| key.len() > claim::KEY_BYTES_MAX) {
            self.broker.ledger().refuse(Reason::Quota.into());
            return Verdict::Refused(Reason::Quota);
        }
        let message = publish.to_message(topic, now);
        let bytes = message.size_bytes();
        let owed = Owed { message, due, level, conditions: publish.conditions };
        if let Err(reason) = self.may_ask(&owed, answering) {
            self.broker.ledger().refuse(reason.into());
            return Verdict::Refused(reason);
        }
        let stage = match (self.fence, answering) {
            (Some(fence), Answering::Pubrec(packet_id)) => {
                let op = SessionOp::Receive { fence, packet_id };
                Stage::Noting { commit: self.submit_own(op, level), owed }
            }
            _ if self.is_held_up() => Stage::Held { owed },
            _ if owed.is_for_desk(&self.realm) => self.ask_desk(&owed, answering, None),
            _ if key.is_some() => self.claim(owed),
            _ if kept => self.keep(&owed, None, &matched),
            _ => Stage::Turn { message: owed.message },
        };
        let active = self.active.get_or_insert_default();
        active.line_bytes += bytes;
        active.preparing += usize::from(stage.is_preparing());
        active.holding += usize::from(stage.holds_up());
        active.messages += 1;
        let matched = Some(matched);
        active.line.push_back(Waiting { answering, level, bytes, stage, term, matched });
        if active.line.len() > 1 {
            return Verdict::Waiting;
        }
        match self.completed() {
            Some((_, verdict)) => verdict,
            None => Verdict::Waiting,
        }
    }

    /// Where the message stands that was answered last; of one with an idempotency key, where its first try does.
    pub fn position(&mut self) -> Option<Position> {
        self.active.as_mut()?.position.take()
    }

    /// What the message answered last was acknowledged at, if it asked for a level.
    pub fn reached(&mut self) -> Option<Reached> {
        self.active.as_mut()?.reached.take()
    }

    /// What became of the message answered last.
    fn landed(&mut self) -> Landed {
        self.active.as_mut().map_or_else(Landed::default, |active| std::mem::take(&mut active.landed))
    }

    /// Whether something in the line came in an older term of the node's lease: it may come to nothing, and then what
    /// came behind it must not have been kept.
    fn waits_since_before(&self, term: u64) -> bool {
        let oldest = self.active.as_ref().and_then(|active| active.line.front());
        oldest.is_some_and(|oldest| oldest.term != term)
    }

    fn is_held_up(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.holding > 0)
    }

    fn submit_own(&self, op: SessionOp, level: Option<Level>) -> Arc<Commit> {
        let step = Step::Session { key: self.session.key.clone(), ops: [op].into_iter().collect() };
        Commit::submit_at(&self.broker, &self.session, vec![step], level)
    }

    /// PUBREL for a QoS 2 message. `None` = answer PUBCOMP now.
    pub fn release(&mut self, packet_id: u16) -> Verdict {
        self.session.fanned_out(packet_id, false);
        let Some(fence) = self.fence else { return Verdict::Accepted { matched: true } };
        let commit = self.submit_own(SessionOp::Release { fence, packet_id }, None);
        let active = self.active.get_or_insert_default();
        let waiting = Waiting {
            answering: Answering::Pubcomp(packet_id),
            level: None,
            bytes: 0,
            stage: Stage::Releasing { commit },
            term: self.broker.store().term(),
            matched: None,
        };
        active.line.push_back(waiting);
        match active.line.len() {
            1 => self.completed().map_or(Verdict::Waiting, |(_, verdict)| verdict),
            _ => Verdict::Waiting,
        }
    }

    /// Pushes the run to its receivers.
    pub fn push(&mut self) {
        if let Some(active) = &mut self.active
            && !active.run.is_empty()
        {
            active.run.push(&self.broker, &mut self.tally);
        }
    }

    /// The match a held publish waits for, to be made while this connection does other things;
    /// [`Publisher::matched`] takes what comes of it, and then the publish is to be offered again.
    pub fn long_match(&mut self) -> Option<impl Future<Output = LongMatch> + Send + use<>> {
        let topic = self.active.as_mut()?.cache.wanted()?;
        Some(long::find(self.broker.clone(), self.realm.clone(), topic))
    }

    pub fn matched(&mut self, made: LongMatch) {
        self.active.get_or_insert_default().cache.made(made);
    }

    /// A receiver to wait for before [`Publisher::push`], and before more is read.
    pub fn pressed_by(&self) -> Option<Arc<Session>> {
        let active = self.active.as_ref()?;
        let link = active.pressed.as_ref().filter(|pressed| self.broker.peers().still_presses(pressed));
        let peer = link.map(|pressed| pressed.peer.clone());
        peer.or_else(|| active.run.pressed_by(self.broker.limits()))
    }

    /// Whether the line is full: read no more until something completes.
    pub fn is_full(&self) -> bool {
        self.full_by().is_some()
    }

    /// The limit by which the line is full.
    pub fn full_by(&self) -> Option<Limit> {
        let (config, active) = (self.broker.config(), self.active.as_ref()?);
        if active.line.len() >= config.commits_waiting_max {
            return Some(Limit::CommitsWaiting);
        }
        if active.line_bytes >= config.commits_waiting_bytes_max {
            return Some(Limit::CommitsWaitingBytes);
        }
        (!active.line.is_empty() && !self.broker.store().has_room()).then_some(Limit::StoreIntake)
    }

    pub fn waiting(&self) -> usize {
        self.active.as_ref().map_or(0, |active| active.line.len())
    }

    /// Settles the counts with the node's ledger.
    pub fn settle(&mut self) {
        let ledger = self.broker.ledger();
        ledger.settle(&mut self.tally);
        if let Some(active) = &mut self.active {
            active.settle(ledger);
        }
    }

    /// The connection is over: what is in the line is still owed to its receivers.
    pub async fn drain(&mut self) {
        self.push();
        while self.waiting() > 0 {
            std::future::poll_fn(|cx| {
                self.register(cx);
                match self.completed() {
                    Some(_) => std::task::Poll::Ready(()),
                    None if self.waiting() == 0 => std::task::Poll::Ready(()),
                    None => std::task::Poll::Pending,
                }
            })
            .await;
        }
        self.leave_parked();
        self.settle();
    }

    /// Wakes this task when what the head of the line waits for is there.
    fn register(&self, cx: &std::task::Context<'_>) {
        let head = self.active.as_ref().and_then(|active| active.line.front());
        let Some(head) = head else { return };
        match &head.stage {
            Stage::Noting { commit, .. }
            | Stage::Claiming { commit, .. }
            | Stage::Keeping { commit, .. }
            | Stage::Releasing { commit } => commit.waker.register(cx.waker()),
            Stage::Deciding { ticket, .. } => ticket.register(cx),
            Stage::Held { .. }
            | Stage::Turn { .. }
            | Stage::Through { .. }
            | Stage::Decided { .. }
            | Stage::Refused(_) => {}
        }
    }

    /// The highest QoS this principal may subscribe to a filter with; `None` = not at all.
    pub fn subscribe_right(&self, filter: &Filter) -> Option<Qos> {
        self.broker.access().subscribe_right(&self.principal, filter)
    }

    /// The client has proved anew who it is.
    pub fn set_identity(&mut self, identity: &Arc<Identity>) {
        self.principal = identity.principal.clone();
        self.session.set_identity(identity.clone());
        if let Some(active) = &mut self.active {
            active.cache = Cache::default();
        }
    }
}

/// Whether something of a message goes to the store before it goes anywhere else. `is_noted`: so do the packet ids of
/// QoS 2, as the message came, whatever middleware has made of it.
fn is_kept(publish: &Publish<'_>, answering: Answering, is_noted: bool, matched: &Matched) -> bool {
    publish.retain
        || (publish.qos > Qos::AtMostOnce && matched.queued)
        || matched.is_recorded(publish.qos, publish.properties.as_deref())
        || claim::key_of(publish.properties.as_deref()).is_some()
        || publish.conditions.is_some()
        || (is_noted && matches!(answering, Answering::Pubrec(_)))
        || publish.topic.starts_with(plan::DELAYED)
}

impl From<Refusal> for Verdict {
    fn from(refusal: Refusal) -> Verdict {
        plan::verdict(refusal)
    }
}
