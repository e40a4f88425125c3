//! Why an upload is not taken.

use crate::outcome::Trap;

/// Why an upload is not taken. Told to whoever uploaded it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("this is no WebAssembly: it does not begin with \\0asm")]
    NotWasm,
    #[error("the file ends in the middle: it was not uploaded whole")]
    Truncated,
    #[error("{bytes} bytes are more than the {bytes_max} an upload may have (runtime.upload_bytes_max)")]
    TooLarge { bytes: usize, bytes_max: usize },
    #[error("too many {what}: {count}, at most {count_max} are taken")]
    TooMany { what: &'static str, count: u64, count_max: u64 },
    #[error(
        "exports of none of the worlds command, reducer, merging-reducer and middleware; it exports: {}",
        list(exports)
    )]
    WrongWorld { exports: Vec<String> },
    #[error("made for weir:handler@{has}, this node offers {offered}")]
    WrongVersion { has: String, offered: &'static str },
    #[error("imports {name}, which this node does not offer to it")]
    Import { name: String },
    #[error("an import or export is not of the type that the contract says: {0}")]
    WrongType(String),
    #[error("cannot be compiled: {0}")]
    Compile(String),
    #[error("does not start ({}): {text}", kind.as_str())]
    StartFailed { kind: Trap, text: String },
    /// As many instances are running as may; try again later.
    #[error("no instance is free to try it")]
    NoInstance,
}

impl Refused {
    /// The reason as a metric label.
    pub fn as_str(&self) -> &'static str {
        match self {
            Refused::NotWasm => "not_wasm",
            Refused::Truncated => "truncated",
            Refused::TooLarge { .. } => "too_large",
            Refused::TooMany { .. } => "too_many",
            Refused::WrongWorld { .. } => "wrong_world",
            Refused::WrongVersion { .. } => "wrong_version",
            Refused::Import { .. } => "import",
            Refused::WrongType(_) => "wrong_type",
            Refused::Compile(_) => "compile",
            Refused::StartFailed { .. } => "start_failed",
            Refused::NoInstance => "no_instance",
        }
    }
}

/// Why the runtime does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the engine of {class} handlers does not start: {text}")]
    Engine { class: &'static str, text: String },
    #[error("the directory of compiled handlers cannot be used: {path}: {source}")]
    Cache { path: std::path::PathBuf, source: std::io::Error },
    #[error("the clock of handlers does not start: {0}")]
    Clock(std::io::Error),
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}
