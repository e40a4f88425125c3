//! A filter: a pattern of topics, `+` for one level, `#` for the rest, `$share/<name>/` in front
//! for a shared subscription (MQTT-4.7.1, MQTT-4.8.2).

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::topic::{Invalid, TOPIC_LEVELS_MAX, check_size, is_reserved};

const SHARE_PREFIX: &str = "$share/";

/// A valid topic filter as the client wrote it. Cloning shares the text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Arc<str>", into = "Arc<str>")]
pub struct Filter {
    text: Arc<str>,
    /// Where the topic part starts: 0, or behind `$share/<name>/`.
    pattern_at: u16,
    wildcard: bool,
}

impl Filter {
    pub fn new(text: &str) -> Result<Filter, Invalid> {
        Filter::try_from(Arc::<str>::from(text))
    }

    /// The whole text, `$share/<name>/` included.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The part that topics are compared with.
    pub fn pattern(&self) -> &str {
        &self.text[self.pattern_at as usize..]
    }

    /// The share name of a shared subscription.
    pub fn share(&self) -> Option<&str> {
        let end = (self.pattern_at as usize).checked_sub(1)?;
        Some(&self.text[SHARE_PREFIX.len()..end])
    }

    /// Whether the pattern has a `+` or `#`; one without matches one topic.
    pub fn is_wildcard(&self) -> bool {
        self.wildcard
    }

    /// Whether a topic is meant. Both sides are valid, so levels are compared one by one.
    pub fn matches(&self, topic: &str) -> bool {
        pattern_matches(self.pattern(), topic)
    }
}

fn pattern_matches(pattern: &str, topic: &str) -> bool {
    if is_reserved(topic) && pattern.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for part in pattern.split('/') {
        match part {
            "#" => return true,
            "+" if levels.next().is_some() => {}
            "+" => return false,
            literal if levels.next() == Some(literal) => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

impl TryFrom<Arc<str>> for Filter {
    type Error = Invalid;

    fn try_from(text: Arc<str>) -> Result<Filter, Invalid> {
        check_size(&text)?;
        let pattern_at = match text.strip_prefix(SHARE_PREFIX) {
            Some(rest) => SHARE_PREFIX.len() + share_name_len(rest)? + 1,
            None if &*text == "$share" => return Err(Invalid::BadShare),
            None => 0,
        };
        let wildcard = check_pattern(&text[pattern_at..])?;
        Ok(Filter { pattern_at: pattern_at as u16, wildcard, text })
    }
}

impl From<Filter> for Arc<str> {
    fn from(filter: Filter) -> Arc<str> {
        filter.text
    }
}

fn share_name_len(rest: &str) -> Result<usize, Invalid> {
    match rest.split_once('/') {
        Some((name, pattern)) if !name.is_empty() && !pattern.is_empty() && !name.contains(['+', '#']) => {
            Ok(name.len())
        }
        _ => Err(Invalid::BadShare),
    }
}

/// Returns whether the pattern has wildcards, or what is wrong with it.
fn check_pattern(pattern: &str) -> Result<bool, Invalid> {
    if pattern.bytes().any(|b| b == 0) {
        return Err(Invalid::Null);
    }
    if pattern.bytes().filter(|b| *b == b'/').count() >= TOPIC_LEVELS_MAX {
        return Err(Invalid::TooDeep);
    }
    let mut wildcard = false;
    let mut levels = pattern.split('/').peekable();
    while let Some(level) = levels.next() {
        match level {
            "+" => wildcard = true,
            "#" if levels.peek().is_none() => wildcard = true,
            _ if level.contains(['+', '#']) => return Err(Invalid::MisplacedWildcard),
            _ => {}
        }
    }
    Ok(wildcard)
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(filter: &str, topic: &str) -> bool {
        Filter::new(filter).unwrap().matches(topic)
    }

    #[test]
    fn wildcards_match_as_the_standard_shows() {
        for (filter, topic) in [
            ("sport/#", "sport"),
            ("sport/#", "sport/tennis/player1"),
            ("#", "a/b"),
            ("+/+", "/finance"),
            ("/+", "/finance"),
            ("+", "finance"),
            ("sport/+", "sport/"),
            ("$SYS/#", "$SYS/broker"),
            ("$share/g/sport/+", "sport/x"),
            ("a//b", "a//b"),
        ] {
            assert!(matches(filter, topic), "{filter} should match {topic}");
        }
        for (filter, topic) in [
            ("sport/+", "sport"),
            ("sport/+", "sport/a/b"),
            ("+", "/finance"),
            ("#", "$SYS/broker"),
            ("+/broker", "$SYS/broker"),
            ("a/b", "a//b"),
            ("a/b/", "a/b"),
        ] {
            assert!(!matches(filter, topic), "{filter} should not match {topic}");
        }
    }

    #[test]
    fn malformed_filters_are_refused() {
        for bad in
            ["", "a#", "a/#/b", "a+/b", "$share/ab", "$share//x", "$share/g/", "$share/+/x", "$share", "a\0"]
        {
            assert!(Filter::new(bad).is_err(), "{bad:?}");
        }
        assert!(Filter::new(&"/".repeat(65_535)).is_err());
    }

    #[test]
    fn a_shared_filter_knows_its_group_and_pattern() {
        let filter = Filter::new("$share/workers/jobs/+").unwrap();
        assert_eq!(filter.share(), Some("workers"));
        assert_eq!(filter.pattern(), "jobs/+");
        assert!(filter.is_wildcard());
        assert_eq!(Filter::new("jobs").unwrap().share(), None);
    }

    proptest! {
        #[test]
        fn a_topic_matches_itself_and_hash(topic in "[a-z/]{1,20}") {
            prop_assert!(matches(&topic, &topic));
            prop_assert!(matches("#", &topic));
        }
    }
}
