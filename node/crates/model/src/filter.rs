//! A filter: a pattern of topics, `+` for one level, `#` for the rest, `$share/<name>/` in front
//! for a shared subscription (MQTT-4.7.1, MQTT-4.8.2).
//!
//! In front of the pattern the broker itself may write `$where/<selector>/`: of what matches, only what the selector takes.
//! To this crate a selector is a text; clients have no way of their own to write one.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::topic::{Invalid, TOPIC_LEVELS_MAX, check_size, is_reserved};

const SHARE_PREFIX: &str = "$share/";

const WHERE_PREFIX: &str = "$where/";

/// Bytes of a selector, as it stands in a filter.
const SELECTOR_BYTES_MAX: usize = 16 << 10;

/// A valid topic filter as the client wrote it. Cloning shares the text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Arc<str>", into = "Arc<str>")]
pub struct Filter {
    text: Arc<str>,
    /// Where the topic part starts: 0, or behind `$share/<name>/` or `$where/<selector>/`.
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
        self.text[..end].strip_prefix(SHARE_PREFIX)
    }

    /// What stands between `$where/` and the pattern, as it stands there: two filters select alike if it is the same.
    pub fn selector(&self) -> Option<&str> {
        let end = (self.pattern_at as usize).checked_sub(1)?;
        self.text[..end].strip_prefix(WHERE_PREFIX)
    }

    /// What [`Filter::selector`] was made from.
    pub fn selector_text(&self) -> Option<Cow<'_, str>> {
        let text = self.selector()?;
        let plain = |text: &str| {
            text.replace("%2F", "/")
                .replace("%2B", "+")
                .replace("%23", "#")
                .replace("%00", "\0")
                .replace("%25", "%")
        };
        Some(if text.contains('%') { plain(text).into() } else { text.into() })
    }

    /// The same pattern, for what `selector` takes only.
    ///
    /// # Errors
    /// The selector is empty or too long, or the filter is shared.
    pub fn selecting(&self, selector: &str) -> Result<Filter, Invalid> {
        if self.share().is_some() {
            return Err(Invalid::BadSelector);
        }
        let mut text = String::from(WHERE_PREFIX);
        for character in selector.chars() {
            match character {
                '%' => text.push_str("%25"),
                '/' => text.push_str("%2F"),
                '+' => text.push_str("%2B"),
                '#' => text.push_str("%23"),
                '\0' => text.push_str("%00"),
                other => text.push(other),
            }
        }
        text.push('/');
        text.push_str(self.pattern());
        Filter::new(&text)
    }

    /// The same pattern without a selector.
    pub fn unselected(&self) -> Cow<'_, Filter> {
        match self.selector() {
            None => Cow::Borrowed(self),
            Some(_) => {
                let text = Arc::from(self.pattern());
                Cow::Owned(Filter { text, pattern_at: 0, wildcard: self.wildcard })
            }
        }
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
        let selector_at = text.strip_prefix(WHERE_PREFIX).map(selector_len).transpose()?;
        let selected_at = selector_at.map_or(0, |len| WHERE_PREFIX.len() + len + 1);
        check_size(&text[selected_at..])?;
        let pattern_at = match text.strip_prefix(SHARE_PREFIX) {
            Some(rest) => SHARE_PREFIX.len() + share_name_len(rest)? + 1,
            None if &*text == "$share" => return Err(Invalid::BadShare),
            None => selected_at,
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

fn selector_len(rest: &str) -> Result<usize, Invalid> {
    match rest.split_once('/') {
        Some((selector, pattern))
            if (1..=SELECTOR_BYTES_MAX).contains(&selector.len())
                && !pattern.starts_with(SHARE_PREFIX)
                && !pattern.starts_with(WHERE_PREFIX) =>
        {
            Ok(selector.len())
        }
        _ => Err(Invalid::BadSelector),
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

    #[test]
    fn a_selecting_filter_is_its_pattern_for_topics_and_another_filter_beside_it() {
        let plain = Filter::new("a/+").unwrap();
        let filter = plain.selecting(r#"{"n/m":"+#%25"}"#).unwrap();
        assert_eq!((filter.pattern(), filter.share()), ("a/+", None));
        assert!(filter.is_wildcard() && filter.matches("a/b") && filter != plain);
        assert_eq!(filter.selector_text().unwrap(), r#"{"n/m":"+#%25"}"#);
        assert_eq!(Filter::new(filter.as_str()).unwrap(), filter);
        assert_eq!(*filter.unselected(), plain);
        assert!(Filter::new("$share/g/a").unwrap().selecting("{}").is_err());
        for bad in ["$where/x", "$where//a", "$where/x/", "$where/x/$share/g/a", "$where/x/$where/y/a"] {
            assert!(Filter::new(bad).is_err(), "{bad}");
        }
        assert!(plain.selecting(&"x".repeat(20_000)).is_err());
    }

    proptest! {
        #[test]
        fn every_selector_is_read_back_as_it_was(selector in "\\PC{1,40}|[%/+#0-9A-F]{1,20}") {
            let filter = Filter::new("a/#").unwrap().selecting(&selector).unwrap();
            prop_assert_eq!(filter.selector_text().unwrap(), selector.as_str());
        }

        #[test]
        fn a_topic_matches_itself_and_hash(topic in "[a-z/]{1,20}") {
            prop_assert!(matches(&topic, &topic));
            prop_assert!(matches("#", &topic));
        }
    }
}
