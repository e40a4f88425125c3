//! A submit on its way: split by shard, answered as a whole.
//!
//! Copies of a retained message follow only when its topic's step was accepted: their part waits at a gate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use smallvec::SmallVec;

use super::lane::Lane;
use super::lease::Term;
use crate::config::Config;
use crate::{
    Answer, Done, Level, Outcome, PartitionKey, PartitionOp, Refusal, SessionKey, SessionOp, Step, TableOp,
    TopicOp,
};

/// What one step was answered.
pub(super) type StepAnswer = Result<SmallVec<[Outcome; 1]>, Refusal>;

/// What each step is taken to weigh besides its message.
const STEP_BYTES: usize = 128;

/// Collects the answers of the parts, and answers when the last is there.
pub(super) struct Submit {
    collected: Mutex<Collected>,
}

struct Collected {
    answers: Vec<Option<StepAnswer>>,
    missing: usize,
    done: Option<Done>,
}

impl Submit {
    pub fn new(steps: usize, done: Done) -> Arc<Submit> {
        let answers = vec![None; steps];
        Arc::new(Submit { collected: Mutex::new(Collected { answers, missing: steps, done: Some(done) }) })
    }

    fn answer(&self, answers: impl Iterator<Item = (usize, StepAnswer)>) {
        let mut collected = self.collected.lock();
        for (place, answer) in answers {
            if collected.answers[place].replace(answer).is_none() {
                collected.missing -= 1;
            }
        }
        if collected.missing > 0 {
            return;
        }
        let Some(done) = collected.done.take() else { return };
        let answers = std::mem::take(&mut collected.answers);
        drop(collected);
        done(answers.into_iter().map(|answer| answer.unwrap_or(Err(Refusal::Unknown))).collect());
    }
}

/// What the order of steps matters for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Family {
    Session(SessionKey),
    Partition(PartitionKey),
}

/// The steps of one submit for one shard.
pub(super) struct Work {
    /// With their places in the submit.
    steps: Vec<(usize, Step)>,
    submit: Arc<Submit>,
    /// What it waits for.
    waits: Option<Arc<Gate>>,
    /// What its answers open.
    opens: Option<Arc<Gate>>,
    /// What it takes of the room for messages; given back when it is answered.
    room: Option<Arc<Taken>>,
    /// Of its answer, if it was asked for at another than the store's own.
    pub level: Option<Level>,
    /// Answered before its batch was confirmed.
    is_answered: bool,
    pub born: Instant,
    /// The term of the node's lease in which it was asked for.
    pub term: Option<Term>,
}

impl Work {
    pub fn new(submit: Arc<Submit>, term: Option<Term>) -> Work {
        let born = Instant::now();
        Work {
            steps: Vec::new(),
            submit,
            waits: None,
            opens: None,
            room: None,
            level: None,
            is_answered: false,
            born,
            term,
        }
    }

    pub fn add(&mut self, place: usize, step: Step) {
        self.steps.push((place, step));
    }

    pub fn wait_for(&mut self, gate: Arc<Gate>) {
        self.waits = Some(gate);
    }

    pub fn open(&mut self, gate: Arc<Gate>) {
        self.opens = Some(gate);
    }

    pub fn take_room(&mut self, taken: Arc<Taken>) {
        self.room = Some(taken);
    }

    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().map(|(_, step)| step)
    }

    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    pub fn ops(&self) -> usize {
        self.steps().map(ops).sum()
    }

    pub fn bytes(&self) -> usize {
        self.steps().map(weight).sum()
    }

    /// Whether it keeps a message, which is only in order while nobody else has taken its publisher over.
    pub fn brings_message(&self) -> bool {
        self.steps().any(brings_message)
    }

    /// What its order matters for: a session or a partition each.
    pub fn families(&self) -> impl Iterator<Item = Family> {
        self.steps().filter_map(|step| match step {
            Step::Session { key, .. } => Some(Family::Session(key.clone())),
            Step::Partition { key, .. } => Some(Family::Partition(key.clone())),
            _ => None,
        })
    }

    pub fn must_wait(&self) -> bool {
        self.waits.as_ref().is_some_and(|gate| !gate.is_open.load(Ordering::Acquire))
    }

    /// Answers the copies whose publish was refused by its topic; they go no further.
    pub fn pass_gate(&mut self) {
        let Some(gate) = self.waits.take() else { return };
        let refused = gate.refused.lock();
        if refused.is_empty() {
            return;
        }
        let steps = std::mem::take(&mut self.steps);
        let mut answers = Vec::new();
        for (place, step) in steps {
            let refusal = refused.iter().filter(|(topic, _)| *topic < place).max_by_key(|(topic, _)| *topic);
            match refusal {
                Some((_, refusal)) if brings_copy(&step) => answers.push((place, Err(*refusal))),
                _ => self.steps.push((place, step)),
            }
        }
        drop(refused);
        self.submit.answer(answers.into_iter());
    }

    /// Hands the answers on, one per step.
    pub fn answer(mut self, answers: Answer) {
        self.answer_early(answers);
    }

    /// The same for work that stays in its batch.
    pub fn answer_early(&mut self, answers: Answer) {
        self.open_gate(&answers);
        if std::mem::replace(&mut self.is_answered, true) {
            return;
        }
        // First, that who hears the answer finds room for more.
        self.room = None;
        let places: Vec<usize> = self.steps.iter().map(|(place, _)| *place).collect();
        self.submit.answer(places.into_iter().zip(answers));
    }

    /// What waits for its answers may go on.
    pub fn open_gate(&mut self, answers: &Answer) {
        if let Some(gate) = self.opens.take() {
            gate.note(self.steps.iter().zip(answers));
        }
    }

    pub fn is_answered(&self) -> bool {
        self.is_answered
    }

    /// Answers every step with one refusal.
    pub fn refuse(self, refusal: Refusal) {
        let answers = self.steps.iter().map(|_| Err(refusal)).collect();
        self.answer(answers);
    }
}

/// Holds back the copies of a submit until its topics have answered.
pub(super) struct Gate {
    missing: AtomicUsize,
    is_open: AtomicBool,
    refused: Mutex<Vec<(usize, Refusal)>>,
    lanes: Vec<Arc<Lane>>,
}

impl Gate {
    /// Opens when so many steps were answered; then these lanes look again.
    pub fn new(missing: usize, lanes: Vec<Arc<Lane>>) -> Arc<Gate> {
        let (missing, is_open) = (AtomicUsize::new(missing), AtomicBool::new(false));
        Arc::new(Gate { missing, is_open, refused: Mutex::default(), lanes })
    }

    fn note<'a>(&self, answers: impl Iterator<Item = (&'a (usize, Step), &'a StepAnswer)>) {
        let mut answered = 0;
        for ((place, step), answer) in answers {
            answered += 1;
            if let (Step::Topic { .. }, Err(refusal)) = (step, answer) {
                self.refused.lock().push((*place, *refusal));
            }
        }
        if self.missing.fetch_sub(answered, Ordering::AcqRel) == answered {
            self.is_open.store(true, Ordering::Release);
            self.lanes.iter().for_each(|lane| lane.intake.ring());
        }
    }
}

/// How many messages may be on their way, in all lanes together; more are refused. What brings no message
/// (acknowledgements, sessions that open and end) is always let in: there is no more of it than deliveries in flight
/// and connections.
pub(super) struct Room {
    messages: AtomicUsize,
    bytes: AtomicUsize,
    messages_max: usize,
    bytes_max: usize,
}

/// A part of the room, given back on drop.
pub(super) struct Taken {
    room: Arc<Room>,
    messages: usize,
    bytes: usize,
}

impl Room {
    pub fn new(config: &Config) -> Arc<Room> {
        Arc::new(Room {
            messages: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            messages_max: config.intake_records_max,
            bytes_max: config.intake_bytes_max,
        })
    }

    /// Room for the messages of these steps; `None` when there is not enough. What is larger than the whole room is
    /// let in when it is alone.
    pub fn take(self: &Arc<Room>, steps: &[Step]) -> Option<Taken> {
        let messages = steps.iter().filter(|step| brings_message(step)).count();
        if messages == 0 {
            return Some(Taken { room: self.clone(), messages: 0, bytes: 0 });
        }
        let bytes = steps.iter().map(weight).sum();
        let before = self.messages.fetch_add(messages, Ordering::AcqRel);
        let bytes_before = self.bytes.fetch_add(bytes, Ordering::AcqRel);
        let taken = Taken { room: self.clone(), messages, bytes };
        let fits = before + messages <= self.messages_max && bytes_before + bytes <= self.bytes_max;
        (fits || before == 0).then_some(taken)
    }

    pub fn is_half_empty(&self) -> bool {
        self.messages.load(Ordering::Relaxed) <= self.messages_max / 2
            && self.bytes.load(Ordering::Relaxed) <= self.bytes_max / 2
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.room.messages.fetch_sub(self.messages, Ordering::AcqRel);
        self.room.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

fn ops(step: &Step) -> usize {
    match step {
        Step::Session { ops, .. } => ops.len().max(1),
        Step::Partition { ops, .. } => ops.len().max(1),
        Step::Topic { .. } | Step::Table { .. } => 1,
    }
}

fn brings_copy(step: &Step) -> bool {
    match step {
        Step::Session { ops, .. } => ops.iter().any(|op| matches!(op, SessionOp::Enqueue(_))),
        Step::Partition { ops, .. } => ops.iter().any(|op| matches!(op, PartitionOp::Append(_))),
        Step::Topic { .. } | Step::Table { .. } => false,
    }
}

fn brings_message(step: &Step) -> bool {
    match step {
        Step::Topic { op, .. } => !matches!(op, TopicOp::Delayed { .. } | TopicOp::Settle { .. }),
        Step::Partition { ops, .. } => ops.iter().any(PartitionOp::is_bounded),
        Step::Table { .. } => true,
        Step::Session { ops, .. } => {
            ops.iter().any(|op| matches!(op, SessionOp::Enqueue(_) | SessionOp::Receive { .. }))
        }
    }
}

fn weight(step: &Step) -> usize {
    let of_op = |op: &SessionOp| match op {
        SessionOp::Enqueue(enqueue) => enqueue.delivery.message.size_bytes(),
        SessionOp::Open(open) => open.will.as_ref().map_or(0, |will| will.message.size_bytes()),
        _ => 0,
    };
    let bytes = match step {
        Step::Topic { op, .. } => match op {
            TopicOp::Retain { message: Some(message) } | TopicOp::Delay { message, .. } => {
                message.size_bytes()
            }
            _ => 0,
        },
        Step::Session { ops, .. } => ops.iter().map(of_op).sum(),
        Step::Partition { ops, .. } => ops
            .iter()
            .map(|op| match op {
                PartitionOp::Append(append) => append.message.size_bytes() + append.key.len(),
                PartitionOp::Keep { key, value, .. } => key.len() + value.as_ref().map_or(0, Bytes::len),
                PartitionOp::Owe { message, .. } => message.size_bytes(),
                _ => 0,
            })
            .sum(),
        Step::Table { op: TableOp::Put { value, .. }, .. } => value.len(),
        Step::Table { .. } => 0,
    };
    bytes + STEP_BYTES
}
