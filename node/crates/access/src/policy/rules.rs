//! A policy made of rules: what no rule allows is denied, and what one denies stays denied.

use std::path::Path;

use weir_model::{Filter, Level, Principal, Qos};

use super::grammar::{self, Refused};
use super::rule::{Effect, Rule, What};
use super::{Action, Explanation, Policy, explain};
use crate::PublishRights;

/// The rules of one file or preset, in its order, which does not matter for any verdict.
#[derive(Debug)]
pub(super) struct Rules {
    /// What explanations call it: the file's name, or `preset cashew`.
    pub(super) source: Box<str>,
    pub(super) rules: Box<[Rule]>,
}

impl Rules {
    /// # Errors
    /// The first thing that is wrong in the text, with its line.
    pub(super) fn parse(source: &str, text: &str) -> Result<Rules, Refused> {
        Ok(Rules { source: source.into(), rules: grammar::parse(text)?.into() })
    }

    /// Named after the file without its directories.
    pub(super) fn of_file(path: &Path, text: &str) -> Result<Rules, Refused> {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        Rules::parse(&name, text)
    }

    /// `asked` is a topic or a filter without `$share/<name>/`; a topic is the set of itself.
    pub(super) fn subscribe_max(&self, principal: &Principal, asked: &str) -> Option<Qos> {
        let mut allowed = None;
        let mut ceiling = Some(Qos::ExactlyOnce);
        for rule in &self.rules {
            if !matches!(rule.what, What::Topics { subscribe: true, .. }) {
                continue;
            }
            let limit = rule.effect.subscribe_max();
            match rule.effect {
                Effect::Allow { .. } if limit > allowed && rule.decides(principal, asked).is_some() => {
                    allowed = limit;
                }
                Effect::Deny { .. } if limit < ceiling && rule.decides(principal, asked).is_some() => {
                    ceiling = Some(limit?);
                }
                _ => {}
            }
        }
        allowed.min(ceiling)
    }

    /// Whether a rule allows what `speaks` means, and none denies it.
    fn allows(&self, principal: &Principal, asked: &str, speaks: impl Fn(&What) -> bool) -> bool {
        let mut allowed = false;
        for rule in self.rules.iter().filter(|rule| speaks(&rule.what)) {
            let decides = |allowed: bool| !allowed && rule.decides(principal, asked).is_some();
            match rule.effect {
                Effect::Allow { .. } => allowed |= decides(allowed),
                Effect::Deny { .. } if decides(false) => return false,
                Effect::Deny { .. } => {}
            }
        }
        allowed
    }
}

impl Policy for Rules {
    /// Everybody whom no rule denies, as long as no rule says who.
    fn may_connect(&self, principal: &Principal) -> bool {
        let (mut listed, mut allowed) = (false, false);
        for rule in self.rules.iter().filter(|rule| matches!(rule.what, What::Connect)) {
            let concerned = rule.who.has(principal);
            match rule.effect {
                Effect::Deny { .. } if concerned => return false,
                Effect::Deny { .. } => {}
                Effect::Allow { .. } => {
                    listed = true;
                    allowed |= concerned;
                }
            }
        }
        allowed || !listed
    }

    fn publish(&self, principal: &Principal, topic: &str) -> PublishRights {
        let mut allowed = PublishRights::NONE;
        let mut denied = PublishRights::NONE;
        for rule in &self.rules {
            let What::Topics { publish, .. } = &rule.what else { continue };
            let sum = match rule.effect {
                Effect::Allow { .. } => &mut allowed,
                Effect::Deny { .. } => &mut denied,
            };
            // Only a rule that changes something is asked.
            if sum.union(*publish) != *sum && rule.decides(principal, topic).is_some() {
                *sum = sum.union(*publish);
            }
        }
        allowed.without(denied)
    }

    /// The lowest of all rules that allow this very publish.
    fn ack_level_min(&self, principal: &Principal, topic: &str, qos: Qos, retain: bool) -> Option<Level> {
        let lowered = self.rules.iter().filter_map(|rule| {
            let What::Topics { publish, ack_level_min: Some(level), .. } = &rule.what else { return None };
            let gives = publish.allows(qos, retain) && rule.decides(principal, topic).is_some();
            gives.then_some(*level)
        });
        lowered.min()
    }

    fn subscribe(&self, principal: &Principal, filter: &Filter) -> Option<Qos> {
        self.subscribe_max(principal, filter.pattern())
    }

    fn receive(&self, principal: &Principal, topic: &str) -> bool {
        self.subscribe_max(principal, topic).is_some()
    }

    fn may_call(&self, principal: &Principal, topic: &str) -> bool {
        self.allows(principal, topic, |what| matches!(what, What::Topics { call: true, .. }))
    }

    fn may_register(&self, principal: &Principal, asked: &str) -> bool {
        self.allows(principal, asked, |what| matches!(what, What::Topics { register: true, .. }))
    }

    fn explain(&self, principal: &Principal, action: Action<'_>) -> Explanation {
        explain::explain(self, principal, action)
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
