//! What a Redis primary proves about keeping what it was given, and how it confirms (`guarantees.md` 1).

use std::num::NonZeroU32;
use std::time::Duration;

use redis::{Cmd, Value};

use crate::{Level, LevelChoice, NotProved};

mod facts;

pub(super) use facts::Facts;

/// Why a level is not proved; names the setting that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unproved {
    #[error(
        "`maxmemory-policy` is `{policy}`, which throws away what was acknowledged: it must be `noeviction`"
    )]
    Evicts { policy: String },
    #[error(
        "`appendonly` is `no`: `{level}` needs `yes`, or a primary that restarts empties its replicas too"
    )]
    NotLogged { level: Level },
    #[error("`appendfsync` is `{setting}`: `fsynced` needs `always`, or a Redis from 7.2 that knows WAITAOF")]
    NotSynced { setting: String },
    #[error("{connected} replicas are connected: `{level}` needs {needed}")]
    TooFewReplicas { level: Level, connected: u32, needed: u32 },
}

/// How an answer of a primary becomes an acknowledgement of the level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Confirm {
    /// The answer is one.
    Answer,
    /// After `WAITAOF`: the append-only file is synced.
    Synced,
    /// After `WAIT`: so many replicas have it.
    Replicas(NonZeroU32),
}

/// A command that stands behind a write in the same pipeline and waits until the write is as safe as the level wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    confirm: Confirm,
    timeout: Duration,
}

/// The level was not reached in time for what was written: its outcome is unknown. To be waited for again, never
/// to be written again under another number.
#[derive(Debug, Clone, thiserror::Error)]
#[error("not confirmed at the level in time: {cause}")]
pub struct Unconfirmed {
    pub cause: String,
}

impl From<Unproved> for NotProved {
    /// Replicas come and go; settings stay, until somebody changes them.
    fn from(unproved: Unproved) -> NotProved {
        match unproved {
            Unproved::TooFewReplicas { .. } => NotProved::NotNow,
            Unproved::Evicts { .. } | Unproved::NotLogged { .. } | Unproved::NotSynced { .. } => {
                NotProved::Never
            }
        }
    }
}

impl Confirm {
    /// How many replicas it takes.
    pub fn replicas(self) -> Option<NonZeroU32> {
        match self {
            Confirm::Replicas(replicas) => Some(replicas),
            Confirm::Answer | Confirm::Synced => None,
        }
    }

    /// The way to wait for it, if there is something to wait for.
    pub fn wait(self, timeout: Duration) -> Option<Wait> {
        (self != Confirm::Answer).then_some(Wait { confirm: self, timeout })
    }
}

impl Wait {
    /// `WAIT` or `WAITAOF`. Answers what has confirmed so far when the timeout is over.
    pub fn command(&self) -> Cmd {
        let millis = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX).max(1);
        match self.confirm {
            Confirm::Replicas(replicas) => redis::cmd("WAIT").arg(replicas.get()).arg(millis).clone(),
            Confirm::Synced | Confirm::Answer => redis::cmd("WAITAOF").arg(1).arg(0).arg(millis).clone(),
        }
    }

    /// Whether the answer of the command says that the level is reached.
    pub fn enough(&self, answer: &Value) -> bool {
        self.reaches(self.confirm, answer)
    }

    /// Whether the answer of the command says that another level, confirmed by the same command, is reached.
    pub(super) fn reaches(&self, other: Confirm, answer: &Value) -> bool {
        if self.confirm.replicas().is_some() != other.replicas().is_some() {
            return false;
        }
        match (other, answer) {
            (Confirm::Replicas(needed), Value::Int(confirmed)) => *confirmed >= i64::from(needed.get()),
            (Confirm::Synced, Value::Array(counts)) => matches!(counts.first(), Some(Value::Int(1..))),
            _ => false,
        }
    }
}

/// The level for all primaries: the chosen one if each proves it, else the strongest that each proves.
pub(super) fn choose(choice: LevelChoice, primaries: &[Facts]) -> Result<Level, Unproved> {
    let all = |level: Level| primaries.iter().try_for_each(|facts| facts.proves(level).map(|_| ()));
    if let LevelChoice::Chosen(level) = choice {
        return all(level).map(|()| level);
    }
    // Replicas that happen to be connected prove nothing for the next hour; `min-replicas-to-write` does.
    let demanded = primaries.iter().map(|facts| facts.replicas_demanded).min().and_then(NonZeroU32::new);
    let logged = |level: &Level| *level != Level::Fsynced || primaries.iter().all(Facts::syncs_always);
    let candidates = demanded.map(Level::Replicated).into_iter().chain([Level::Fsynced]);
    match candidates.filter(logged).find(|level| all(*level).is_ok()) {
        Some(level) => Ok(level),
        None => all(Level::Stored).map(|()| Level::Stored),
    }
}

#[cfg(test)]
mod tests;
