//! URIs of WAMP: what is one, and which topic or filter it names.
//!
//! The mapping is a bijection between URIs and canonical topics (`escape` says how), so that no name can be
//! smuggled in or lost. Every topic has a URI; a URI has a topic unless it breaks the limits of topics.

mod escape;
mod pattern;

pub use escape::{of_topic, to_topic_text};
pub use pattern::Pattern;

use weir_model::Topic;
use weir_model::topic::Invalid;

/// How URIs are checked (WAMP, "URIs").
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rules {
    /// Whether components are only of `0-9`, `a-z` and `_`, instead of all but white space and `#`.
    pub strict: bool,
    /// Whether `*` and `#` as components of a subscription's topic are fox-wamp's wildcards: for one component
    /// and, at the end, for any number of them. Nothing may be published to them then.
    pub fox: bool,
}

/// Why a text is not the URI it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    #[error("uri is empty")]
    Empty,
    #[error("uri has an empty component")]
    EmptyComponent,
    #[error("uri has white space or `#`")]
    Character,
    #[error("uri has other characters than 0-9, a-z, _ and the dot")]
    NotStrict,
    #[error("uri has a wildcard, which only subscriptions may have")]
    Wildcard,
    #[error("uri has `#` before its last component")]
    MisplacedHash,
    #[error("uri names a shared subscription of mqtt")]
    Shared,
    #[error("uri as a topic {0}")]
    Topic(Invalid),
}

/// Which components may be empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Empty {
    None,
    Last,
    Any,
}

/// Checks the URI of a realm, an error, a procedure or a topic published to.
///
/// # Errors
///
/// What is empty or has an empty component, and characters that the rules forbid.
pub fn check(uri: &str, rules: Rules) -> Result<(), UriError> {
    if !rules.strict && is_plain(uri) {
        return Ok(());
    }
    check_components(uri, rules.strict, Empty::None)
}

/// Whether the URI is of the router's own: `wamp` and all below it (WAMP, "Reserved URIs").
pub fn is_reserved(uri: &str) -> bool {
    uri.split('.').next() == Some("wamp")
}

/// The topic a URI names, for publishing and for what is called or registered exactly.
///
/// # Errors
///
/// What [`check`] says, wildcards of fox-wamp, and URIs beyond the limits of topics.
pub fn topic(uri: &str, rules: Rules) -> Result<Topic, UriError> {
    if rules.fox && uri.split('.').any(|component| matches!(component, "*" | "#")) {
        return Err(UriError::Wildcard);
    }
    check(uri, rules)?;
    Topic::new(&to_topic_text(uri)).map_err(UriError::Topic)
}

/// Whether it is of visible ASCII without `#`, and no component is empty: so are most.
fn is_plain(uri: &str) -> bool {
    let mut before = b'.';
    for byte in uri.bytes() {
        if !(b'!'..=b'~').contains(&byte) || byte == b'#' || (byte == b'.' && before == b'.') {
            return false;
        }
        before = byte;
    }
    before != b'.'
}

fn check_components(uri: &str, strict: bool, empty: Empty) -> Result<(), UriError> {
    if uri.is_empty() && empty == Empty::None {
        return Err(UriError::Empty);
    }
    let mut components = uri.split('.').peekable();
    while let Some(component) = components.next() {
        let may_be_empty = empty == Empty::Any || empty == Empty::Last && components.peek().is_none();
        if component.is_empty() && !may_be_empty {
            return Err(UriError::EmptyComponent);
        }
        check_characters(component, strict)?;
    }
    Ok(())
}

fn check_characters(component: &str, strict: bool) -> Result<(), UriError> {
    if component.chars().any(|c| c.is_whitespace() || c == '#') {
        return Err(UriError::Character);
    }
    if strict && !component.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'z' | b'_')) {
        return Err(UriError::NotStrict);
    }
    Ok(())
}
