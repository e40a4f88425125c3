//! What a binding's calls come to on this node: counts by result, and the last lines its handler wrote.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::broadcast;
use weir_model::UnixMillis;
use weir_runtime::{Failure, Level};

use crate::broker::Broker;
use crate::clock;
use crate::stream::group::definition::HANDLER_PREFIX;

/// Lines kept for who looks later.
const LINES_MAX: usize = 1000;
/// Lines that a slow reader may be behind before it misses some.
const BEHIND_MAX: usize = 1024;

/// One line of a handler, or of the binding itself about one of its calls.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    pub at: UnixMillis,
    pub level: Level,
    /// The number of the version that wrote it; 0 = none did.
    pub version: u32,
    pub text: String,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallResult {
    Done,
    Rejected,
    Retried,
    Trapped,
    /// It returned more than it may, or what nobody can publish.
    BadOutput,
    /// It wanted to publish where its binding may not.
    Forbidden,
    /// It was given what it had led to itself, too often.
    Looped,
    /// No instance was free in time, or there is no program.
    Busy,
    /// It is middleware, and said no.
    Refused,
}

impl CallResult {
    pub const ALL: [CallResult; 9] = [
        CallResult::Done,
        CallResult::Rejected,
        CallResult::Retried,
        CallResult::Trapped,
        CallResult::BadOutput,
        CallResult::Forbidden,
        CallResult::Looped,
        CallResult::Busy,
        CallResult::Refused,
    ];

    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            CallResult::Done => "done",
            CallResult::Rejected => "rejected",
            CallResult::Retried => "retried",
            CallResult::Trapped => "trapped",
            CallResult::BadOutput => "bad_output",
            CallResult::Forbidden => "forbidden",
            CallResult::Looped => "looped",
            CallResult::Busy => "busy",
            CallResult::Refused => "refused",
        }
    }

    /// What a call that failed came to.
    pub fn of(failure: &Failure) -> CallResult {
        match failure {
            Failure::Rejected(_) => CallResult::Rejected,
            Failure::Retry(_) => CallResult::Retried,
            Failure::Trapped { .. } => CallResult::Trapped,
            Failure::TooMuchOutput { .. } | Failure::BadOutput(_) => CallResult::BadOutput,
            Failure::Busy => CallResult::Busy,
        }
    }

    /// Whether it speaks against the version that was called.
    pub fn is_failure(self) -> bool {
        !matches!(self, CallResult::Done | CallResult::Busy | CallResult::Refused)
    }
}

/// What has happened on this node since it started.
#[derive(Debug, Default)]
pub struct Counts {
    by_result: [AtomicU64; CallResult::ALL.len()],
    /// Messages of a live binding that found its queue full.
    pub dropped: AtomicU64,
    /// Calls of the shadow version that came to something else.
    pub shadow_differs: AtomicU64,
    pub shadow_same: AtomicU64,
    /// Events handed to be published.
    pub events: AtomicU64,
}

impl Counts {
    pub fn get(&self, result: CallResult) -> u64 {
        self.by_result[result as usize].load(Ordering::Relaxed)
    }
}

/// One binding's lines and counts on this node.
pub struct Journal {
    lines: Mutex<VecDeque<Arc<Line>>>,
    told: broadcast::Sender<Arc<Line>>,
    pub counts: Counts,
}

impl Default for Journal {
    fn default() -> Journal {
        let (told, _) = broadcast::channel(BEHIND_MAX);
        Journal { lines: Mutex::default(), told, counts: Counts::default() }
    }
}

impl Journal {
    /// Writes a line.
    pub fn write(&self, level: Level, version: u32, text: String) {
        let line = Arc::new(Line { at: clock::unix(), level, version, text });
        let mut lines = self.lines.lock();
        if lines.len() >= LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line.clone());
        let _ = self.told.send(line);
    }

    /// The last lines, and those that come.
    pub fn follow(&self, last: usize) -> (Vec<Arc<Line>>, broadcast::Receiver<Arc<Line>>) {
        let lines = self.lines.lock();
        let from = lines.len().saturating_sub(last);
        (lines.iter().skip(from).cloned().collect(), self.told.subscribe())
    }

    /// Counts a call.
    pub(super) fn called(&self, result: CallResult) {
        self.counts.by_result[result as usize].fetch_add(1, Ordering::Relaxed);
    }
}

impl Broker {
    /// Writes a line in the log of the binding whose group this is; what wrote it is no version.
    pub(crate) fn tell_binding(&self, realm: &Arc<str>, group: &str, level: Level, text: String) {
        let Some(own) = group.strip_prefix(HANDLER_PREFIX) else { return };
        let of_reducer = own.strip_prefix('$').and_then(|own| own.split_once('.'));
        let binding = of_reducer.map_or(own, |(_, binding)| binding);
        self.bindings().journal(realm, &binding.into()).write(level, 0, text);
    }
}
