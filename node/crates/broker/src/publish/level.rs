//! Acknowledgement levels that single publishes ask for: more than the node promises, or less as far as the policy lets
//! them (`guarantees.md` 1).

use std::fmt;

use metrics::counter;
use weir_model::{Level, Principal, Properties, Qos, Reason};
use weir_store::NotProved;

use super::plan;
use crate::broker::Broker;
use crate::form::Publish;

/// The user property by which a publish asks for a level, and by which it hears what was reached.
pub const PROPERTY: &str = "weir-ack-level";

/// What a publish was acknowledged at that had asked for a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// It owed nothing to the store: nobody wanted it kept, or it was through before under its idempotency key.
    Nothing,
    /// At this level, or above.
    Level(Level),
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reached::Nothing => f.write_str("none"),
            Reached::Level(level) => level.fmt(f),
        }
    }
}

/// The text by which the properties ask for a level; the first, if there are several.
pub fn text_of(properties: Option<&Properties>) -> Option<&str> {
    let user = &properties?.user;
    user.iter().find(|(name, _)| **name == *PROPERTY).map(|(_, value)| &**value)
}

/// The level that a publish asks for. One of QoS 0 is not acknowledged, and asks for none.
///
/// # Errors
/// [`Reason::LevelUnknown`], [`Reason::LevelDenied`], [`Reason::LevelImpossible`] or [`Reason::LevelAway`].
pub(super) fn asked(
    broker: &Broker,
    principal: &Principal,
    publish: &Publish<'_>,
) -> Result<Option<Level>, Reason> {
    let text = text_of(publish.properties.as_deref()).filter(|_| publish.qos > Qos::AtMostOnce);
    let Some(text) = text else { return Ok(None) };
    let judged = match text.parse() {
        Ok(level) => judge(broker, principal, publish, level).map(|()| level),
        Err(_) => Err(Reason::LevelUnknown),
    };
    if let Err(reason) = judged {
        count(reason.as_str());
    }
    judged.map(Some)
}

/// A publish was taken that had asked for a level.
pub(super) fn count_taken(broker: &Broker, level: Level) {
    count(match level.cmp(&broker.store().level()) {
        std::cmp::Ordering::Greater => "raised",
        std::cmp::Ordering::Equal => "same",
        std::cmp::Ordering::Less => "lowered",
    });
}

fn judge(broker: &Broker, principal: &Principal, publish: &Publish<'_>, level: Level) -> Result<(), Reason> {
    let store = broker.store();
    if level < store.level() {
        let topic = plan::split_delayed(publish.topic).map_or(publish.topic, |(_, target)| target);
        let lowest = broker.access().ack_level_min(principal, topic, publish.qos, publish.retain);
        if lowest.is_none_or(|lowest| level < lowest) {
            return Err(Reason::LevelDenied);
        }
    }
    store.proves(level).map_err(|not| match not {
        NotProved::Never => Reason::LevelImpossible,
        NotProved::NotNow => Reason::LevelAway,
    })
}

fn count(outcome: &'static str) {
    counter!("weir_broker_ack_levels_total", "outcome" => outcome).increment(1);
}
