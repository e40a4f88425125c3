//! A topic: the canonical name a message travels under, UTF-8 levels joined by `/`.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest topic or filter in bytes. Beyond: 0x90 for PUBLISH, 0x8F for SUBSCRIBE.
pub const TOPIC_BYTES_MAX: usize = 4096;

/// Most levels a topic or filter may have.
pub const TOPIC_LEVELS_MAX: usize = 128;

/// Why a text is not a topic or a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("is empty")]
    Empty,
    #[error("is longer than {TOPIC_BYTES_MAX} bytes")]
    TooLong,
    #[error("has more than {TOPIC_LEVELS_MAX} levels")]
    TooDeep,
    #[error("contains the null character")]
    Null,
    #[error("contains a wildcard character")]
    Wildcard,
    #[error("has a wildcard that does not stand alone in its level, or `#` before the last one")]
    MisplacedWildcard,
    #[error("is not `$share/<name>/<filter>` with a name free of wildcards")]
    BadShare,
    #[error("begins with `$where/`, which is not for clients to write")]
    BadSelector,
}

/// A valid topic name: not empty, no wildcard, no null, within the limits (MQTT-4.7.3).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Topic(Arc<str>);

impl Topic {
    pub fn new(text: &str) -> Result<Topic, Invalid> {
        check(text)?;
        Ok(Topic(Arc::from(text)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl std::borrow::Borrow<str> for Topic {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl std::ops::Deref for Topic {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

/// Checks a topic name without keeping it: one pass over its bytes.
pub fn check(text: &str) -> Result<(), Invalid> {
    check_size(text)?;
    let mut levels = 1;
    for byte in text.bytes() {
        match byte {
            b'/' => levels += 1,
            b'+' | b'#' => return Err(Invalid::Wildcard),
            0 => return Err(Invalid::Null),
            _ => {}
        }
    }
    if levels > TOPIC_LEVELS_MAX {
        return Err(Invalid::TooDeep);
    }
    Ok(())
}

/// The limits that topics and filters share.
pub(crate) fn check_size(text: &str) -> Result<(), Invalid> {
    if text.is_empty() {
        return Err(Invalid::Empty);
    }
    if text.len() > TOPIC_BYTES_MAX {
        return Err(Invalid::TooLong);
    }
    Ok(())
}

/// Topics starting with `$` are the broker's and never match a leading wildcard (MQTT-4.7.2-1).
pub fn is_reserved(topic: &str) -> bool {
    topic.as_bytes().first() == Some(&b'$')
}

/// Where a mosquitto bridge says, by its will too, whether it is connected. The one place below
/// `$SYS` that clients publish to; without it no bridge gets in.
pub fn is_bridge_state(topic: &str) -> bool {
    let name = topic.strip_prefix("$SYS/broker/connection/").and_then(|rest| rest.strip_suffix("/state"));
    name.is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_levels_and_spaces_are_part_of_a_name() {
        for good in ["/", "a", "/a", "a/", "a//b", " ", "ä/ö"] {
            assert_eq!(check(good), Ok(()), "{good:?}");
        }
    }

    #[test]
    fn what_is_no_topic_says_why() {
        assert_eq!(check(""), Err(Invalid::Empty));
        assert_eq!(check("a/+"), Err(Invalid::Wildcard));
        assert_eq!(check("a#"), Err(Invalid::Wildcard));
        assert_eq!(check("a\0b"), Err(Invalid::Null));
        assert_eq!(check(&"x".repeat(4097)), Err(Invalid::TooLong));
        assert_eq!(check(&"/".repeat(128)), Err(Invalid::TooDeep));
        assert_eq!(check(&"/".repeat(127)), Ok(()));
    }

    #[test]
    fn a_bridge_speaks_below_sys_of_itself_alone() {
        assert!(is_bridge_state("$SYS/broker/connection/host.to-weir/state"));
        for other in
            ["$SYS/broker/connection//state", "$SYS/broker/connection/a/b/state", "$SYS/broker/version"]
        {
            assert!(!is_bridge_state(other), "{other}");
        }
    }
}
