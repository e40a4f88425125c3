//! From the text of a policy to its rules: a strict little grammar, where what is not understood is refused.

use serde::Deserialize;
use toml::Spanned;
use weir_model::{Level, Qos, UnknownLevel};

use super::pattern::{BadPattern, Pattern};
use super::rule::{Audience, Effect, Rule, What};
use crate::PublishRights;

/// The built-in role of who has no user id.
const ANONYMOUS: &str = "anonymous";
/// The built-in role of who has one.
const AUTHENTICATED: &str = "authenticated";

/// Why a policy's text was refused, and in which line (from 1).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) line: usize,
    pub(super) problem: Problem,
}

/// What is wrong with a policy's text.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("{0}")]
    Syntax(String),
    #[error(
        "a rule says either `allow` or `deny`, a list of `connect`, `publish`, `subscribe`, `call`, `register`"
    )]
    NoVerdict,
    #[error("a rule says `allow` or `deny`, not both")]
    TwoVerdicts,
    #[error(
        "there is no action `{action}`; allowed is `connect`, `publish` (with `retain = true` or `false` to narrow it), `subscribe`, `call`, `register`"
    )]
    Action { action: String },
    #[error(
        "`connect` stands in a rule of its own, without `filters`, `qos_max`, `qos_min`, `retain` and `ack_level_min`"
    )]
    ConnectAlone,
    #[error("`roles` is empty, so that the rule concerns nobody; left out, it concerns everybody")]
    NoRoles,
    #[error("a role without a name")]
    NamelessRole,
    #[error(
        "`filters` is missing or empty; all topics but those that begin with `$` are `filters = [\"#\"]`"
    )]
    NoFilters,
    #[error("the filter `{filter}` {problem}")]
    Filter { filter: String, problem: BadPattern },
    #[error("`{key}` is {found}; allowed is 0, 1 or 2")]
    Qos { key: &'static str, found: i64 },
    #[error("`qos_max` belongs to `allow`; to deny from a QoS upwards is `qos_min`")]
    QosMaxOfDeny,
    #[error("`qos_min` belongs to `deny`; to allow up to a QoS is `qos_max`")]
    QosMinOfAllow,
    #[error("`retain` narrows `publish`, of which this rule does not speak")]
    RetainWithoutPublish,
    #[error("`ack_level_min`: {0}")]
    AckLevel(UnknownLevel),
    #[error("`ack_level_min` belongs to rules that allow `publish`")]
    AckLevelWithoutPublish,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    #[serde(default)]
    rule: Vec<Spanned<RuleText>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    roles: Option<Spanned<Vec<Spanned<String>>>>,
    allow: Option<Vec<Spanned<String>>>,
    deny: Option<Vec<Spanned<String>>>,
    filters: Option<Vec<Spanned<String>>>,
    qos_max: Option<Spanned<i64>>,
    qos_min: Option<Spanned<i64>>,
    retain: Option<Spanned<bool>>,
    ack_level_min: Option<Spanned<String>>,
}

/// What went wrong at which byte; the line is counted only then.
type AtByte = (usize, Problem);

#[derive(Default)]
struct Actions {
    connect: bool,
    publish: bool,
    subscribe: bool,
    call: bool,
    register: bool,
}

pub(super) fn parse(text: &str) -> Result<Vec<Rule>, Refused> {
    let line = |byte: usize| 1 + text.bytes().take(byte).filter(|byte| *byte == b'\n').count();
    let file: FileText = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        Refused { line: line(at), problem: Problem::Syntax(error.message().to_owned()) }
    })?;
    let mut rules = Vec::with_capacity(file.rule.len());
    for (index, spanned) in file.rule.into_iter().enumerate() {
        let at = spanned.span().start;
        let made = rule(spanned.into_inner(), at);
        let (who, effect, what) = made.map_err(|(at, problem)| Refused { line: line(at), problem })?;
        rules.push(Rule { number: index + 1, line: line(at), who, effect, what });
    }
    Ok(rules)
}

fn rule(text: RuleText, at: usize) -> Result<(Audience, Effect, What), AtByte> {
    let (named, denies) = match (text.allow, text.deny) {
        (Some(allow), None) => (allow, false),
        (None, Some(deny)) => (deny, true),
        (None, None) => return Err((at, Problem::NoVerdict)),
        (Some(_), Some(_)) => return Err((at, Problem::TwoVerdicts)),
    };
    let who = audience(text.roles)?;
    let actions = actions(named, at)?;
    if actions.connect {
        let narrowed = text.filters.is_some()
            || text.qos_max.is_some()
            || text.qos_min.is_some()
            || text.retain.is_some()
            || text.ack_level_min.is_some();
        if narrowed || actions.publish || actions.subscribe || actions.call || actions.register {
            return Err((at, Problem::ConnectAlone));
        }
        return Ok((who, effect(denies, None, None)?, What::Connect));
    }
    let effect = effect(denies, text.qos_max, text.qos_min)?;
    let publish = match (actions.publish, text.retain) {
        (true, retain) => effect.publishes(retain.map(Spanned::into_inner)),
        (false, None) => PublishRights::NONE,
        (false, Some(retain)) => return Err((retain.span().start, Problem::RetainWithoutPublish)),
    };
    let ack_level_min = ack_level(text.ack_level_min, actions.publish && !denies)?;
    let patterns = patterns(text.filters.unwrap_or_default(), at)?;
    let Actions { subscribe, call, register, .. } = actions;
    Ok((who, effect, What::Topics { publish, subscribe, call, register, ack_level_min, patterns }))
}

fn ack_level(given: Option<Spanned<String>>, allows_publish: bool) -> Result<Option<Level>, AtByte> {
    let Some(given) = given else { return Ok(None) };
    let at = given.span().start;
    if !allows_publish {
        return Err((at, Problem::AckLevelWithoutPublish));
    }
    given.get_ref().parse().map(Some).map_err(|problem| (at, Problem::AckLevel(problem)))
}

fn audience(roles: Option<Spanned<Vec<Spanned<String>>>>) -> Result<Audience, AtByte> {
    let Some(roles) = roles else { return Ok(Audience::Everybody) };
    if roles.get_ref().is_empty() {
        return Err((roles.span().start, Problem::NoRoles));
    }
    let (mut anonymous, mut authenticated, mut named) = (false, false, Vec::new());
    for role in roles.into_inner() {
        match role.get_ref().as_str() {
            "" => return Err((role.span().start, Problem::NamelessRole)),
            ANONYMOUS => anonymous = true,
            AUTHENTICATED => authenticated = true,
            name => named.push(name.into()),
        }
    }
    Ok(Audience::Roles { anonymous, authenticated, named: named.into() })
}

fn actions(named: Vec<Spanned<String>>, at: usize) -> Result<Actions, AtByte> {
    if named.is_empty() {
        return Err((at, Problem::NoVerdict));
    }
    let mut actions = Actions::default();
    for action in named {
        match action.get_ref().as_str() {
            "connect" => actions.connect = true,
            "publish" => actions.publish = true,
            "subscribe" => actions.subscribe = true,
            "call" => actions.call = true,
            "register" => actions.register = true,
            _ => {
                let at = action.span().start;
                return Err((at, Problem::Action { action: action.into_inner() }));
            }
        }
    }
    Ok(actions)
}

fn effect(denies: bool, max: Option<Spanned<i64>>, min: Option<Spanned<i64>>) -> Result<Effect, AtByte> {
    match (denies, max, min) {
        (true, Some(max), _) => Err((max.span().start, Problem::QosMaxOfDeny)),
        (false, _, Some(min)) => Err((min.span().start, Problem::QosMinOfAllow)),
        (true, None, min) => Ok(Effect::Deny { qos_min: qos("qos_min", min, Qos::AtMostOnce)? }),
        (false, max, None) => Ok(Effect::Allow { qos_max: qos("qos_max", max, Qos::ExactlyOnce)? }),
    }
}

fn qos(key: &'static str, given: Option<Spanned<i64>>, default: Qos) -> Result<Qos, AtByte> {
    let Some(given) = given else { return Ok(default) };
    let found = *given.get_ref();
    let known = u8::try_from(found).ok().and_then(Qos::from_bits);
    known.ok_or_else(|| (given.span().start, Problem::Qos { key, found }))
}

fn patterns(filters: Vec<Spanned<String>>, at: usize) -> Result<Box<[Pattern]>, AtByte> {
    if filters.is_empty() {
        return Err((at, Problem::NoFilters));
    }
    let pattern = |filter: Spanned<String>| {
        Pattern::new(filter.get_ref()).map_err(|problem| {
            let at = filter.span().start;
            (at, Problem::Filter { filter: filter.into_inner(), problem })
        })
    };
    filters.into_iter().map(pattern).collect()
}

#[cfg(test)]
mod tests;
