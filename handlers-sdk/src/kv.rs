//! Small state that outlives a call, an instance and a node.
//!
//! What is stored belongs to the binding and to the key of the message: two messages with the same key see the same
//! state and are handled one after the other; another key sees nothing of it. On a stream the writes of a call become
//! visible together with the end of the message they were made for, or not at all; a failed call writes nothing.
//!
//! Only for commands; reducers are handed their state.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::host;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The name is empty or longer than 256 bytes, or the value is larger than the binding allows.
    TooLarge,
    /// More reads, writes or bytes in one call than the binding allows.
    TooMany,
    /// The store does not answer.
    Unavailable,
    /// What is stored is not the JSON that is wanted, or what should be has no JSON.
    Json(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::TooLarge => f.write_str("kv: the name or the value is too large"),
            Error::TooMany => f.write_str("kv: more than one call may read or write"),
            Error::Unavailable => f.write_str("kv: the store does not answer"),
            Error::Json(text) => write!(f, "kv: {text}"),
        }
    }
}

impl std::error::Error for Error {}

/// The value of a name; sees what this call has set.
///
/// # Errors
/// All but [`Error::Json`].
pub fn get(name: &str) -> Result<Option<Vec<u8>>, Error> {
    host::kv_get(name)
}

/// Sets the value of a name.
///
/// # Errors
/// [`Error::TooLarge`], [`Error::TooMany`].
pub fn set(name: &str, value: impl AsRef<[u8]>) -> Result<(), Error> {
    host::kv_set(name, value.as_ref())
}

/// Forgets a name; one that is not there is no error.
///
/// # Errors
/// [`Error::TooLarge`], [`Error::TooMany`].
pub fn delete(name: &str) -> Result<(), Error> {
    host::kv_delete(name)
}

/// The value of a name, as JSON.
///
/// # Errors
/// As [`get`]; [`Error::Json`] when what is there is not the JSON of a `T`.
pub fn get_json<T: DeserializeOwned>(name: &str) -> Result<Option<T>, Error> {
    let stored = get(name)?;
    let read = |bytes: Vec<u8>| serde_json::from_slice(&bytes);
    stored
        .map(read)
        .transpose()
        .map_err(|error| Error::Json(format!("{name} is not the JSON that is wanted: {error}")))
}

/// Sets the value of a name, as JSON.
///
/// # Errors
/// As [`set`]; [`Error::Json`] when serde cannot write it.
pub fn set_json<T: Serialize + ?Sized>(name: &str, value: &T) -> Result<(), Error> {
    let bytes = serde_json::to_vec(value);
    set(name, bytes.map_err(|error| Error::Json(format!("{name} cannot be written as JSON: {error}")))?)
}
