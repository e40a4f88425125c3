//! The intake: what waits for the next group commit.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use crate::config::Config;
use crate::{Attempt, Done, Mark, PartitionOp, Progress, SessionOp, Step, TableOp, TopicOp};

/// What each step is taken to weigh besides its message.
const STEP_BYTES: usize = 128;

/// One submit.
pub(crate) struct Job {
    pub steps: Vec<Step>,
    pub done: Done,
    /// Whether it is answered only when everything up to it is synced.
    pub synced: bool,
    bytes: usize,
    /// Steps that bring a message; only these are bounded here.
    messages: usize,
}

impl Job {
    pub fn new(steps: Vec<Step>, synced: bool, done: Done) -> Job {
        let bytes = steps.iter().map(weight).sum();
        let messages = steps.iter().filter(|step| brings_message(step)).count();
        Job { steps, done, synced, bytes, messages }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The topic of the message this job puts in queues.
    #[cfg(feature = "faults")]
    pub fn topic(&self) -> Option<&weir_model::Topic> {
        self.steps.iter().find_map(|step| match step {
            Step::Session { ops, .. } => ops.iter().find_map(|op| match op {
                SessionOp::Enqueue(enqueue) => Some(&enqueue.delivery.message.topic),
                _ => None,
            }),
            _ => None,
        })
    }
}

/// A line of submits in front of the writer, bounded in messages and their bytes: one that does not
/// fit any more is handed back to be answered `Unavailable`. What brings no message (acknowledgements,
/// sessions that open and end) is always let in: there is no more of it than deliveries in flight and
/// connections.
pub(crate) struct Intake {
    waiting: Mutex<Waiting>,
    /// More than half full: callers that can wait should.
    crowded: AtomicBool,
    bell: Condvar,
    messages_max: usize,
    bytes_max: usize,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    messages: usize,
    bytes: usize,
    closed: bool,
    writer_sleeps: bool,
}

/// Whether a step adds a message to the store.
fn brings_message(step: &Step) -> bool {
    match step {
        Step::Topic { op, .. } => !matches!(op, TopicOp::Delayed { .. }),
        Step::Partition { ops, .. } => ops.iter().any(PartitionOp::is_bounded),
        Step::Table { .. } => true,
        Step::Session { ops, .. } => {
            ops.iter().any(|op| matches!(op, SessionOp::Enqueue(_) | SessionOp::Receive { .. }))
        }
    }
}

impl Intake {
    pub fn new(config: &Config) -> Intake {
        Intake {
            waiting: Mutex::new(Waiting::default()),
            crowded: AtomicBool::new(false),
            bell: Condvar::new(),
            messages_max: config.intake_records_max,
            bytes_max: config.intake_bytes_max,
        }
    }

    /// Puts a job in line, or hands it back when the line is full or closed. A job larger than the
    /// whole line is let in when it is alone.
    pub fn push(&self, job: Job) -> Result<(), Job> {
        let mut waiting = self.waiting.lock();
        let full =
            waiting.messages + job.messages > self.messages_max || waiting.bytes + job.bytes > self.bytes_max;
        let refusable = job.messages > 0 && full && waiting.messages > 0;
        if waiting.closed || refusable {
            return Err(job);
        }
        if job.messages > 0 {
            waiting.messages += job.messages;
            waiting.bytes += job.bytes;
        }
        self.note_crowd(&waiting);
        waiting.jobs.push_back(job);
        if std::mem::take(&mut waiting.writer_sleeps) {
            drop(waiting);
            self.bell.notify_one();
        }
        Ok(())
    }

    /// Waits for work, until `until` at most, and moves up to so much of it into `jobs`. False when
    /// closed and drained.
    pub fn take(
        &self,
        jobs: &mut Vec<Job>,
        records_max: usize,
        bytes_max: usize,
        until: Option<Instant>,
    ) -> bool {
        let mut waiting = self.waiting.lock();
        while waiting.jobs.is_empty() {
            if waiting.closed {
                return false;
            }
            waiting.writer_sleeps = true;
            match until {
                None => self.bell.wait(&mut waiting),
                Some(until) if self.bell.wait_until(&mut waiting, until).timed_out() => break,
                Some(_) => {}
            }
        }
        waiting.writer_sleeps = false;
        let (mut records, mut bytes) = (0, 0);
        while let Some(job) = waiting.jobs.front() {
            let fits = records + job.steps.len() <= records_max && bytes + job.bytes <= bytes_max;
            if !fits && !jobs.is_empty() {
                break;
            }
            records += job.steps.len();
            bytes += job.bytes;
            jobs.extend(waiting.jobs.pop_front());
        }
        for job in jobs.iter().filter(|job| job.messages > 0) {
            waiting.messages -= job.messages;
            waiting.bytes -= job.bytes;
        }
        self.note_crowd(&waiting);
        true
    }

    fn note_crowd(&self, waiting: &Waiting) {
        let crowded = waiting.messages > self.messages_max / 2 || waiting.bytes > self.bytes_max / 2;
        self.crowded.store(crowded, Ordering::Relaxed);
    }

    /// Whether it is less than half full.
    pub fn has_room(&self) -> bool {
        !self.crowded.load(Ordering::Relaxed)
    }

    /// Lets nothing more in; what waits is still taken.
    pub fn close(&self) {
        self.waiting.lock().closed = true;
        self.bell.notify_all();
    }
}

fn weight(step: &Step) -> usize {
    let message = |message: &std::sync::Arc<weir_model::Message>| message.size_bytes() + STEP_BYTES;
    match step {
        Step::Topic {
            op: TopicOp::Retain { message: Some(kept) } | TopicOp::Delay { message: kept, .. },
            ..
        } => message(kept),
        Step::Topic { op: TopicOp::Exchange(exchange), .. } => exchange.size_bytes() + STEP_BYTES,
        Step::Table { op: TableOp::Put { value, .. }, .. } => value.len() + STEP_BYTES,
        Step::Topic { .. } | Step::Table { .. } => STEP_BYTES,
        Step::Partition { ops, .. } => ops.iter().map(partition_weight).sum(),
        Step::Session { ops, .. } => ops
            .iter()
            .map(|op| match op {
                SessionOp::Enqueue(enqueue) => message(&enqueue.delivery.message),
                SessionOp::Open(open) => open.will.as_ref().map_or(STEP_BYTES, |will| message(&will.message)),
                _ => STEP_BYTES,
            })
            .sum(),
    }
}

fn partition_weight(op: &PartitionOp) -> usize {
    match op {
        PartitionOp::Append(append) => append.message.size_bytes() + append.key.len() + STEP_BYTES,
        PartitionOp::Commit { progress, .. } | PartitionOp::Release { progress, .. } => {
            let Progress { done, attempts, .. } = progress;
            let lists = size_of::<(Mark, Mark)>() * done.len() + size_of::<Attempt>() * attempts.len();
            lists + STEP_BYTES
        }
        PartitionOp::Keep { key, value, .. } => key.len() + value.as_ref().map_or(0, Bytes::len) + STEP_BYTES,
        PartitionOp::Owe { message, .. } => message.size_bytes() + STEP_BYTES,
        _ => STEP_BYTES,
    }
}
