//! A session's end of calls: what waits to be written to it, bounded, and the bell that wakes its connection.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::{Caller, CancelMode, Payload, RegisterError, Why};

/// What is written to a session about calls. `request` is the number it gave its own message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    Invocation(Box<Invocation>),
    Interrupt {
        invocation: u64,
        mode: CancelMode,
        why: Why,
    },
    Result {
        request: u64,
        progress: bool,
        payload: Payload,
    },
    Failed {
        request: u64,
        why: Why,
        payload: Payload,
    },
    Registered {
        request: u64,
        registration: u64,
    },
    NotRegistered {
        request: u64,
        error: RegisterError,
    },
    Unregistered {
        request: u64,
        registration: u64,
    },
    /// Somebody else has forced it out.
    Revoked {
        registration: u64,
    },
}

/// A call for a callee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// Given in order to each session, from 1.
    pub number: u64,
    pub registration: u64,
    /// The procedure called, where the registration means several.
    pub procedure: Option<Arc<str>>,
    /// Who calls, if the caller or the registration wants it told.
    pub caller: Option<Caller>,
    pub receive_progress: bool,
    /// Further arguments follow.
    pub progress: bool,
    pub payload: Payload,
}

/// The end. Full (`mailbox_bytes_max`): progress is dropped and counted, and new calls go elsewhere. What must come
/// (final answers, interrupts) always fits: the calls of a session are bounded, and each has one.
pub struct Endpoint {
    id: u64,
    session: u64,
    interruptible: bool,
    bytes_max: usize,
    waiting: Mutex<Waiting>,
    ring: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct Waiting {
    deliveries: VecDeque<Delivery>,
    bytes: usize,
}

/// The last id given.
static ENDPOINTS: AtomicU64 = AtomicU64::new(0);

impl Endpoint {
    /// `session`: its public number; `interruptible`: whether it can be told to stop; `ring` wakes its connection.
    pub fn new(
        session: u64,
        interruptible: bool,
        bytes_max: usize,
        ring: impl Fn() + Send + Sync + 'static,
    ) -> Arc<Endpoint> {
        Arc::new(Endpoint {
            id: ENDPOINTS.fetch_add(1, Ordering::Relaxed) + 1,
            session,
            interruptible,
            bytes_max,
            waiting: Mutex::default(),
            ring: Box::new(ring),
        })
    }

    /// Unique in this process.
    pub fn id(&self) -> u64 {
        self.id
    }

    pub fn session(&self) -> u64 {
        self.session
    }

    pub fn is_interruptible(&self) -> bool {
        self.interruptible
    }

    /// Whether more may be given to it that need not be.
    pub fn has_room(&self) -> bool {
        self.waiting.lock().bytes < self.bytes_max
    }

    /// Whether something waits.
    pub fn has_some(&self) -> bool {
        !self.waiting.lock().deliveries.is_empty()
    }

    /// The oldest that waits.
    pub fn take(&self) -> Option<Delivery> {
        let mut waiting = self.waiting.lock();
        let delivery = waiting.deliveries.pop_front()?;
        waiting.bytes -= delivery.size_bytes();
        if waiting.deliveries.is_empty() {
            // An idle session holds nothing.
            waiting.deliveries = VecDeque::new();
        }
        Some(delivery)
    }

    /// Adds what must come.
    pub(super) fn push(&self, delivery: Delivery) {
        let mut waiting = self.waiting.lock();
        let was_empty = waiting.deliveries.is_empty();
        waiting.bytes += delivery.size_bytes();
        waiting.deliveries.push_back(delivery);
        drop(waiting);
        if was_empty {
            (self.ring)();
        }
    }

    /// Adds what may be left out; false: it was.
    pub(super) fn offer(&self, delivery: Delivery) -> bool {
        let has_room = self.has_room();
        if has_room {
            self.push(delivery);
        }
        has_room
    }
}

impl Delivery {
    /// Its arguments, and about what it takes beside them.
    fn size_bytes(&self) -> usize {
        let payload = match self {
            Delivery::Invocation(invocation) => invocation.payload.size_bytes(),
            Delivery::Result { payload, .. } | Delivery::Failed { payload, .. } => payload.size_bytes(),
            _ => 0,
        };
        payload + 128
    }
}
