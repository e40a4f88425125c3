//! One rule: whom it concerns, whether it allows or denies, and what.

use weir_model::{Level, Principal, Qos};

use super::pattern::Pattern;
use crate::PublishRights;

/// A rule, ready to judge.
#[derive(Debug)]
pub(super) struct Rule {
    /// Counted from 1, as a reader counts.
    pub(super) number: usize,
    /// Where it begins in its file, from 1.
    pub(super) line: usize,
    pub(super) who: Audience,
    pub(super) effect: Effect,
    pub(super) what: What,
}

/// Whom a rule concerns.
#[derive(Debug)]
pub(super) enum Audience {
    Everybody,
    /// Who has one of these: the built-in roles, and those that authenticators gave.
    Roles {
        anonymous: bool,
        authenticated: bool,
        named: Box<[Box<str>]>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Up to this QoS.
    Allow { qos_max: Qos },
    /// From this QoS.
    Deny { qos_min: Qos },
}

#[derive(Debug)]
pub(super) enum What {
    Connect,
    Topics {
        /// What the rule gives or takes; none if it does not speak of publishing.
        publish: PublishRights,
        subscribe: bool,
        /// Calling what the patterns name.
        call: bool,
        /// Registering it.
        register: bool,
        /// The lowest acknowledgement level that a publish may ask for; `None` = the rule lets none be lowered.
        ack_level_min: Option<Level>,
        patterns: Box<[Pattern]>,
    },
}

impl Audience {
    pub(super) fn has(&self, principal: &Principal) -> bool {
        match self {
            Audience::Everybody => true,
            Audience::Roles { anonymous, authenticated, named } => {
                let known = principal.user_id.is_some();
                (*authenticated && known)
                    || (*anonymous && !known)
                    || named.iter().any(|role| principal.roles.iter().any(|own| **own == **role))
            }
        }
    }
}

impl Effect {
    /// The highest QoS that a subscription may have after this rule.
    pub(super) fn subscribe_max(self) -> Option<Qos> {
        match self {
            Effect::Allow { qos_max } => Some(qos_max),
            Effect::Deny { qos_min } => Qos::from_bits((qos_min as u8).wrapping_sub(1)),
        }
    }

    /// The publishes it speaks of: with RETAIN, without, or both (`None`).
    pub(super) fn publishes(self, retain: Option<bool>) -> PublishRights {
        let mut rights = PublishRights::NONE;
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let meant = match self {
                Effect::Allow { qos_max } => qos <= qos_max,
                Effect::Deny { qos_min } => qos >= qos_min,
            };
            for flag in [false, true] {
                if meant && retain.is_none_or(|only| only == flag) {
                    rights = rights.with(qos, flag);
                }
            }
        }
        rights
    }
}

impl Rule {
    /// Which of the rule's filters decides about `asked`: one that holds all of it if the rule allows,
    /// one that touches it if the rule denies. `None` = the rule does not concern this.
    pub(super) fn decides(&self, principal: &Principal, asked: &str) -> Option<&Pattern> {
        let What::Topics { patterns, .. } = &self.what else { return None };
        if !self.who.has(principal) {
            return None;
        }
        patterns.iter().find(|pattern| match self.effect {
            Effect::Allow { .. } => pattern.contains(principal, asked),
            Effect::Deny { .. } => pattern.meets(principal, asked),
        })
    }
}
