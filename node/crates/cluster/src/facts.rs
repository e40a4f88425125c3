//! What a node tells of itself by gossip: few, small and slow facts under names that never change meaning.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// The newest version of gossip keys and links that this program speaks.
pub const PROTOCOL: u32 = 1;
/// The oldest version it still speaks.
pub const PROTOCOL_MIN: u32 = 1;
/// Bytes of one fact's name.
pub const NAME_BYTES_MAX: usize = 64;
/// Bytes of one fact's value: gossip carries every fact of every node.
pub const VALUE_BYTES_MAX: usize = 1024;
/// Facts of one node beyond those that every node has.
pub const FACTS_MAX: usize = 64;

pub(crate) const KEY_PROTOCOL: &str = "protocol";
pub(crate) const KEY_PROTOCOL_MIN: &str = "protocol_min";
pub(crate) const KEY_RELEASE: &str = "release";
pub(crate) const KEY_STORE: &str = "store";
pub(crate) const KEY_STORE_ID: &str = "store_id";
/// Set last: whoever sees it sees all the others.
pub(crate) const KEY_READY: &str = "ready";
pub(crate) const KEY_LEAVING: &str = "leaving";
const PREFIX_LISTEN: &str = "listen.";
const PREFIX_FACT: &str = "fact.";

/// What a node keeps its messages in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// In its own data directory: such a node can have no peers.
    Embedded,
    /// Nowhere: a cluster of such nodes carries QoS 0.
    Memory,
    /// In a Redis that all nodes share.
    Redis,
}

/// Everything a node tells of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The newest version of gossip and links it speaks.
    pub protocol: u32,
    /// The oldest it speaks.
    pub protocol_min: u32,
    /// The version of the program.
    pub release: String,
    /// What it keeps its messages in.
    pub store: StoreKind,
    /// Which one, if nodes can share it: nodes of one cluster have the same.
    pub store_id: String,
    /// The addresses of its listeners for clients, by the listener's name.
    pub listeners: BTreeMap<String, String>,
    /// What else it tells, by name.
    pub others: BTreeMap<String, String>,
}

/// Why a node's facts say nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    /// A fact every node has is missing.
    #[error("the fact {name} is missing")]
    Missing { name: &'static str },
    /// A fact's value is not of its kind.
    #[error("the fact {name} cannot be {value:?}")]
    Value { name: &'static str, value: String },
    /// There are more facts than any node has.
    #[error("more than {FACTS_MAX} facts, or one longer than {VALUE_BYTES_MAX} bytes")]
    TooMany,
}

/// Why a fact was not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetFactError {
    /// Its name is empty or too long.
    #[error("the name of a fact has 1 to {NAME_BYTES_MAX} bytes, not {bytes}")]
    Name { bytes: usize },
    /// Its value is too long for gossip.
    #[error("the fact {name} has {bytes} bytes, {VALUE_BYTES_MAX} are allowed")]
    Value { name: String, bytes: usize },
    /// There are too many.
    #[error("there are {FACTS_MAX} facts already")]
    TooMany,
}

impl StoreKind {
    /// The word in gossip and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Memory => "memory",
            Self::Redis => "redis",
        }
    }
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Facts {
    /// The keys as they are gossiped, in the order they are to be set.
    pub(crate) fn to_keys(&self) -> Vec<(String, String)> {
        let fixed = [
            (KEY_PROTOCOL, self.protocol.to_string()),
            (KEY_PROTOCOL_MIN, self.protocol_min.to_string()),
            (KEY_RELEASE, self.release.clone()),
            (KEY_STORE, self.store.to_string()),
            (KEY_STORE_ID, self.store_id.clone()),
        ];
        let fixed = fixed.into_iter().map(|(key, value)| (key.to_owned(), value));
        let listeners =
            self.listeners.iter().map(|(name, at)| (format!("{PREFIX_LISTEN}{name}"), at.clone()));
        let others = self.others.iter().map(|(name, value)| (key_of(name), value.clone()));
        let ready = (KEY_READY.to_owned(), "1".to_owned());
        fixed.chain(listeners).chain(others).chain([ready]).collect()
    }

    /// Reads gossiped keys; those of newer versions that are unknown here are passed over.
    ///
    /// # Errors
    /// One that every node has is missing or is not of its kind, or there are too many.
    pub(crate) fn from_keys<'a>(keys: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Self, FactsError> {
        let keys: BTreeMap<&str, &str> = keys.collect();
        let too_long = keys.values().any(|value| value.len() > VALUE_BYTES_MAX);
        // Room for the keys that a newer version may add.
        if too_long || keys.len() > 2 * FACTS_MAX {
            return Err(FactsError::TooMany);
        }
        let text = |name| keys.get(name).copied().ok_or(FactsError::Missing { name });
        let below = |prefix: &str| -> BTreeMap<String, String> {
            let named = keys.iter().filter_map(|(key, value)| Some((key.strip_prefix(prefix)?, value)));
            named.map(|(name, value)| (name.to_owned(), (*value).to_owned())).collect()
        };
        Ok(Self {
            protocol: number(KEY_PROTOCOL, text(KEY_PROTOCOL)?)?,
            protocol_min: number(KEY_PROTOCOL_MIN, text(KEY_PROTOCOL_MIN)?)?,
            release: text(KEY_RELEASE)?.to_owned(),
            store: store(text(KEY_STORE)?)?,
            store_id: text(KEY_STORE_ID)?.to_owned(),
            listeners: below(PREFIX_LISTEN),
            others: below(PREFIX_FACT),
        })
    }

    /// Whether gossip can carry these facts.
    ///
    /// # Errors
    /// A name or a value is too long, or there are too many.
    pub(crate) fn check(&self) -> Result<(), SetFactError> {
        if self.listeners.len() + self.others.len() > FACTS_MAX {
            return Err(SetFactError::TooMany);
        }
        let fixed = [(KEY_RELEASE, &self.release), (KEY_STORE_ID, &self.store_id)].into_iter();
        let named = self.listeners.iter().chain(&self.others).map(|(name, value)| (name.as_str(), value));
        fixed.chain(named).try_for_each(|(name, value)| check(name, value))
    }
}

/// The gossip key of the listener `name`.
pub(crate) fn listen_key_of(name: &str) -> String {
    format!("{PREFIX_LISTEN}{name}")
}

/// The gossip key of the fact `name`.
pub(crate) fn key_of(name: &str) -> String {
    format!("{PREFIX_FACT}{name}")
}

/// Whether gossip can carry this fact.
///
/// # Errors
/// Its name or its value is too long.
pub(crate) fn check(name: &str, value: &str) -> Result<(), SetFactError> {
    if !(1..=NAME_BYTES_MAX).contains(&name.len()) {
        return Err(SetFactError::Name { bytes: name.len() });
    }
    if value.len() > VALUE_BYTES_MAX {
        return Err(SetFactError::Value { name: name.to_owned(), bytes: value.len() });
    }
    Ok(())
}

fn number(name: &'static str, value: &str) -> Result<u32, FactsError> {
    u32::from_str(value).map_err(|_| FactsError::Value { name, value: value.to_owned() })
}

fn store(value: &str) -> Result<StoreKind, FactsError> {
    [StoreKind::Embedded, StoreKind::Memory, StoreKind::Redis]
        .into_iter()
        .find(|kind| kind.as_str() == value)
        .ok_or_else(|| FactsError::Value { name: KEY_STORE, value: value.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            protocol: 2,
            protocol_min: 1,
            release: "0.1.0".to_owned(),
            store: StoreKind::Redis,
            store_id: "s-1".to_owned(),
            listeners: [("mqtt".to_owned(), "10.0.0.1:1883".to_owned())].into(),
            others: [("load".to_owned(), "17".to_owned())].into(),
        }
    }

    fn read(keys: &[(String, String)]) -> Result<Facts, FactsError> {
        Facts::from_keys(keys.iter().map(|(key, value)| (key.as_str(), value.as_str())))
    }

    #[test]
    fn what_is_told_is_what_is_heard() {
        assert_eq!(read(&facts().to_keys()), Ok(facts()));
    }

    #[test]
    fn keys_of_a_newer_version_are_passed_over() {
        let mut keys = facts().to_keys();
        keys.push(("colour".to_owned(), "blue".to_owned()));
        assert_eq!(read(&keys), Ok(facts()));
    }

    #[test]
    fn a_missing_or_strange_fact_is_named() {
        let keys = facts().to_keys();
        let without: Vec<_> = keys.iter().filter(|(key, _)| key != KEY_STORE).cloned().collect();
        assert_eq!(read(&without), Err(FactsError::Missing { name: KEY_STORE }));
        let strange: Vec<_> = keys
            .into_iter()
            .map(|(key, value)| if key == KEY_STORE { (key, "tape".to_owned()) } else { (key, value) })
            .collect();
        assert_eq!(read(&strange), Err(FactsError::Value { name: KEY_STORE, value: "tape".to_owned() }));
    }

    #[test]
    fn nobody_tells_or_hears_more_than_gossip_carries() {
        let long = "x".repeat(VALUE_BYTES_MAX + 1);
        assert!(matches!(check("load", &long), Err(SetFactError::Value { .. })));
        let mut keys = facts().to_keys();
        keys.push((key_of("load"), long));
        assert_eq!(read(&keys), Err(FactsError::TooMany));
    }
}
