//! The host of a handler in the broker: what the contract lets it import.

use crate::guest::command::weir::handler;
use crate::kv::Error;
use crate::log::Level;

impl From<handler::kv::Error> for Error {
    fn from(error: handler::kv::Error) -> Error {
        match error {
            handler::kv::Error::TooLarge => Error::TooLarge,
            handler::kv::Error::TooMany => Error::TooMany,
            handler::kv::Error::Unavailable => Error::Unavailable,
        }
    }
}

pub(crate) fn kv_get(name: &str) -> Result<Option<Vec<u8>>, Error> {
    Ok(handler::kv::get(name)?)
}

pub(crate) fn kv_set(name: &str, value: &[u8]) -> Result<(), Error> {
    Ok(handler::kv::set(name, value)?)
}

pub(crate) fn kv_delete(name: &str) -> Result<(), Error> {
    Ok(handler::kv::delete(name)?)
}

pub(crate) fn log_write(level: Level, text: &str) {
    let level = match level {
        Level::Trace => handler::log::Level::Trace,
        Level::Debug => handler::log::Level::Debug,
        Level::Info => handler::log::Level::Info,
        Level::Warn => handler::log::Level::Warn,
        Level::Error => handler::log::Level::Error,
    };
    handler::log::write(level, text);
}

pub(crate) fn config_get(name: &str) -> Option<String> {
    handler::config::get(name)
}

pub(crate) fn clock_now() -> u64 {
    handler::clock::now()
}

pub(crate) fn random_bytes(count: u32) -> Vec<u8> {
    handler::random::bytes(count)
}
