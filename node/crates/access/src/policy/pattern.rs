//! A filter of a rule: a set of topics in which `{user_id}`, `{client_id}` and `{claim.NAME}` stand for
//! one level, filled in from the principal that is judged.

use weir_model::topic::{Invalid, TOPIC_BYTES_MAX};
use weir_model::{Filter, Principal};

/// The topics a rule speaks of. Split when it is loaded; judging allocates nothing.
#[derive(Debug)]
pub(super) struct Pattern {
    /// As it stands in the policy.
    text: Box<str>,
    /// At least one: `#` alone is `+/#`, which means the same topics.
    levels: Box<[Level]>,
    /// Whether `#` follows the levels.
    rest: bool,
}

#[derive(Debug)]
enum Level {
    Text(Box<str>),
    /// `+`.
    Any,
    Own(Slot),
}

/// What of the principal fills a level.
#[derive(Debug)]
enum Slot {
    UserId,
    ClientId,
    Claim(Box<str>),
}

/// Why a text is not a filter of a rule.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    #[error("{0}")]
    Filter(Invalid),
    #[error(
        "is shared; a rule names what follows `$share/<name>/`, and shared subscriptions are judged by that"
    )]
    Shared,
    #[error(
        "has `{{` or `}}` in the level `{level}`; a placeholder is a whole level: `{{user_id}}`, `{{client_id}}` or `{{claim.NAME}}`"
    )]
    Placeholder { level: String },
}

impl Pattern {
    /// # Errors
    /// What is wrong with the text.
    pub(super) fn new(text: &str) -> Result<Pattern, BadPattern> {
        let filter = Filter::new(text).map_err(BadPattern::Filter)?;
        if filter.share().is_some() {
            return Err(BadPattern::Shared);
        }
        let (front, rest) = open(text);
        let levels = front.split('/').map(Level::new).collect::<Result<_, _>>()?;
        Ok(Pattern { text: text.into(), levels, rest })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether every topic of `asked` (a topic, or a filter without `$share/<name>/`) is meant. For what
    /// is allowed: a placeholder without a usable value means no topic.
    pub(super) fn contains(&self, principal: &Principal, asked: &str) -> bool {
        let (front, rest) = open(asked);
        let mut asked = front.split('/');
        for (at, level) in self.levels.iter().enumerate() {
            let Some(theirs) = asked.next() else { return false };
            let inside = match level {
                Level::Text(text) => **text == *theirs,
                Level::Any => at > 0 || !is_reserved(theirs),
                // A name of one's own never opens the topics of the broker.
                Level::Own(slot) => slot.value(principal) == Some(theirs) && (at > 0 || !is_reserved(theirs)),
            };
            if !inside {
                return false;
            }
        }
        self.rest || (!rest && asked.next().is_none())
    }

    /// Whether some topic of `asked` is meant. For what is denied: a placeholder without a usable value
    /// means every level, so that nothing slips through by having none.
    pub(super) fn meets(&self, principal: &Principal, asked: &str) -> bool {
        let (front, rest) = open(asked);
        let mut asked = front.split('/');
        for (at, level) in self.levels.iter().enumerate() {
            let Some(theirs) = asked.next() else { return rest };
            let ours = match level {
                Level::Text(text) => Some(&**text),
                Level::Any => None,
                Level::Own(slot) => slot.value(principal),
            };
            if !levels_meet(ours, (theirs != "+").then_some(theirs), at == 0) {
                return false;
            }
        }
        self.rest || asked.next().is_none()
    }

    /// Whether some topic of `asked` is meant where a placeholder without a usable value means none.
    pub(super) fn reaches(&self, principal: &Principal, asked: &str) -> bool {
        let filled = |level: &Level| match level {
            Level::Own(slot) => slot.value(principal).is_some(),
            _ => true,
        };
        self.levels.iter().all(filled) && self.meets(principal, asked)
    }
}

impl Level {
    fn new(text: &str) -> Result<Level, BadPattern> {
        let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
        match (inner, text) {
            (Some("user_id"), _) => Ok(Level::Own(Slot::UserId)),
            (Some("client_id"), _) => Ok(Level::Own(Slot::ClientId)),
            (Some(inner), _) => match inner.strip_prefix("claim.") {
                Some(name) if !name.is_empty() && !name.contains(['{', '}']) => {
                    Ok(Level::Own(Slot::Claim(name.into())))
                }
                _ => Err(BadPattern::Placeholder { level: text.to_owned() }),
            },
            (None, "+") => Ok(Level::Any),
            (None, _) if text.contains(['{', '}']) => Err(BadPattern::Placeholder { level: text.to_owned() }),
            (None, _) => Ok(Level::Text(text.into())),
        }
    }
}

impl Slot {
    /// The value, if it can be one level of a topic.
    fn value<'a>(&self, principal: &'a Principal) -> Option<&'a str> {
        let value = match self {
            Slot::UserId => principal.user_id.as_deref(),
            Slot::ClientId => Some(&*principal.client_id),
            Slot::Claim(name) => {
                principal.claims.iter().find(|(known, _)| **known == **name).map(|(_, value)| &**value)
            }
        };
        value.filter(|value| is_one_level(value))
    }
}

fn is_one_level(value: &str) -> bool {
    let breaks = |byte: u8| matches!(byte, b'/' | b'+' | b'#' | 0);
    !value.is_empty() && value.len() <= TOPIC_BYTES_MAX && !value.bytes().any(breaks)
}

/// Levels of two sets at one place, `None` = any: whether they have a name in common. A wildcard in
/// the first place does not mean the topics of the broker (MQTT-4.7.2-1).
fn levels_meet(ours: Option<&str>, theirs: Option<&str>, first: bool) -> bool {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => ours == theirs,
        (Some(name), None) | (None, Some(name)) => !first || !is_reserved(name),
        (None, None) => true,
    }
}

/// Takes `#` off the end, and says whether it was there. Never takes the only level.
fn open(filter: &str) -> (&str, bool) {
    match filter.strip_suffix("/#") {
        Some(front) => (front, true),
        None if filter == "#" => ("+", true),
        None => (filter, false),
    }
}

fn is_reserved(level: &str) -> bool {
    weir_model::topic::is_reserved(level)
}

#[cfg(test)]
pub(super) mod tests;
