//! The tables: rows that a checkpoint has moved out of the commit log, in an LSM tree (fjall).
//!
//! Rows enter by sorted bulk ingestion only, which fjall makes durable and visible in one step
//! together with the sequence they are complete up to. Its journal is never written, so it is taken
//! away before each open: what it cannot tell apart (a torn tail, a damaged middle) cannot happen.

use std::fs::File;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, UserKey, UserValue};

use super::overlay::{Entry, Overlay};
use crate::fault;
use crate::row::codec::{self, DecodeError};
use crate::row::{Applied, Key, Kind, Row, kind_key};

/// Blocks of tables kept in memory.
const CACHE_BYTES: u64 = 16 << 20;

/// The tables could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TablesError {
    #[error("{0}")]
    Engine(#[from] fjall::Error),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("a row cannot be read: {0}")]
    Row(#[from] DecodeError),
    #[error("the engine gave up on what it read")]
    Panicked,
    #[error("the tables are being opened again")]
    Away,
}

pub(crate) struct Tables {
    database: Database,
    rows: Keyspace,
}

/// One row as it stands in the tables.
pub(crate) type Stored = Result<(UserKey, UserValue), TablesError>;

impl Tables {
    pub fn open(dir: &Path) -> Result<Tables, TablesError> {
        take_journal_away(dir)?;
        // Damaged files make the engine panic in places.
        let opened = catch_unwind(AssertUnwindSafe(|| -> Result<Tables, TablesError> {
            let database = Database::builder(dir)
                .manual_journal_persist(true)
                .worker_threads(1)
                .cache_size(CACHE_BYTES)
                .open()?;
            let rows = database.keyspace("rows", KeyspaceCreateOptions::default)?;
            Ok(Tables { database, rows })
        }));
        opened.unwrap_or(Err(TablesError::Panicked))
    }

    /// Up to which group commit the tables are complete.
    pub fn applied(&self) -> Result<Applied, TablesError> {
        let Some(bytes) = self.get(&kind_key(Kind::Applied))? else { return Ok(Applied::default()) };
        match codec::decode(&kind_key(Kind::Applied), &bytes, &mut |_| None)? {
            Row::Applied(applied) => Ok(applied),
            _ => Err(TablesError::Row(DecodeError::Kind { kind: Kind::Applied as u8 })),
        }
    }

    pub fn get(&self, key: &Key) -> Result<Option<UserValue>, TablesError> {
        Ok(self.rows.get(key.as_slice())?)
    }

    pub fn range(&self, range: RangeInclusive<Key>) -> impl Iterator<Item = Stored> + use<> {
        let (first, last) = range.into_inner();
        let rows = self.rows.range(first.as_slice()..=last.as_slice());
        rows.map(|guard| Ok(guard.into_inner()?))
    }

    pub fn all(&self) -> impl DoubleEndedIterator<Item = Stored> + use<> {
        self.rows.iter().map(|guard| Ok(guard.into_inner()?))
    }

    /// Moves rows in: all of them and `applied`, durable, or none.
    pub fn ingest(&self, applied: Applied, overlay: &Overlay) -> Result<(), TablesError> {
        let mut ingestion = self.rows.start_ingestion()?;
        let mut value = Vec::new();
        codec::encode(&Row::Applied(applied), &mut value);
        ingestion.write(kind_key(Kind::Applied).as_slice(), value.as_slice())?;
        for (key, entry) in overlay.iter() {
            match entry {
                Entry::Row { row, .. } => {
                    value.clear();
                    codec::encode(row, &mut value);
                    ingestion.write(key.as_slice(), value.as_slice())?;
                }
                Entry::Gone => ingestion.write_tombstone(key.as_slice())?,
            }
        }
        fault::reach("checkpoint.in_flush");
        Ok(ingestion.finish()?)
    }

    /// Whether a thread of the engine has died: then it must be opened again.
    pub fn is_poisoned(&self) -> bool {
        self.database.persist(PersistMode::Buffer).is_err()
    }
}

/// An empty journal instead of whatever stands there. Nothing is ever in it but what a damaged disk
/// put there; without any, the engine would not find its newest sequence number in the tables.
fn take_journal_away(dir: &Path) -> std::io::Result<()> {
    if !dir.try_exists()? {
        return Ok(());
    }
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jnl") {
            std::fs::remove_file(path)?;
        }
    }
    if dir.join("version").try_exists()? {
        File::create(dir.join("0.jnl"))?.sync_all()?;
    }
    File::open(dir)?.sync_all()
}

/// Moves damaged tables out of the way, for whoever can still read something out of them.
pub(crate) fn set_aside(dir: &Path) -> std::io::Result<PathBuf> {
    let parent = dir.parent().unwrap_or(dir);
    let mut number = 1;
    loop {
        let aside = parent.join(format!("tables.damaged-{number}"));
        if !aside.try_exists()? {
            std::fs::rename(dir, &aside)?;
            File::open(parent)?.sync_all()?;
            return Ok(aside);
        }
        number += 1;
    }
}
