//! The line: kept messages that wait for their commit, in arrival order, and what waits behind them.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use weir_model::{Level, Message, MessageId, Position, Qos, UnixMillis};
use weir_store::{Outcome, Refusal};

use super::claim::{self, Claim, Claimed};
use super::level::Reached;
use super::plan::{self, Plan};
use super::{Active, Answering, Commit, Landed, Publisher, Verdict};
use crate::clock;
use crate::fanout;
use crate::ledger::Ledger;
use crate::peers::Outgoing;
use crate::realm::Realm;
use crate::routes::Matched;
use crate::sync::Conditions;
use crate::sync::ticket::{Decided, Progress, Ticket};

/// A message whose commit, or whose turn, has not come yet.
pub(super) struct Waiting {
    pub(super) answering: Answering,
    /// The acknowledgement level it asks for.
    pub(super) level: Option<Level>,
    pub(super) bytes: usize,
    pub(super) stage: Stage,
    /// The term of the node's lease in which it came ([`weir_store::Store::term`]).
    pub(super) term: u64,
    /// Who wanted it when it came; found again if somebody subscribed since.
    pub(super) matched: Option<Arc<Matched>>,
}

impl Waiting {
    /// Whether it is a message, received and neither accepted nor refused yet.
    fn is_message(&self) -> bool {
        !matches!(self.stage, Stage::Releasing { .. })
    }
}

/// A message that is to go to the store.
pub(super) struct Owed {
    pub(super) message: Arc<Message>,
    /// When it is to be published, if not now.
    pub(super) due: Option<UnixMillis>,
    /// What its steps are answered at, if not at the store's own level.
    pub(super) level: Option<Level>,
    pub(super) conditions: Option<Box<Conditions>>,
}

impl Owed {
    /// Whether it depends on what its topic retains.
    pub(super) fn is_for_desk(&self, realm: &Realm) -> bool {
        self.due.is_none() && (self.conditions.is_some() || (self.message.retain && realm.merges()))
    }

    fn has_key(&self) -> bool {
        claim::key_of(self.message.properties.as_deref()).is_some()
    }
}

pub(super) enum Stage {
    /// A QoS 2 id is being noted; the rest follows when it is.
    Noting { owed: Owed, commit: Arc<Commit> },
    /// Its idempotency key is being claimed; the rest follows when it is.
    Claiming { owed: Owed, claim: Claim, commit: Arc<Commit> },
    /// One before it is claiming its key, or is held itself: it goes to the store after that one.
    Held { owed: Owed },
    /// The store has the plan.
    Keeping { message: Arc<Message>, plan: Box<Plan>, commit: Arc<Commit>, claim: Option<Claim> },
    /// Not kept: only waits for its turn.
    Turn { message: Arc<Message> },
    /// It is before the desk of its topic, for it has conditions or others do; it may come to wait there.
    Deciding { message: Arc<Message>, ticket: Arc<Ticket>, claim: Option<Claim> },
    /// It was decided there.
    Decided { message: Arc<Message>, decided: Decided, claim: Option<Claim> },
    /// A PUBREL in the store.
    Releasing { commit: Arc<Commit> },
    /// An earlier try of it was through.
    Through { position: Position },
    /// Refused while it waited.
    Refused(Refusal),
}

impl Stage {
    /// Whether the store does not have it yet as what it is.
    pub(super) fn is_preparing(&self) -> bool {
        matches!(
            self,
            Stage::Noting { .. } | Stage::Claiming { .. } | Stage::Held { .. } | Stage::Deciding { .. }
        )
    }

    /// Whether it may come to wait for its condition.
    pub(super) fn may_wait(&self) -> bool {
        let watches = |owed: &Owed| owed.conditions.as_ref().is_some_and(|conditions| conditions.watch);
        match self {
            Stage::Deciding { .. } => true,
            Stage::Noting { owed, .. } | Stage::Held { owed } => watches(owed),
            _ => false,
        }
    }

    /// Whether what is kept behind it must not reach the store before it.
    pub(super) fn holds_up(&self) -> bool {
        matches!(self, Stage::Claiming { .. } | Stage::Held { .. } | Stage::Deciding { .. })
    }
}

impl Publisher {
    /// The next message of the line that is through, in order.
    pub fn completed(&mut self) -> Option<(Answering, Verdict)> {
        loop {
            while self.advance() {}
            if let Some(done) = self.unparked() {
                return Some(done);
            }
            let active = self.active.as_mut()?;
            let head = active.line.front()?;
            let ready = match &head.stage {
                stage if stage.is_preparing() => false,
                Stage::Keeping { commit, .. } | Stage::Releasing { commit } => commit.is_answered(),
                _ => true,
            };
            if !ready {
                return None;
            }
            let head = active.line.pop_front()?;
            active.line_bytes -= head.bytes;
            active.messages -= u64::from(head.is_message());
            if let Some(done) = self.finish(head) {
                return Some(done);
            }
        }
    }

    /// The first message that is being prepared goes on to the store if it can. False when there is none, or it has to
    /// wait.
    fn advance(&mut self) -> bool {
        let Some(active) = self.active.as_mut().filter(|active| active.preparing > 0) else { return false };
        let Some(at) = active.line.iter().position(|waiting| waiting.stage.is_preparing()) else {
            return false;
        };
        if let Stage::Noting { commit, .. } | Stage::Claiming { commit, .. } = &active.line[at].stage
            && !commit.is_answered()
        {
            return false;
        }
        if let Stage::Deciding { ticket, .. } = &active.line[at].stage {
            match ticket.progress() {
                Progress::Pending => return false,
                Progress::Waits => {
                    active.park(at);
                    return true;
                }
                Progress::Decided(_) | Progress::Abandoned => {}
            }
        }
        let placeholder = Stage::Refused(Refusal::Unknown);
        let stage = std::mem::replace(&mut active.line[at].stage, placeholder);
        active.preparing -= 1;
        active.holding -= usize::from(stage.holds_up());
        let (matched, answering) = (active.line[at].matched.clone(), active.line[at].answering);
        let is_over = active.line[at].term != self.broker.store().term();
        let stage = match stage {
            // Its publisher may have gone on at another node: it must not come behind what it was sent before.
            Stage::Noting { owed, .. } | Stage::Claiming { owed, .. } | Stage::Held { owed }
                if is_over && owed.message.qos > Qos::AtMostOnce =>
            {
                Stage::Refused(Refusal::Unavailable)
            }
            Stage::Noting { owed, commit } => match plan::outcome(commit.take(), 0) {
                Ok(Outcome::Received { id, .. }) if owed.is_for_desk(&self.realm) => {
                    self.ask_desk(&owed, answering, Some(id))
                }
                Ok(Outcome::Received { .. }) if owed.has_key() => self.claim(owed),
                Ok(Outcome::Received { id, .. }) => self.keep_noted(owed, id, matched.as_ref()),
                Ok(_) => Stage::Refused(Refusal::Unknown),
                Err(refusal) => Stage::Refused(refusal),
            },
            Stage::Claiming { owed, claim, commit } => match claim.answered(commit.take()) {
                Ok(Claimed::Ours(claim)) => self.keep_claimed(&owed, claim, matched.as_ref()),
                Ok(Claimed::Through(position)) => Stage::Through { position },
                Err(refusal) => Stage::Refused(refusal),
            },
            Stage::Deciding { message, ticket, claim } => {
                let decided = ticket.abandon().unwrap_or(Decided::Lost);
                Stage::Decided { message, decided, claim }
            }
            Stage::Held { owed } if owed.is_for_desk(&self.realm) => self.ask_desk(&owed, answering, None),
            Stage::Held { owed } if owed.has_key() => self.claim(owed),
            Stage::Held { owed } => self.keep_held(owed, matched.as_ref()),
            other => other,
        };
        if let Some(active) = &mut self.active {
            active.preparing += usize::from(stage.is_preparing());
            active.holding += usize::from(stage.holds_up());
            active.line[at].stage = stage;
        }
        true
    }

    /// Takes the message's idempotency key, if nobody has.
    pub(super) fn claim(&self, owed: Owed) -> Stage {
        let key = claim::key_of(owed.message.properties.as_deref()).unwrap_or_default();
        let claim = Claim::new(&self.principal, key);
        let window = Duration::from_millis(self.broker.config().idempotency_window_ms);
        let step = claim.step(&self.realm.name, &owed.message, clock::unix(), window);
        let commit = Commit::submit_at(&self.broker, &self.session, vec![step], owed.level);
        Stage::Claiming { owed, claim, commit }
    }

    fn keep_claimed(&mut self, owed: &Owed, claim: Claim, matched: Option<&Arc<Matched>>) -> Stage {
        let matched = self.current(matched, &owed.message.topic);
        match self.keep(owed, Some(claim.id), &matched) {
            Stage::Keeping { message, plan, commit, .. } => {
                Stage::Keeping { message, plan, commit, claim: Some(claim) }
            }
            other => other,
        }
    }

    fn keep_held(&mut self, owed: Owed, matched: Option<&Arc<Matched>>) -> Stage {
        let message = &owed.message;
        let matched = self.current(matched, &message.topic);
        let queued = matched.queued && message.qos > Qos::AtMostOnce;
        if owed.due.is_none() && !message.retain && !queued && !is_recorded(&matched, message) {
            return Stage::Turn { message: owed.message };
        }
        self.keep(&owed, None, &matched)
    }

    fn keep_noted(&mut self, owed: Owed, id: MessageId, matched: Option<&Arc<Matched>>) -> Stage {
        let message = &owed.message;
        let matched = self.current(matched, &message.topic);
        if owed.due.is_none() && !message.retain && !matched.queued && !is_recorded(&matched, message) {
            return Stage::Turn { message: owed.message };
        }
        self.keep(&owed, Some(id), &matched)
    }

    /// What a topic matches now; what it matched before, if nobody has come or gone.
    fn current(&self, before: Option<&Arc<Matched>>, topic: &str) -> Arc<Matched> {
        let access = self.broker.access();
        let current = |matched: &&Arc<Matched>| {
            matched.access_version == access.version() && self.realm.routes.is_current(matched.generations)
        };
        match before.filter(current) {
            Some(matched) => matched.clone(),
            None => Arc::new(self.realm.routes.find(topic, access)),
        }
    }

    /// The head of the line has its answer: fan it out. `None` = it had to go to the store again.
    fn finish(&mut self, waiting: Waiting) -> Option<(Answering, Verdict)> {
        let Waiting { answering, level, matched, term, .. } = waiting;
        // The packet id of QoS 2 was noted for whatever became of the rest.
        let mut is_owed = matches!(answering, Answering::Pubrec(_)) && self.fence.is_some();
        let (message, plan) = match waiting.stage {
            Stage::Turn { message } => (message, None),
            Stage::Keeping { message, plan, commit, claim } => {
                let (delayed, records, id) = (plan.is_delayed(), plan.records(), plan.id());
                match plan.settle(&self.broker, commit.take()) {
                    Ok(mut plan) => {
                        if let Some(again) = plan.again(&message, Some(self.session.client_id())) {
                            let commit = Commit::again(&self.broker, &self.session, again);
                            let stage = Stage::Keeping { message, plan, commit, claim };
                            self.put_back(Waiting { answering, level, bytes: 0, stage, term, matched });
                            return None;
                        }
                        is_owed |= plan.is_owed || claim.is_some();
                        self.settle_claim(claim, &message);
                        (message, Some(plan))
                    }
                    // Somebody waits at the topic, or has left a will there.
                    Err(Refusal::Guarded) => {
                        let stage = self.ask_plainly(message, id, level, claim);
                        self.put_back(Waiting { answering, level, bytes: 0, stage, term, matched });
                        return None;
                    }
                    // Delivered all the same, but not retained (`guarantees.md` 5).
                    Err(refusal) if message.qos == Qos::AtMostOnce && !delayed => {
                        let (ledger, client) = (self.broker.ledger(), self.session.client_id());
                        if message.retain {
                            ledger.skip_retained(client, &message.topic);
                        }
                        ledger.skip_captured(client, &message.topic, records);
                        tracing::debug!(%refusal, "a QoS 0 message could not be kept");
                        (message, None)
                    }
                    Err(refusal) => {
                        self.broker.ledger().refuse(refusal.into());
                        return Some((answering, plan::verdict(refusal)));
                    }
                }
            }
            Stage::Releasing { commit } => {
                let verdict = match plan::outcome(commit.take(), 0) {
                    Ok(_) => Verdict::Accepted { matched: true },
                    Err(refusal) => plan::verdict(refusal),
                };
                return Some((answering, verdict));
            }
            Stage::Refused(refusal) => {
                self.broker.ledger().refuse(refusal.into());
                return Some((answering, plan::verdict(refusal)));
            }
            Stage::Through { position } => {
                self.active.get_or_insert_default().reached = level.map(|_| Reached::Nothing);
                return Some((answering, self.through(answering, position)));
            }
            Stage::Decided { message, decided, claim } => {
                return Some((answering, self.finish_decided((message, claim), answering, level, decided)));
            }
            Stage::Noting { .. } | Stage::Claiming { .. } | Stage::Held { .. } | Stage::Deciding { .. } => {
                return Some((answering, Verdict::Lost));
            }
        };
        let reached = level.map(|level| if is_owed { Reached::Level(level) } else { Reached::Nothing });
        self.active.get_or_insert_default().reached = reached;
        if plan.as_ref().is_some_and(|plan| plan.is_delayed()) {
            self.tally.accepted += 1;
            return Some((answering, Verdict::Accepted { matched: true }));
        }
        let matched = self.current(matched.as_ref(), &message.topic);
        self.fan_out(message, plan, (answering, term), matched)
    }

    fn fan_out(
        &mut self,
        message: Arc<Message>,
        plan: Option<Box<Plan>>,
        (answering, term): (Answering, u64),
        matched: Arc<Matched>,
    ) -> Option<(Answering, Verdict)> {
        if message.retain
            && let Some(plan) = &plan
        {
            // Somebody subscribed while it was in the store: their queues are owed it too.
            let mut more = plan.missing(&message, &matched, &self.session);
            if !more.steps.is_empty() {
                let steps = std::mem::take(&mut more.steps);
                let level = more.level;
                let commit = Commit::submit_at(&self.broker, &self.session, steps, level);
                self.tally.matched += self.push_plan(plan, &message);
                more.covers(plan);
                let stage = Stage::Keeping { message, plan: Box::new(more), commit, claim: None };
                let matched = Some(matched);
                self.put_back(Waiting { answering, level, bytes: 0, stage, term, matched });
                return None;
            }
        }
        let position = plan.as_ref().and_then(|plan| plan.position);
        let recorded = plan.as_ref().and_then(|plan| plan.recorded());
        let mut outgoing = Outgoing::of(position);
        let publisher = Some(&self.session);
        let (realm, to) = (&self.realm, Some(&mut outgoing));
        let kept = (&message, position);
        let mut copies = fanout::deliver_kept(&self.broker, realm, kept, &matched, publisher, to);
        copies += fanout::correct(&self.broker, realm, (&message, position), &matched);
        copies += match plan {
            Some(plan) => plan.push(&self.broker, &mut outgoing),
            None => Plan::groups(&self.broker, &message, &matched).push(&self.broker, &mut outgoing),
        };
        copies += outgoing.send(&self.broker, &self.realm.name, &message);
        matched.live.iter().for_each(|live| live.offer(&message));
        self.tally.accepted += 1;
        self.tally.matched += copies;
        self.tally.unmatched += u64::from(copies == 0);
        self.active.get_or_insert_default().landed =
            Landed { position: position.or(recorded), repeated: false };
        if let Answering::Pubrec(packet_id) = answering {
            self.session.fanned_out(packet_id, true);
        }
        Some((answering, Verdict::Accepted { matched: copies > 0 }))
    }

    /// A message with a key is where it belongs: who sends it again need only be told.
    pub(super) fn settle_claim(&mut self, claim: Option<Claim>, message: &Message) {
        let Some(claim) = claim else { return };
        self.active.get_or_insert_default().position = Some(claim.position);
        self.broker.store().submit(vec![claim.settled(&self.realm.name, message)], Box::new(drop));
    }

    /// The message was here before and is through: it is accepted, and goes nowhere.
    fn through(&mut self, answering: Answering, position: Position) -> Verdict {
        self.tally.accepted += 1;
        self.tally.unmatched += 1;
        counter!("weir_broker_repeats_answered_total").increment(1);
        let active = self.active.get_or_insert_default();
        active.position = Some(position);
        active.landed = Landed { position: None, repeated: true };
        if let Answering::Pubrec(packet_id) = answering {
            self.session.fanned_out(packet_id, true);
        }
        Verdict::Accepted { matched: true }
    }

    /// It has to go to the store again, before everything behind it.
    fn put_back(&mut self, waiting: Waiting) {
        let active = self.active.get_or_insert_default();
        active.messages += 1;
        active.preparing += usize::from(waiting.stage.is_preparing());
        active.holding += usize::from(waiting.stage.holds_up());
        active.line.push_front(waiting);
    }

    /// Gives the copies of a plan to who is online, here and elsewhere.
    fn push_plan(&self, plan: &Plan, message: &Message) -> u64 {
        let mut outgoing = Outgoing::default();
        let copies = plan.push(&self.broker, &mut outgoing);
        copies + outgoing.send(&self.broker, &self.realm.name, message)
    }

    /// Hands a message to the store, with everything it owes.
    pub(super) fn keep(&self, owed: &Owed, id: Option<MessageId>, matched: &Matched) -> Stage {
        let Owed { message, due, level, .. } = owed;
        let mut plan = match *due {
            Some(due) => Plan::delayed(&self.realm, message, id, due),
            None => Plan::new(&self.broker, &self.realm, message, matched, Some(&self.session), id),
        };
        let steps = std::mem::take(&mut plan.steps);
        (plan.level, plan.is_owed) = (*level, !steps.is_empty());
        let commit = Commit::submit_at(&self.broker, &self.session, steps, *level);
        Stage::Keeping { message: message.clone(), plan: Box::new(plan), commit, claim: None }
    }
}

fn is_recorded(matched: &Matched, message: &Message) -> bool {
    matched.is_recorded(message.qos, message.properties.as_deref())
}

impl Active {
    /// Tells the ledger how many messages are in the line now.
    pub(super) fn settle(&mut self, ledger: &Ledger) {
        ledger.in_lines(self.messages.cast_signed() - self.settled.cast_signed());
        self.settled = self.messages;
    }
}

/// A connection's task has panicked, or the node stops before its line was drained: what it has
/// counted is settled, and what it has taken in still goes to its receivers.
impl Drop for Publisher {
    fn drop(&mut self) {
        self.settle();
        let left =
            |active: &Active| !active.line.is_empty() || !active.run.is_empty() || !active.parked.is_empty();
        let Some(active) = self.active.take_if(|active| left(active) && !active.salvaged) else { return };
        let mut heir = Publisher::new(
            self.broker.clone(),
            self.realm.clone(),
            self.session.clone(),
            self.principal.clone(),
            self.fence,
        );
        heir.active = Some(Box::new(Active { salvaged: true, ..*active }));
        self.broker.runtime().spawn(async move { heir.drain().await });
    }
}
