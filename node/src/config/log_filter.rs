//! What is logged: a level, or directives by target.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// A checked log filter: one level, or directives such as `info,weir_store=debug`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LogFilter(String);

/// A text that is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{directive}` is no log level or directive")]
pub struct NotAFilter {
    pub directive: String,
}

impl LogFilter {
    /// The filter as the subscriber takes it.
    #[must_use]
    pub fn to_env_filter(&self) -> EnvFilter {
        EnvFilter::new(&self.0)
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl FromStr for LogFilter {
    type Err = NotAFilter;

    /// A bare word must be a level: as a target it would silence the log without a word.
    fn from_str(text: &str) -> Result<Self, NotAFilter> {
        for directive in text.split(',').map(str::trim) {
            let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level);
            if !LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level)) {
                return Err(NotAFilter { directive: directive.to_owned() });
            }
        }
        match EnvFilter::try_new(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err(NotAFilter { directive: text.to_owned() }),
        }
    }
}

impl TryFrom<String> for LogFilter {
    type Error = NotAFilter;

    fn try_from(text: String) -> Result<Self, NotAFilter> {
        text.parse()
    }
}

impl From<LogFilter> for String {
    fn from(filter: LogFilter) -> Self {
        filter.0
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for LogFilter {
    fn schema_name() -> Cow<'static, str> {
        "LogFilter".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "x-allowed": "error, warn, info, debug, trace, off, or directives like info,weir_store=debug",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_level_is_refused() {
        assert_eq!("inof".parse::<LogFilter>(), Err(NotAFilter { directive: "inof".to_owned() }));
        assert!("info,weir_store=loud".parse::<LogFilter>().is_err());
    }

    #[test]
    fn levels_and_directives_are_taken() {
        for text in ["info", "WARN", "off", "info,weir_store=debug", "weir_net::tls=trace,error"] {
            assert!(text.parse::<LogFilter>().is_ok(), "{text}");
        }
    }
}
