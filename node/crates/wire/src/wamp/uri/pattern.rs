//! The URI of a subscription or registration as a filter of topics.

use weir_model::Filter;

use super::{Empty, Rules, UriError, check, check_characters, check_components, of_topic, to_topic_text};
use crate::wamp::message::Match;

/// Which topics are meant: those the filter matches, and of a prefix only those whose URI begins with it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    filter: Filter,
    /// What the URI begins with, where the filter says less than that.
    prefix: Option<Box<str>>,
}

impl Pattern {
    /// Reads a URI by its match policy; by the rules of fox-wamp `*` and `#` are wildcards in any of them but
    /// prefixes.
    ///
    /// # Errors
    ///
    /// What [`super::check`] says (of a prefix the last component may be empty, of a wildcard pattern any), `#`
    /// before the last component, `$share` in front, and what breaks the limits of filters.
    pub fn new(uri: &str, policy: Match, rules: Rules) -> Result<Pattern, UriError> {
        match policy {
            Match::Prefix => Pattern::of_prefix(uri, rules),
            Match::Wildcard => Pattern::of_components(uri, rules, Empty::Any),
            Match::Exact if rules.fox => Pattern::of_components(uri, rules, Empty::None),
            Match::Exact => {
                check(uri, rules)?;
                Pattern::whole(&to_topic_text(uri))
            }
        }
    }

    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// The prefix that must be asked for by [`Pattern::matches`] when the filter matched; `None` when the
    /// filter says all.
    pub fn prefix(&self) -> Option<&str> {
        self.prefix.as_deref()
    }

    /// Whether a topic is meant.
    pub fn matches(&self, topic: &str) -> bool {
        self.filter.matches(topic) && self.prefix().is_none_or(|prefix| begins_with(topic, prefix))
    }

    /// A filter of the whole components, and the rest to be compared.
    fn of_prefix(uri: &str, rules: Rules) -> Result<Pattern, UriError> {
        check_components(uri, rules.strict, Empty::Last)?;
        let whole = uri.rfind('.').map_or("", |dot| &uri[..=dot]);
        let pattern = Pattern::whole(&format!("{}#", to_topic_text(whole)))?;
        Ok(Pattern { prefix: (!uri.is_empty()).then(|| uri.into()), ..pattern })
    }

    fn of_components(uri: &str, rules: Rules, empty: Empty) -> Result<Pattern, UriError> {
        if uri.is_empty() && empty == Empty::None {
            return Err(UriError::Empty);
        }
        let mut text = String::with_capacity(uri.len());
        let mut components = uri.split('.').peekable();
        while let Some(component) = components.next() {
            match component {
                "" if empty == Empty::None => return Err(UriError::EmptyComponent),
                "" => text.push('+'),
                "*" if rules.fox => text.push('+'),
                "#" if rules.fox && components.peek().is_some() => return Err(UriError::MisplacedHash),
                "#" if rules.fox => text.push('#'),
                _ => {
                    check_characters(component, rules.strict)?;
                    text.push_str(&to_topic_text(component));
                }
            }
            if components.peek().is_some() {
                text.push('/');
            }
        }
        Pattern::whole(&text)
    }

    fn whole(filter: &str) -> Result<Pattern, UriError> {
        if filter == "$share" || filter.starts_with("$share/") {
            return Err(UriError::Shared);
        }
        let filter = Filter::new(filter).map_err(UriError::Topic)?;
        Ok(Pattern { filter, prefix: None })
    }
}

/// Whether the URI of a topic begins with `prefix`; of most topics without writing it.
fn begins_with(topic: &str, prefix: &str) -> bool {
    if topic.contains(['%', '.']) {
        return of_topic(topic).starts_with(prefix);
    }
    let as_uri = topic.bytes().map(|byte| if byte == b'/' { b'.' } else { byte });
    topic.len() >= prefix.len() && as_uri.zip(prefix.bytes()).all(|(a, b)| a == b)
}
