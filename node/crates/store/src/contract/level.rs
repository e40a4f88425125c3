//! The level that a store is opened with, and why an answer cannot have another one (`guarantees.md` 1).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use weir_model::{Level, UnknownLevel};

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

/// The text names no level, and not `auto`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}, or `auto`")]
pub struct UnknownChoice(UnknownLevel);

/// Why an answer of a store cannot have a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotProved {
    /// As the store is set up it never can.
    #[error("this store never proves it")]
    Never,
    /// Something that it takes is not there.
    #[error("the store does not prove it at the moment")]
    NotNow,
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

impl fmt::Display for LevelChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LevelChoice::Auto => f.write_str("auto"),
            LevelChoice::Chosen(level) => level.fmt(f),
        }
    }
}

impl FromStr for LevelChoice {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<LevelChoice, UnknownChoice> {
        match text {
            "auto" => Ok(LevelChoice::Auto),
            text => text.parse().map(LevelChoice::Chosen).map_err(UnknownChoice),
        }
    }
}

impl From<Level> for LevelChoice {
    fn from(level: Level) -> LevelChoice {
        LevelChoice::Chosen(level)
    }
}

impl From<LevelChoice> for String {
    fn from(choice: LevelChoice) -> String {
        choice.to_string()
    }
}

impl TryFrom<String> for LevelChoice {
    type Error = UnknownChoice;

    fn try_from(text: String) -> Result<LevelChoice, UnknownChoice> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_reads_back_as_it_is_written() {
        for text in ["auto", "stored", "fsynced", "replicated:2", "replicated:all"] {
            assert_eq!(text.parse::<LevelChoice>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_choice_is_named_with_what_is_one() {
        let error = "Fsynced".parse::<LevelChoice>().unwrap_err().to_string();
        assert!(error.contains("`replicated:all`") && error.ends_with("or `auto`"), "{error}");
    }
}
