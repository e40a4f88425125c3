//! A verdict in words: the rule that decides, where it stands, and what it says.

use std::fmt::Write;

use weir_model::{Filter, Principal, Qos, topic};

use super::pattern::Pattern;
use super::rule::{Audience, Effect, Rule, What};
use super::rules::Rules;
use super::{Action, Explanation, Policy};

pub(super) fn explain(policy: &Rules, principal: &Principal, action: Action<'_>) -> Explanation {
    if let Action::Publish { topic, .. } | Action::Receive { topic } = action
        && let Err(problem) = topic::check(topic)
    {
        return Explanation { allowed: false, rule: format!("the topic {topic} {problem}") };
    }
    match action {
        Action::Connect => connect(policy, principal),
        Action::Publish { topic, qos, retain } => publish(policy, principal, topic, qos, retain),
        Action::Subscribe { filter, qos } => match Filter::new(filter) {
            Ok(filter) => subscribe(policy, principal, filter.pattern(), Some(qos)),
            Err(problem) => Explanation { allowed: false, rule: format!("the filter {filter} {problem}") },
        },
        Action::Receive { topic } => subscribe(policy, principal, topic, None),
    }
}

fn connect(policy: &Rules, principal: &Principal) -> Explanation {
    let allowed = policy.may_connect(principal);
    let deciding = policy.rules.iter().find(|rule| {
        let speaks = matches!(rule.what, What::Connect) && rule.who.has(principal);
        speaks && matches!(rule.effect, Effect::Allow { .. }) == allowed
    });
    let rule = match (deciding, allowed) {
        (Some(rule), _) => words(policy, rule, "connect", None),
        (None, true) => format!("{}: no rule keeps it from connecting", policy.source),
        (None, false) => format!("{}: rules say who may connect, and none means this one", policy.source),
    };
    Explanation { allowed, rule }
}

fn publish(policy: &Rules, principal: &Principal, topic: &str, qos: Qos, retain: bool) -> Explanation {
    let allowed = policy.publish(principal, topic).allows(qos, retain);
    let deciding = policy.rules.iter().find_map(|rule| {
        let speaks = matches!(&rule.what, What::Topics { publish, .. } if publish.allows(qos, retain));
        let speaks = speaks && matches!(rule.effect, Effect::Allow { .. }) == allowed;
        let pattern = speaks.then(|| rule.decides(principal, topic)).flatten()?;
        Some(words(policy, rule, "publish", Some(pattern)))
    });
    let retained = if retain { " with RETAIN" } else { "" };
    let none =
        || format!("{}: no rule allows publish of {topic} at QoS {}{retained}", policy.source, qos as u8);
    Explanation { allowed, rule: deciding.unwrap_or_else(none) }
}

/// Allowed is what is granted at all; a lower QoS than asked for is said in words. `qos` is `None` for
/// what is received, which needs no certain one.
fn subscribe(policy: &Rules, principal: &Principal, asked: &str, qos: Option<Qos>) -> Explanation {
    let granted = policy.subscribe_max(principal, asked);
    let action = if qos.is_some() { "subscribe" } else { "receive" };
    // A rule that lowers decides before the one that grants.
    let deciding = decider(policy, principal, asked, false, granted)
        .filter(|_| granted.is_none() || granted < qos)
        .or_else(|| granted.and_then(|_| decider(policy, principal, asked, true, granted)));
    let mut rule = match deciding {
        Some((rule, pattern)) => words(policy, rule, "subscribe", Some(pattern)),
        None => not_allowed(policy, principal, asked, action),
    };
    if let (Some(granted), Some(qos)) = (granted, qos)
        && granted < qos
    {
        let _ = write!(rule, "; granted is QoS {} instead of {}", granted as u8, qos as u8);
    }
    Explanation { allowed: granted.is_some(), rule }
}

/// The first rule of its kind that leaves exactly this.
fn decider<'a>(
    policy: &'a Rules,
    principal: &Principal,
    asked: &str,
    allows: bool,
    granted: Option<Qos>,
) -> Option<(&'a Rule, &'a Pattern)> {
    policy.rules.iter().find_map(|rule| {
        let speaks = matches!(rule.what, What::Topics { subscribe: true, .. })
            && matches!(rule.effect, Effect::Allow { .. }) == allows;
        let leaves = match allows {
            true => rule.effect.subscribe_max() >= granted,
            false => rule.effect.subscribe_max() == granted,
        };
        let pattern = (speaks && leaves).then(|| rule.decides(principal, asked)).flatten()?;
        Some((rule, pattern))
    })
}

/// Nothing allows it: but perhaps a part of it.
fn not_allowed(policy: &Rules, principal: &Principal, asked: &str, action: &str) -> String {
    let part = policy.rules.iter().find_map(|rule| {
        let What::Topics { subscribe: true, patterns, .. } = &rule.what else { return None };
        let allows = matches!(rule.effect, Effect::Allow { .. }) && rule.who.has(principal);
        let pattern = allows.then(|| patterns.iter().find(|pattern| pattern.reaches(principal, asked)))??;
        Some(words(policy, rule, "subscribe", Some(pattern)))
    });
    match part {
        Some(part) => format!("{}: no rule allows {action} to all of {asked}; a part: {part}", policy.source),
        None => format!("{}: no rule allows {action} to {asked}", policy.source),
    }
}

/// `policy.toml rule 3 (line 12): deny subscribe secret/# to device`.
fn words(policy: &Rules, rule: &Rule, action: &str, pattern: Option<&Pattern>) -> String {
    let Rule { number, line, .. } = rule;
    let verb = match rule.effect {
        Effect::Allow { .. } => "allow",
        Effect::Deny { .. } => "deny",
    };
    let mut words = format!("{} rule {number} (line {line}): {verb} {action}", policy.source);
    if let Some(pattern) = pattern {
        let _ = write!(words, " {}", pattern.as_str());
    }
    match rule.effect {
        Effect::Allow { qos_max } if qos_max < Qos::ExactlyOnce => {
            let _ = write!(words, " up to QoS {}", qos_max as u8);
        }
        Effect::Deny { qos_min } if qos_min > Qos::AtMostOnce => {
            let _ = write!(words, " from QoS {}", qos_min as u8);
        }
        _ => {}
    }
    if let Audience::Roles { anonymous, authenticated, named } = &rule.who {
        let built_in = [(*anonymous, "anonymous"), (*authenticated, "authenticated")];
        let built_in = built_in.into_iter().filter(|(meant, _)| *meant).map(|(_, name)| name);
        let all: Vec<&str> = built_in.chain(named.iter().map(|name| &**name)).collect();
        let _ = write!(words, " to {}", all.join(", "));
    }
    words
}

#[cfg(test)]
mod tests;
