//! The intake: what waits for the next group commit.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};

use crate::config::Config;
use crate::{Done, SessionOp, Step, TopicOp};

/// What each step is taken to weigh besides its message.
const STEP_BYTES: usize = 128;

/// One submit.
pub(crate) struct Job {
    pub steps: Vec<Step>,
    pub done: Done,
    bytes: usize,
}

impl Job {
    pub fn new(steps: Vec<Step>, done: Done) -> Job {
        let bytes = steps.iter().map(weight).sum();
        Job { steps, done, bytes }
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
            Step::Topic { .. } => None,
        })
    }
}

/// A line of submits in front of the writer. Bounded in steps and bytes: what does not fit any more
/// is handed back to be answered `Unavailable`.
pub(crate) struct Intake {
    waiting: Mutex<Waiting>,
    bell: Condvar,
    records_max: usize,
    bytes_max: usize,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    records: usize,
    bytes: usize,
    closed: bool,
    writer_sleeps: bool,
}

impl Intake {
    pub fn new(config: &Config) -> Intake {
        Intake {
            waiting: Mutex::new(Waiting::default()),
            bell: Condvar::new(),
            records_max: config.intake_records_max,
            bytes_max: config.intake_bytes_max,
        }
    }

    /// Puts a job in line, or hands it back when the line is full or closed. A job larger than the
    /// whole line is let in when it is alone.
    pub fn push(&self, job: Job) -> Result<(), Job> {
        let mut waiting = self.waiting.lock();
        let full = waiting.records + job.steps.len() > self.records_max
            || waiting.bytes + job.bytes > self.bytes_max;
        if waiting.closed || (full && !waiting.jobs.is_empty()) {
            return Err(job);
        }
        waiting.records += job.steps.len();
        waiting.bytes += job.bytes;
        waiting.jobs.push_back(job);
        if std::mem::take(&mut waiting.writer_sleeps) {
            drop(waiting);
            self.bell.notify_one();
        }
        Ok(())
    }

    /// Waits for work and moves up to so much of it into `jobs`. False when closed and drained.
    pub fn take(&self, jobs: &mut Vec<Job>, records_max: usize, bytes_max: usize) -> bool {
        let mut waiting = self.waiting.lock();
        while waiting.jobs.is_empty() {
            if waiting.closed {
                return false;
            }
            waiting.writer_sleeps = true;
            self.bell.wait(&mut waiting);
        }
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
        waiting.records -= records;
        waiting.bytes -= bytes;
        true
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
        Step::Topic { .. } => STEP_BYTES,
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
