//! Why a message was not handled.

use std::fmt;
use std::time::Duration;

use crate::kv;

/// Why a message was not handled. `?` makes one of JSON errors (reject), of [`kv::Error`] (retry where that helps) and
/// of nothing else, because only the handler knows whether trying again helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It never will be: of a stream it goes to the dead letters with this reason, of a live binding it is dropped and
    /// counted.
    Reject(String),
    /// Try again: after so long, or after the binding's own backoff.
    Retry(Option<Duration>),
}

impl Failure {
    /// This message will never be handled, and why.
    pub fn reject(reason: impl Into<String>) -> Failure {
        Failure::Reject(reason.into())
    }

    /// Try again, after the backoff that the binding has.
    pub fn retry() -> Failure {
        Failure::Retry(None)
    }

    /// Try again after so long; counted in milliseconds.
    pub fn retry_after(after: Duration) -> Failure {
        Failure::Retry(Some(after))
    }

    /// A value of the handler itself that has no JSON.
    pub(crate) fn unwritable(error: &serde_json::Error) -> Failure {
        Failure::reject(format!("cannot be written as JSON: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Reject(reason) => write!(f, "rejected: {reason}"),
            Failure::Retry(None) => f.write_str("to be tried again"),
            Failure::Retry(Some(after)) => write!(f, "to be tried again after {} ms", after.as_millis()),
        }
    }
}

impl std::error::Error for Failure {}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Failure {
        Failure::reject(format!("not the JSON that is wanted: {error}"))
    }
}

impl From<kv::Error> for Failure {
    fn from(error: kv::Error) -> Failure {
        match error {
            kv::Error::Unavailable => Failure::retry(),
            kv::Error::TooLarge | kv::Error::TooMany | kv::Error::Json(_) => {
                Failure::reject(error.to_string())
            }
        }
    }
}
