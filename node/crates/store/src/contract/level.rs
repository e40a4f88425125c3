//! What an acknowledgement promises to survive (`guarantees.md` 1).

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What an acknowledgement promises to survive. Written `stored`, `fsynced`, `replicated:<n>`, `replicated:all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

/// The level that the configuration asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum LevelChoice {
    /// The strongest that the store proves: `fsynced` for `embedded`.
    #[default]
    Auto,
    /// This one; a store that cannot prove it is not opened.
    Chosen(Level),
}

/// The text names no level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no level: `auto`, `stored`, `fsynced`, `replicated:<n>` (1 or more) and `replicated:all` are"
)]
pub struct UnknownLevel(String);

impl Level {
    /// Whether replicas have to confirm.
    pub fn is_replicated(self) -> bool {
        matches!(self, Level::Replicated(_) | Level::ReplicatedAll)
    }
}

impl LevelChoice {
    /// The chosen level, or what a store proves when it is left to it.
    pub fn or(self, proved: Level) -> Level {
        match self {
            LevelChoice::Auto => proved,
            LevelChoice::Chosen(level) => level,
        }
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

impl fmt::Display for LevelChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LevelChoice::Auto => f.write_str("auto"),
            LevelChoice::Chosen(level) => level.fmt(f),
        }
    }
}

impl FromStr for LevelChoice {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<LevelChoice, UnknownLevel> {
        if text == "auto" { Ok(LevelChoice::Auto) } else { text.parse().map(LevelChoice::Chosen) }
    }
}

impl From<Level> for LevelChoice {
    fn from(level: Level) -> LevelChoice {
        LevelChoice::Chosen(level)
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

impl From<LevelChoice> for String {
    fn from(choice: LevelChoice) -> String {
        choice.to_string()
    }
}

impl TryFrom<String> for LevelChoice {
    type Error = UnknownLevel;

    fn try_from(text: String) -> Result<LevelChoice, UnknownLevel> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_reads_back_as_it_is_written() {
        for text in ["auto", "stored", "fsynced", "replicated:2", "replicated:all"] {
            assert_eq!(text.parse::<LevelChoice>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_level_is_named_with_what_is_one() {
        for text in ["", "replicated", "replicated:0", "replicated:-1", "Fsynced"] {
            let error = text.parse::<LevelChoice>().unwrap_err().to_string();
            assert!(error.contains("`replicated:all`"), "{error}");
        }
    }
}
