//! What somebody may do: the questions, one function each, which every path of a message asks.

use weir_model::{Filter, Level, Principal, Qos};

use crate::PublishRights;

mod explain;
mod grammar;
mod load;
mod pattern;
mod rule;
mod rules;

pub use grammar::Problem;
pub use load::{LoadError, Loaded, load};
pub use pattern::BadPattern;

/// Says what a principal may do. Quick, synchronous and pure: the same question has the same answer
/// until [`crate::Access::version`] moves, so that callers may keep it.
pub trait Policy: Send + Sync {
    fn may_connect(&self, principal: &Principal) -> bool;

    fn publish(&self, principal: &Principal, topic: &str) -> PublishRights;

    /// The lowest acknowledgement level that a publish it allows may ask for; `None` = none below that of the node.
    fn ack_level_min(&self, principal: &Principal, topic: &str, qos: Qos, retain: bool) -> Option<Level>;

    /// The highest QoS a subscription may have; `None` = none at all. The filter is judged as a whole
    /// set of topics: it must lie inside what is allowed, and touch nothing that is denied.
    fn subscribe(&self, principal: &Principal, filter: &Filter) -> Option<Qos>;

    /// Whether a message of this topic may reach the principal, by whatever path.
    fn receive(&self, principal: &Principal, topic: &str) -> bool;

    /// Whether it may call the procedure that a topic names.
    fn may_call(&self, principal: &Principal, topic: &str) -> bool;

    /// Whether it may register the procedure that a topic names, or all that a filter means.
    fn may_register(&self, principal: &Principal, asked: &str) -> bool;

    /// Which rule decides.
    fn explain(&self, principal: &Principal, action: Action<'_>) -> Explanation;

    /// Whether everybody may do everything.
    fn is_open(&self) -> bool {
        false
    }
}

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    Connect,
    Publish { topic: &'a str, qos: Qos, retain: bool },
    Subscribe { filter: &'a str, qos: Qos },
    Receive { topic: &'a str },
}

/// A verdict and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    pub allowed: bool,
    /// The deciding rule in a few words (`policy.toml rule 3 (line 12): deny subscribe secret/#`), or that
    /// there is none.
    pub rule: String,
}

/// Everybody may do everything: the preset `open`.
pub(crate) struct AllowAll;

impl Policy for AllowAll {
    fn may_connect(&self, _: &Principal) -> bool {
        true
    }

    fn publish(&self, _: &Principal, _: &str) -> PublishRights {
        PublishRights::ALL
    }

    /// What the operator promises is not for everybody to take away.
    fn ack_level_min(&self, _: &Principal, _: &str, _: Qos, _: bool) -> Option<Level> {
        None
    }

    fn subscribe(&self, _: &Principal, _: &Filter) -> Option<Qos> {
        Some(Qos::ExactlyOnce)
    }

    fn receive(&self, _: &Principal, _: &str) -> bool {
        true
    }

    fn may_call(&self, _: &Principal, _: &str) -> bool {
        true
    }

    fn may_register(&self, _: &Principal, _: &str) -> bool {
        true
    }

    fn explain(&self, _: &Principal, _: Action<'_>) -> Explanation {
        Explanation { allowed: true, rule: "preset open: everything is allowed".to_owned() }
    }

    fn is_open(&self) -> bool {
        true
    }
}
