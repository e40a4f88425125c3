//! Lines for the operator: `weir handler logs`.
//!
//! ```
//! use weir_handler::log;
//!
//! log::info!("{} apples left", 3);
//! ```

use crate::host;

pub use crate::{
    log_debug as debug, log_error as error, log_info as info, log_trace as trace, log_warn as warn,
};

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the five levels every logger has")]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// Writes one line. Lines beyond what the binding allows per call are dropped and counted.
pub fn write(level: Level, text: &str) {
    host::log_write(level, text);
}

/// Writes a line at level `trace`; takes what `format!` takes.
#[doc(hidden)]
#[macro_export]
macro_rules! log_trace {
    ($($text:tt)+) => { $crate::log::write($crate::log::Level::Trace, &::std::format!($($text)+)) };
}

/// Writes a line at level `debug`; takes what `format!` takes.
#[doc(hidden)]
#[macro_export]
macro_rules! log_debug {
    ($($text:tt)+) => { $crate::log::write($crate::log::Level::Debug, &::std::format!($($text)+)) };
}

/// Writes a line at level `info`; takes what `format!` takes.
#[doc(hidden)]
#[macro_export]
macro_rules! log_info {
    ($($text:tt)+) => { $crate::log::write($crate::log::Level::Info, &::std::format!($($text)+)) };
}

/// Writes a line at level `warn`; takes what `format!` takes.
#[doc(hidden)]
#[macro_export]
macro_rules! log_warn {
    ($($text:tt)+) => { $crate::log::write($crate::log::Level::Warn, &::std::format!($($text)+)) };
}

/// Writes a line at level `error`; takes what `format!` takes.
#[doc(hidden)]
#[macro_export]
macro_rules! log_error {
    ($($text:tt)+) => { $crate::log::write($crate::log::Level::Error, &::std::format!($($text)+)) };
}
