//! What an acknowledgement promises to survive (`guarantees.md` 1).

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What an acknowledgement promises to survive; the greater one survives more. Written `stored`, `fsynced`,
/// `replicated:<n>`, `replicated:all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Level {
    /// The death of any Weir process.
    Stored,
    /// Also power loss of the machine.
    Fsynced,
    /// Also loss of the Redis primary, if one of the so many replicas that confirmed is promoted.
    Replicated(NonZeroU32),
    /// Also loss of the Redis primary, whichever replica is promoted.
    ReplicatedAll,
}

/// The text names no level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no level: `stored`, `fsynced`, `replicated:<n>` (1 or more) and `replicated:all` are")]
pub struct UnknownLevel(String);

impl Level {
    /// Whether replicas have to confirm.
    pub fn is_replicated(self) -> bool {
        matches!(self, Level::Replicated(_) | Level::ReplicatedAll)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Level::Stored => f.write_str("stored"),
            Level::Fsynced => f.write_str("fsynced"),
            Level::Replicated(replicas) => write!(f, "replicated:{replicas}"),
            Level::ReplicatedAll => f.write_str("replicated:all"),
        }
    }
}

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Level, UnknownLevel> {
        let unknown = || UnknownLevel(text.to_owned());
        match text.split_once(':') {
            None if text == "stored" => Ok(Level::Stored),
            None if text == "fsynced" => Ok(Level::Fsynced),
            Some(("replicated", "all")) => Ok(Level::ReplicatedAll),
            Some(("replicated", replicas)) => replicas.parse().map(Level::Replicated).map_err(|_| unknown()),
            _ => Err(unknown()),
        }
    }
}

impl From<Level> for String {
    fn from(level: Level) -> String {
        level.to_string()
    }
}

impl TryFrom<String> for Level {
    type Error = UnknownLevel;

    fn try_from(text: String) -> Result<Level, UnknownLevel> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEAKEST_FIRST: [&str; 5] = ["stored", "fsynced", "replicated:1", "replicated:2", "replicated:all"];

    #[test]
    fn a_level_reads_back_as_it_is_written_and_survives_more_than_those_before_it() {
        let levels = WEAKEST_FIRST.map(|text| text.parse::<Level>().unwrap());
        assert_eq!(levels.map(|level| level.to_string()), WEAKEST_FIRST);
        assert!(levels.is_sorted());
    }

    #[test]
    fn what_is_no_level_is_named_with_what_is_one() {
        for text in ["", "auto", "none", "replicated", "replicated:0", "replicated:-1", "Fsynced", " stored"]
        {
            let error = text.parse::<Level>().unwrap_err().to_string();
            assert!(error.contains("`replicated:all`"), "{error}");
        }
    }
}
