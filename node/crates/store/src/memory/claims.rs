//! Claims: what was given to a node to deal with, and until when it is left to that node.

use std::collections::HashMap;

use weir_model::UnixMillis;

use crate::state::Timer;
use crate::{Fence, SessionKey};

/// Something that wants dealing with, by what tells it from a later one of its kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Claim {
    Timer { at: UnixMillis, timer: Timer, fence: Option<Fence> },
    Owed { key: SessionKey, entry: u64 },
    Orphan { key: SessionKey, fence: Fence },
}

/// Holds what was given out within the last `lasts_ms`, so at most what the nodes asked for in that time.
#[derive(Debug)]
pub(super) struct Claims {
    lasts_ms: u64,
    until: HashMap<Claim, UnixMillis>,
}

impl Claims {
    pub fn new(lasts_ms: u64) -> Claims {
        Claims { lasts_ms, until: HashMap::new() }
    }

    /// The latest time of which a claim has run out by `now`.
    pub fn over_since(&self, now: UnixMillis) -> UnixMillis {
        UnixMillis(now.0.saturating_sub(self.lasts_ms))
    }

    pub fn forget_past(&mut self, now: UnixMillis) {
        self.until.retain(|_, until| *until > now);
    }

    /// Takes it for whoever asks, unless it is somebody's.
    pub fn take(&mut self, claim: &Claim, now: UnixMillis) -> bool {
        if self.until.get(claim).is_some_and(|until| *until > now) {
            return false;
        }
        if self.lasts_ms > 0 {
            self.until.insert(claim.clone(), UnixMillis(now.0.saturating_add(self.lasts_ms)));
        }
        true
    }
}
