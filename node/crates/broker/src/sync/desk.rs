//! The desk: publishes that have to be decided, topic by topic, one task of a node at a time.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Weak};

use hashbrown::{HashMap, HashSet};
use metrics::counter;
use parking_lot::Mutex;
use weir_model::{Level, Message, MessageId, Position, Reason, UnixMillis};
use weir_store::{Exchange, GUARD_BYTES_MAX, Outcome, Refusal, Step, TableRow, TopicOp, guarded};

use super::decide::{Cell, Input, Reply, Rules};
use super::deliver::Accepted;
use super::guard::Guard;
use super::guards::{Guards, Place};
use super::ticket::{Decided, Progress, Ticket};
use crate::broker::Broker;
use crate::clock;
use crate::publish::plan;
use crate::realm::Realm;

/// Inputs decided in one step.
const BATCH_MAX: usize = 64;

/// How often one is decided anew because another node was faster, before it is refused as busy.
const TRIES_MAX: usize = 50;

/// Source and count of the ids that this process gives.
static SOURCE: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(1u8));
static COUNT: AtomicU64 = AtomicU64::new(0);

/// An id that nothing else has.
pub(crate) fn next_id() -> MessageId {
    MessageId::claimed(*SOURCE, COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Something to be decided.
pub(super) struct Job {
    pub input: Input,
    pub ticket: Option<Arc<Ticket>>,
    /// What its steps are answered at, if not at the store's own level.
    pub level: Option<Level>,
}

/// Somebody of this node who waits for the turn of a publish.
struct Waiting {
    id: MessageId,
    ticket: Weak<Ticket>,
    /// When it has waited long enough.
    until: Option<UnixMillis>,
}

#[derive(Default)]
pub(crate) struct Desk {
    /// Topics that a task works on, with what came since. As many jobs as messages in the lines of connections, which
    /// are bounded, and a few of the node's own.
    queues: Mutex<HashMap<Place, VecDeque<Job>>>,
    /// Bounded by `waiters_per_topic_max`.
    waiting: Mutex<HashMap<Place, Vec<Waiting>>>,
    /// What this node has handed out, until its guard knows.
    handed_out: Mutex<HashSet<MessageId>>,
    pub(super) guards: Guards,
    /// A session has ended here.
    pub(super) is_to_look: AtomicBool,
}

/// What one step has come to.
struct Stepped {
    replies: Vec<Reply>,
    cell: Cell,
    positions: Vec<Position>,
    guard: Guard,
}

/// Something to be handed out.
struct Due {
    at: u32,
    id: MessageId,
    message: Arc<Message>,
    position: Option<Position>,
    ticket: Option<Arc<Ticket>>,
    level: Option<Level>,
    is_owed: bool,
}

impl Desk {
    /// Topics with a guard, and publishes that wait at them.
    pub fn count(&self) -> (usize, usize) {
        self.guards.count()
    }

    /// Sessions have ended: their wills and places are to be seen to soon.
    pub fn look_soon(&self) {
        self.is_to_look.store(true, Ordering::Release);
    }

    fn wait_for(&self, place: &Place, id: MessageId, ticket: &Arc<Ticket>, until: Option<UnixMillis>) {
        let mut waiting = self.waiting.lock();
        let here = waiting.entry(place.clone()).or_default();
        here.retain(|known| known.id != id && known.ticket.strong_count() > 0);
        here.push(Waiting { id, ticket: Arc::downgrade(ticket), until });
    }

    /// The ticket of a publish that had to wait.
    fn ticket_of(&self, place: &Place, id: MessageId) -> Option<Arc<Ticket>> {
        self.waiting.lock().get(place)?.iter().find(|waiting| waiting.id == id)?.ticket.upgrade()
    }

    /// Who waits for something that the guard does not know any more; they are forgotten.
    fn left_out(&self, place: &Place, guard: &Guard) -> Vec<Waiting> {
        let mut waiting = self.waiting.lock();
        let Some(here) = waiting.get_mut(place) else { return Vec::new() };
        let is_known = |id| {
            guard.waiters.iter().any(|waiter| waiter.id == id) || guard.owed.iter().any(|owed| owed.id == id)
        };
        let left = here.extract_if(.., |waiting| !is_known(waiting.id)).collect();
        if here.is_empty() {
            waiting.remove(place);
        }
        left
    }

    fn has_waiting(&self, place: &Place) -> bool {
        self.waiting.lock().contains_key(place)
    }
}

impl Broker {
    /// This node in guards: its incarnation, or when it shares its store with nobody, its start.
    pub(super) fn guard_home(&self) -> u64 {
        match self.incarnation() {
            0 => *SOURCE,
            incarnation => incarnation,
        }
    }

    /// Puts something before the desk.
    pub(super) fn ask_desk(&self, realm: &Arc<Realm>, topic: &weir_model::Topic, job: Job) {
        let place = (realm.name.clone(), topic.clone());
        let mut queues = self.desk().queues.lock();
        if let Some(queue) = queues.get_mut(&place) {
            return queue.push_back(job);
        }
        queues.insert(place.clone(), VecDeque::from([job]));
        drop(queues);
        let (broker, realm) = (self.clone(), realm.clone());
        let given_up = GivenUp { broker: broker.clone(), place: Some(place.clone()) };
        self.runtime().spawn(async move {
            broker.work_at(&realm, &place).await;
            given_up.not_so();
        });
    }

    /// The mirror tells that a guard has changed.
    pub(crate) fn guard_changed(&self, row: &TableRow) {
        let Some(row) = guarded(row) else {
            return tracing::error!(version = row.version, "a row of a guard cannot be read");
        };
        let Some(place) = self.desk().guards.heard(row) else { return };
        let home = self.guard_home();
        let is_mine = self.desk().guards.get(&place).is_some_and(|known| {
            let handed_out = self.desk().handed_out.lock();
            known.guard.owed.iter().any(|owed| owed.home == home && !handed_out.contains(&owed.id))
        });
        if is_mine || self.desk().has_waiting(&place) {
            let realm = self.realm_or_new(&place.0);
            self.ask_desk(&realm, &place.1, Job { input: Input::Look, ticket: None, level: None });
        }
    }

    async fn work_at(&self, realm: &Arc<Realm>, place: &Place) {
        loop {
            let jobs: Vec<Job> = {
                let mut queues = self.desk().queues.lock();
                let Some(queue) = queues.get_mut(place) else { return };
                if queue.is_empty() {
                    queues.remove(place);
                    return;
                }
                let first = queue.len().min(BATCH_MAX);
                queue.drain(..first).collect()
            };
            self.work_on(realm, place, jobs).await;
        }
    }

    async fn work_on(&self, realm: &Arc<Realm>, place: &Place, mut jobs: Vec<Job>) {
        let stepped = match self.step(realm, place, &jobs).await {
            Ok(stepped) => stepped,
            Err(refusal) => return self.turn_down(&jobs, refusal),
        };
        let later = jobs.split_off(stepped.replies.len());
        let is_full = stepped.cell.is_full();
        if is_full || !later.is_empty() {
            let mut queues = self.desk().queues.lock();
            let queue = queues.entry(place.clone()).or_default();
            later.into_iter().rev().for_each(|job| queue.push_front(job));
            if is_full {
                queue.push_front(Job { input: Input::Look, ticket: None, level: None });
            }
        }
        let due = self.answer(place, &jobs, &stepped);
        self.hand_out_all(realm, place, due).await;
        self.tell_left_out(place, &stepped.guard);
    }

    /// One step in the store. What is decided on something that is not so any more is decided again.
    async fn step(&self, realm: &Arc<Realm>, place: &Place, jobs: &[Job]) -> Result<Stepped, Refusal> {
        let topic = &place.1;
        let rules = self.desk_rules(realm);
        let level = jobs.iter().filter_map(|job| job.level).max();
        for _ in 0..TRIES_MAX {
            let (value, known) = (realm.retained.get_at(topic), self.desk().guards.get(place));
            let now = clock::unix();
            let seen = value.as_ref().map(|(_, position)| *position);
            let value = value.map(|(message, _)| message).filter(|message| !message.is_expired(now));
            let guard = known.as_ref().map_or_else(Guard::default, |known| Guard::clone(&known.guard));
            let mut cell = Cell::new(topic.clone(), value, guard.clone());
            let mut replies = Vec::with_capacity(jobs.len());
            for job in jobs {
                if cell.is_full() {
                    break;
                }
                replies.push(cell.decide(job.input.clone(), &rules, now));
            }
            let then = (cell.guard != guard).then(|| cell.guard.encode());
            let asks = jobs.iter().any(|job| matches!(job.input, Input::Publish(_)));
            if !asks && then.is_none() && cell.values.is_empty() {
                return Ok(Stepped { replies, cell, positions: Vec::new(), guard });
            }
            let version = known.map(|known| known.version);
            let exchange = Exchange { seen, guard: version, values: cell.values.clone(), then };
            let op = TopicOp::Exchange(Box::new(exchange));
            let step = Step::Topic { realm: place.0.clone(), topic: topic.clone(), op };
            match plan::outcome(Some(self.submit_at(vec![step], level).await), 0)? {
                Outcome::Exchanged { positions, .. } => {
                    let guard = cell.guard.clone().resolved(&positions);
                    return Ok(Stepped { replies, cell, positions: positions.into_vec(), guard });
                }
                _ => {
                    counter!("weir_broker_conditions_decided_again_total").increment(1);
                    // What it was decided on comes by the mirror.
                    self.store().caught_up().await.map_err(|_| Refusal::Unavailable)?;
                }
            }
        }
        Err(Refusal::Unavailable)
    }

    fn desk_rules(&self, realm: &Realm) -> Rules {
        let config = self.config();
        Rules {
            merges: realm.merges(),
            waiters_max: config.waiters_per_topic_max,
            watch_ms: config.watch_seconds_max.saturating_mul(1000),
            answers_ms: config.idempotency_window_ms,
            // What follows from others grows it by little.
            guard_bytes_max: GUARD_BYTES_MAX / 4 * 3,
            home: self.guard_home(),
        }
    }

    fn turn_down(&self, jobs: &[Job], refusal: Refusal) {
        tracing::debug!(%refusal, jobs = jobs.len(), "conditions were not decided");
        for ticket in jobs.iter().filter_map(|job| job.ticket.as_ref()) {
            ticket.decide(match plan::verdict(refusal) {
                crate::publish::Verdict::Refused(reason) => Decided::Refused(reason),
                _ => Decided::Lost,
            });
        }
        // What was handed out is to be forgotten the next time.
        self.desk().look_soon();
    }

    /// Answers what needs no handing out; what does is returned in order.
    fn answer(&self, place: &Place, jobs: &[Job], stepped: &Stepped) -> Vec<Due> {
        let (desk, home) = (self.desk(), self.guard_home());
        let mut due = Vec::new();
        let mut tickets: HashMap<MessageId, (Option<Arc<Ticket>>, Option<Level>)> = HashMap::new();
        for (job, reply) in jobs.iter().zip(&stepped.replies) {
            let ticket = job.ticket.as_ref();
            match (reply, &job.input) {
                (Reply::Accepted { place }, Input::Publish(ask)) if ask.is_plain() => {
                    due.push(Due::plain(ask.id, &ask.message, *place, job, stepped));
                }
                (Reply::Accepted { .. }, Input::Publish(ask)) => {
                    counter!("weir_broker_conditions_total", "outcome" => "met").increment(1);
                    tickets.insert(ask.id, (job.ticket.clone(), job.level));
                }
                (Reply::Repeated { place }, _) => {
                    counter!("weir_broker_repeats_answered_total").increment(1);
                    let mut place = *place;
                    place.resolve(&stepped.positions);
                    let accepted =
                        Decided::Accepted { position: place.position(), repeated: true, copies: 0 };
                    ticket.map(|ticket| ticket.decide(accepted));
                }
                (Reply::Waits { id }, _) | (Reply::UnderWay { id }, _) => {
                    let waiter = stepped.guard.waiters.iter().find(|waiter| waiter.id == *id);
                    if let Some(ticket) = ticket {
                        desk.wait_for(place, *id, ticket, waiter.and_then(|waiter| waiter.until));
                        if waiter.is_some() {
                            counter!("weir_broker_conditions_total", "outcome" => "waits").increment(1);
                            ticket.waits();
                        }
                    }
                }
                (Reply::Refused(reason), _) => {
                    counter!("weir_broker_conditions_total", "outcome" => refused(*reason)).increment(1);
                    ticket.map(|ticket| ticket.decide(Decided::Refused(*reason)));
                }
                (Reply::Accepted { .. } | Reply::Noted, _) => {}
            }
        }
        let mut handed_out = desk.handed_out.lock();
        handed_out.retain(|id| !is_forgotten(*id, jobs));
        for owed in stepped.guard.owed.iter().filter(|owed| owed.home == home) {
            if handed_out.contains(&owed.id) {
                continue;
            }
            let (ticket, level) = tickets.remove(&owed.id).unwrap_or_default();
            let ticket = ticket.or_else(|| desk.ticket_of(place, owed.id));
            let position = owed.place.position();
            let at =
                position.and_then(|position| stepped.positions.iter().position(|known| *known == position));
            let at = at.map_or(u32::MAX, |at| at as u32);
            let message = owed.message.clone();
            due.push(Due { at, id: owed.id, message, position, ticket, level, is_owed: true });
        }
        due.sort_by_key(|due| due.at);
        due
    }

    /// Gives everything to its receivers, one after the other, and answers for it.
    async fn hand_out_all(&self, realm: &Arc<Realm>, place: &Place, due: Vec<Due>) {
        let mut done = Vec::new();
        for Due { id, message, position, ticket, level, is_owed, .. } in due {
            if let Some(ticket) = &ticket {
                ticket.proceeds();
            }
            let publisher = ticket.as_ref().and_then(|ticket| ticket.session());
            let accepted = Accepted { message: &message, id, position, publisher, level };
            let decided = match self.hand_out(realm, &accepted).await {
                Ok(out) => {
                    if is_owed {
                        self.desk().handed_out.lock().insert(id);
                        done.push(id);
                    }
                    let position = position.or(out.recorded);
                    Decided::Accepted { position, repeated: false, copies: out.copies }
                }
                Err(refusal) => {
                    tracing::warn!(%refusal, "what was decided was not kept for its receivers yet");
                    Decided::Lost
                }
            };
            let is_heard = ticket.is_some_and(|ticket| ticket.decide(decided));
            if let (false, Decided::Accepted { copies, .. }) = (is_heard, decided) {
                self.count_own(copies);
            }
        }
        if !done.is_empty() {
            let job = Job { input: Input::HandedOut(done), ticket: None, level: None };
            self.ask_desk(realm, &place.1, job);
        }
    }

    /// A message whose publisher is gone is one of the node's own.
    fn count_own(&self, copies: u64) {
        let ledger = self.ledger();
        ledger.received.add(1);
        ledger.accepted.add(1);
        ledger.matched.add(copies);
        ledger.unmatched.add(u64::from(copies == 0));
    }

    /// Who waits for what is not there any more: it was in the line for too long, or others have seen to it.
    fn tell_left_out(&self, place: &Place, guard: &Guard) {
        for waiting in self.desk().left_out(place, guard) {
            let Some(ticket) = waiting.ticket.upgrade() else { continue };
            if matches!(ticket.progress(), Progress::Decided(_) | Progress::Abandoned) {
                continue;
            }
            let done = guard.done.iter().find(|done| done.id == waiting.id);
            let is_over = waiting.until.is_some_and(|until| until <= clock::unix());
            let decided = match done {
                Some(done) => {
                    Decided::Accepted { position: done.place.position(), repeated: true, copies: 0 }
                }
                None if is_over => {
                    counter!("weir_broker_conditions_total", "outcome" => "expired").increment(1);
                    Decided::Refused(Reason::ConditionNotMet)
                }
                None => Decided::Lost,
            };
            ticket.decide(decided);
        }
    }
}

/// Answers who waits at a topic when its task has panicked, or the node stops.
struct GivenUp {
    broker: Broker,
    place: Option<Place>,
}

impl GivenUp {
    /// The task has come to its end.
    fn not_so(mut self) {
        self.place = None;
    }
}

impl Drop for GivenUp {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else { return };
        let left = self.broker.desk().queues.lock().remove(&place).unwrap_or_default();
        for ticket in left.iter().filter_map(|job| job.ticket.as_ref()) {
            ticket.decide(Decided::Lost);
        }
        self.broker.desk().look_soon();
    }
}

impl Drop for Job {
    /// Its task has panicked: what became of it, nobody knows. One that is answered already stays so.
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(ticket) = &self.ticket
        {
            ticket.decide(Decided::Lost);
        }
    }
}

impl Due {
    fn plain(
        id: MessageId,
        message: &Arc<Message>,
        mut place: super::guard::Place,
        job: &Job,
        stepped: &Stepped,
    ) -> Due {
        let at = match place {
            super::guard::Place::With(at) => at,
            _ => u32::MAX,
        };
        let kept = stepped.cell.values.get(at as usize).cloned().flatten();
        place.resolve(&stepped.positions);
        let (ticket, level) = (job.ticket.clone(), job.level);
        let message = kept.unwrap_or_else(|| message.clone());
        Due { at, id, message, position: place.position(), ticket, level, is_owed: false }
    }
}

/// Whether the guard was just told that this was handed out.
fn is_forgotten(id: MessageId, jobs: &[Job]) -> bool {
    jobs.iter().any(|job| matches!(&job.input, Input::HandedOut(ids) if ids.contains(&id)))
}

fn refused(reason: Reason) -> &'static str {
    match reason {
        Reason::ConditionNotMet => "not_met",
        Reason::Quota => "too_many",
        _ => "invalid",
    }
}
