//! What is found when a store is opened: what was read back, and what cannot be.

use std::path::PathBuf;

/// What was found when a store was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The newest group commit that is there; 0 for a new store.
    pub sequence: u64,
    /// Group commits read back from the commit log.
    pub replayed: u64,
    /// The unfinished end of a commit log that was cut: nothing of it was acknowledged.
    pub torn: Option<Torn>,
    /// Damaged places whose records are all in the tables: nothing is missing.
    pub harmless: Vec<Damage>,
    /// What is missing; only ever filled when the config says `accept_loss`.
    pub lost: Vec<Damage>,
}

/// The bytes cut off the end of a commit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    pub file: PathBuf,
    /// Where the last whole record ends.
    pub offset: u64,
    pub bytes: u64,
}

/// Acknowledged group commits that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    pub file: PathBuf,
    /// The sequence of the first missing group commit.
    pub first: u64,
    /// The sequence of the last missing group commit.
    pub last: u64,
    /// Where in the file the unreadable bytes begin.
    pub offset: u64,
    /// What is wrong there.
    pub cause: String,
}

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("`{url}` is no store: `embedded` or `memory` is")]
    UnknownUrl { url: String },
    #[error("the embedded store cannot prove `store.level = {asked}`: `stored` and `fsynced` it can")]
    Level { asked: crate::Level },
    #[error("the store in {dir} is in use by process {pid}: stop it, or choose another data directory")]
    Locked { dir: PathBuf, pid: String },
    #[error("cannot {action} {path}: {source}")]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error(
        "group commits {first} to {last} were acknowledged and cannot be read: {file} is damaged at byte \
         {offset} ({cause}); restore it from a copy, or start with --accept-loss to go on without them"
    )]
    Damaged { file: PathBuf, first: u64, last: u64, offset: u64, cause: String },
    #[error(transparent)]
    Redis(#[from] crate::redis::RedisOpenError),
    #[error("a copy was not finished in {dir}: run `weir store copy` again, or remove what it left")]
    Unfinished { dir: PathBuf },
    #[error("{file} has layout {found}, this version knows up to {known}")]
    Layout { file: PathBuf, found: u8, known: u8 },
}

impl From<Damage> for OpenError {
    fn from(damage: Damage) -> OpenError {
        let Damage { file, first, last, offset, cause } = damage;
        OpenError::Damaged { file, first, last, offset, cause }
    }
}

/// Says what was being done when an IO error came.
pub(crate) fn io_error(
    action: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(std::io::Error) -> OpenError {
    let path = path.into();
    move |source| OpenError::Io { action, path, source }
}
