//! What the store answers: what each op did, or why nothing was written.

use smallvec::SmallVec;
use weir_model::{MessageId, Position};

use super::nodes::Incarnation;
use super::session::{Opened, OutboxEntry};
use super::stream::{Mark, Progress};

/// What one op did. A step answers one outcome per op, or one refusal for all of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Done,
    Opened(Box<Opened>),
    /// In the queue under this number; `dropped` older ones had to go (`queue_full`).
    Enqueued {
        number: u64,
        dropped: u32,
    },
    /// This id was here before.
    Duplicate,
    /// No session of that generation: nothing written (`session_gone`).
    Gone,
    /// The queue is full and its policy keeps the old: the new one was dropped (`queue_full`).
    QueueFull,
    /// `first` is false when the packet id was already taken by an earlier PUBLISH.
    Received {
        first: bool,
        id: MessageId,
    },
    /// The will as an outbox entry, or `None` when there is none.
    Fired(Option<OutboxEntry>),
    Retained(Position),
    /// Where each of the values stands, and which version the guard has now; 0 = none, or it was left as it was.
    Exchanged {
        positions: SmallVec<[Position; 1]>,
        version: u64,
    },
    /// The retained message or the guard is another one by now: nothing was written.
    Moved,
    /// In the partition; `first` is false when its id was there before.
    Appended {
        mark: Mark,
        first: bool,
    },
    /// The group's place is the caller's: the fence is higher than any before.
    Acquired {
        fence: u64,
        progress: Progress,
    },
    /// The group's place is another's.
    Held {
        by: Incarnation,
    },
    /// In the outbox of the group, under a number that it never gives twice: dense from 1 on. A store that was rolled
    /// back leaves a gap before what it gives from then on; a group that was forgotten begins anew.
    Owed {
        entry: u64,
    },
    /// The row is there, or gone, under this version.
    Put {
        version: u64,
    },
    /// The row is not as expected: it has this version, or is not there.
    Differs {
        version: Option<u64>,
    },
    /// The idempotency key stands for this id, since this position. `settled`: there is nothing more to do for it.
    Claimed {
        id: MessageId,
        position: Position,
        settled: bool,
    },
}

/// Why nothing was written. Certainly not done, except [`Refusal::Unknown`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("a newer connection owns the session, or it is gone")]
    Fenced,
    #[error("the session belongs to another user")]
    NotOwner,
    #[error("the disk is full")]
    DiskFull,
    #[error("the server that keeps it has no memory left")]
    StoreFull,
    #[error("the queue of a receiver is full and its policy refuses the publisher")]
    QueueRefuses,
    #[error("all queues together hold as much as they may, and the queue's policy refuses the publisher")]
    QueuesFull,
    #[error("as much is retained as may be")]
    RetainedFull,
    #[error("it is larger than may be")]
    TooLarge,
    #[error("somebody waits at the topic, or its value has a will")]
    Guarded,
    #[error("the store is closed or away")]
    Unavailable,
    #[error("the store failed in the middle; what it kept is not known")]
    Unknown,
}

/// One answer per submitted step, in order.
pub type Answer = Vec<Result<SmallVec<[Outcome; 1]>, Refusal>>;

/// Called exactly once, from a thread of the store, when every step of the submit is decided and
/// durable. Must be quick and must not block.
pub type Done = Box<dyn FnOnce(Answer) + Send>;
