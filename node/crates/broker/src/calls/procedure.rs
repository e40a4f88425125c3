//! What is registered: one procedure, or all that a pattern means.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weir_model::Filter;
use xxhash_rust::xxh3::Xxh3;

/// Ids of registrations are below this: each is exact in a double.
const ID_BITS: u32 = 53;

/// Procedures are named by canonical topics.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Procedure {
    Exact(Arc<str>),
    /// All whose topics begin with this text.
    Prefix(Arc<str>),
    /// All whose topics the filter matches.
    Wildcard(Filter),
}

/// How a registration means procedures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MatchKind {
    Exact,
    Prefix,
    Wildcard,
}

impl Procedure {
    pub fn kind(&self) -> MatchKind {
        match self {
            Procedure::Exact(_) => MatchKind::Exact,
            Procedure::Prefix(_) => MatchKind::Prefix,
            Procedure::Wildcard(_) => MatchKind::Wildcard,
        }
    }

    /// The topic, the prefix or the filter.
    pub fn as_str(&self) -> &str {
        match self {
            Procedure::Exact(text) | Procedure::Prefix(text) => text,
            Procedure::Wildcard(filter) => filter.as_str(),
        }
    }

    pub fn is_exact(&self) -> bool {
        self.kind() == MatchKind::Exact
    }

    /// The number of its registration, the same on every node and at any time: 1 to 2^53.
    pub fn id(&self, realm: &str) -> u64 {
        let kind = [b'0', b'1', b'2'][self.kind() as usize];
        1 + hash(&[realm.as_bytes(), &[kind], self.as_str().as_bytes()]) % (1 << ID_BITS)
    }

    /// Whether a procedure is meant.
    pub fn matches(&self, topic: &str) -> bool {
        match self {
            Procedure::Exact(exact) => **exact == *topic,
            Procedure::Prefix(prefix) => topic.starts_with(&**prefix),
            Procedure::Wildcard(filter) => filter.matches(topic),
        }
    }
}

impl fmt::Display for Procedure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A hash that all nodes agree on, of parts none of which may hold a zero byte.
pub(super) fn hash(parts: &[&[u8]]) -> u64 {
    let mut hasher = Xxh3::new();
    for part in parts {
        hasher.update(part);
        hasher.update(&[0]);
    }
    hasher.digest()
}

/// How many components in a row a wildcard pattern names, from its left: of two that match, the greater one is meant
/// (WAMP, "Wildcard Matching" of registrations).
pub(super) fn portions(filter: &str) -> Vec<usize> {
    let mut portions = vec![0];
    for level in filter.split('/') {
        match (level, portions.last_mut()) {
            ("+" | "#", _) => portions.push(0),
            (_, Some(last)) => *last += 1,
            (_, None) => {}
        }
    }
    portions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_whole_in_a_double_and_differ_by_realm_kind_and_name() {
        let exact = Procedure::Exact("a/b".into());
        let prefix = Procedure::Prefix("a/b".into());
        let ids = [exact.id("r"), exact.id("s"), prefix.id("r"), Procedure::Exact("a/c".into()).id("r")];
        for (at, id) in ids.iter().enumerate() {
            assert!((1..=1 << 53).contains(id));
            assert!(!ids[..at].contains(id));
        }
        assert_eq!(exact.id("r"), Procedure::Exact("a/b".into()).id("r"));
    }

    #[test]
    fn the_pattern_that_names_more_from_the_left_is_the_greater() {
        assert!(portions("a/b/+") > portions("a/+/c"));
        assert!(portions("a/+/c/d") > portions("a/+/c/+"));
        assert!(portions("+/b/c") > portions("+/b/+"));
        assert!(portions("a/+") > portions("+/b/c/d"));
    }
}
