//! What a client asks beside a publish or a subscription, the same from every protocol.

use bytes::Bytes;
use weir_model::{Position, Reason, Topic};

use super::condition::{Condition, ConditionError};
use super::selector::Selector;

/// On what a publish depends, and what it leaves behind.
///
/// | here | WAMP PUBLISH option | MQTT 5 user property |
/// |---|---|---|
/// | [`crate::Publish::retain`] | `retain` | the RETAIN flag |
/// | `when` | `when` | `weir-when`: JSON |
/// | `watch` | `watch` | `weir-watch`: `true` |
/// | `will` | `will`; `null`, `false`, `0` and `""` delete: an empty body here | `weir-will`: JSON, `null` deletes |
/// | `repeat` | never: WAMP does not send again | the DUP flag |
///
/// A publish that has conditions wants QoS 1 or 2 (WAMP: `acknowledge`): others are refused, for nobody would hear. A
/// will needs `retain`. Without `retain` a condition is asked just so, and the value stays as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conditions {
    /// It happens only if the retained value of its topic meets this.
    pub when: Option<Condition>,
    /// If it does not, wait until it does, behind who came before; at most `watch_seconds_max`.
    pub watch: bool,
    /// What the value becomes when the publisher's session ends, unless it was written since; empty = it is deleted.
    pub will: Option<Bytes>,
    /// It may have come before, under the same packet id: it is answered as the first time, or keeps its place.
    pub repeat: bool,
}

/// What a subscriber asks of what it is given.
///
/// | here | WAMP SUBSCRIBE option | MQTT 5 |
/// |---|---|---|
/// | `filter` | `filter` | user property `weir-filter`: JSON |
/// | `after` | `after`: a publication | user property `weir-after`: a publication, or a position |
/// | `snapshot` | `snapshot` | none: unsubscribe when the retained ones have come |
/// | `retained` | `retained` (changes only), `retainedState` and `get_retained` (all) | retain handling 0 (all) |
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// Only messages whose body meets this.
    pub filter: Option<Condition>,
    /// What was recorded behind this place comes first.
    pub after: Option<After>,
    /// Nothing after what is there at the beginning.
    pub snapshot: bool,
    /// Which retained values come first.
    pub retained: Retained,
}

/// Behind which event history is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// That of this number: what EVENT and PUBLISHED said.
    Publication(u64),
    /// What stands there in the history.
    Position(Position),
}

/// Whether a subscriber is given retained values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Retained {
    /// None: what is published from now on.
    #[default]
    None,
    /// They, and what becomes of them; not what is published without being retained.
    Changes,
    /// They, and what is published from now on.
    AndLive,
}

/// Why a subscriber cannot have what it asks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadingError {
    #[error("filter: {0}")]
    Filter(#[from] ConditionError),
    #[error("after must be a publication id: an integer, or a text that is one")]
    After,
    #[error(
        "after: no history is kept here; set `history` of this realm in `[[broker.realm]]`, or make a stream of the topic"
    )]
    NoHistory,
}

impl std::str::FromStr for After {
    type Err = ReadingError;

    fn from_str(text: &str) -> Result<After, ReadingError> {
        let publication = text.parse().ok().filter(|number| *number < 1 << 53).map(After::Publication);
        let position = || text.parse().ok().map(After::Position);
        publication.or_else(position).ok_or(ReadingError::After)
    }
}

impl Reading {
    /// What of this is asked of every message.
    pub fn selector(&self) -> Selector {
        let retained = self.retained == Retained::Changes;
        Selector { retained, unrecorded: false, condition: self.filter.clone() }
    }
}

impl Conditions {
    /// The body that a will in JSON stands for; `null` is an empty one. `None` = it is no JSON.
    pub fn will_of(text: &str) -> Option<Bytes> {
        let value: serde_json::Value = serde_json::from_str(text).ok()?;
        Some(if value.is_null() { Bytes::new() } else { Bytes::copy_from_slice(text.as_bytes()) })
    }

    /// Whether there is anything in it.
    pub fn is_empty(&self) -> bool {
        self.when.is_none() && !self.watch && self.will.is_none()
    }

    /// Whether a publish may have these.
    ///
    /// # Errors
    /// [`Reason::ConditionInvalid`]: a watch without `when`, a will without `retain`, QoS 0, or a delayed message.
    pub(crate) fn check(
        &self,
        is_answered: bool,
        retain: bool,
        topic: &Topic,
        delayed: bool,
    ) -> Result<(), Reason> {
        let is_watch_of_nothing = self.watch && self.when.is_none();
        let is_lost_will = self.will.is_some() && !retain;
        if is_watch_of_nothing || is_lost_will || !is_answered || delayed || topic.starts_with('$') {
            return Err(Reason::ConditionInvalid);
        }
        Ok(())
    }
}
