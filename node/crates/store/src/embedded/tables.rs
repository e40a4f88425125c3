//! The tables: rows that a checkpoint has moved out of the commit log, in an LSM tree (fjall).
//!
//! Rows enter by sorted bulk ingestion only, which fjall makes durable and visible in one step
//! together with the sequence they are complete up to. Its journal is never written, so it is taken
//! away before each open: what it cannot tell apart (a torn tail, a damaged middle) cannot happen.
//! Tables are merged when a checkpoint asks for it and the disk has room, never by the engine alone:
//! a merge that runs into a full disk would take the room of acknowledgements with it.

use std::fs::File;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fjall::compaction::Leveled;
use fjall::config::FilterPolicy;
use fjall::{AbstractTree, Database, Keyspace, KeyspaceCreateOptions, PersistMode, UserKey, UserValue};
use xxhash_rust::xxh3::xxh3_128;

use super::overlay::{Entry, Overlay};
use crate::fault;
use crate::row::codec::{self, DecodeError};
use crate::row::{Applied, Key, Kind, Row, kind_key, number_key};

/// Blocks of tables kept in memory.
const CACHE_BYTES: u64 = 16 << 20;

/// Merges after one checkpoint: a level each.
const MERGES_MAX: usize = 7;

/// Checkpoints that may lie over one another before they are merged: fewer make reading faster, more
/// make writing cheaper.
const OVERLAYS_MAX: u8 = 8;

/// Size of a table that a full merge writes.
const TABLE_BYTES: u64 = 64 << 20;

/// What a row costs in a table besides key and value, generously.
const ROW_COST: usize = 32;

/// The tables could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TablesError {
    #[error("{0}")]
    Engine(#[from] fjall::Error),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("a row cannot be read: {0}")]
    Row(#[from] DecodeError),
    #[error("the list of tables in {} is not what was written", keyspace.display())]
    Manifest { keyspace: PathBuf },
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
        check_manifests(dir)?;
        // Damaged files make the engine panic in places.
        let opened = catch_unwind(AssertUnwindSafe(|| -> Result<Tables, TablesError> {
            let database = Database::builder(dir)
                .manual_journal_persist(true)
                .worker_threads(1)
                .cache_size(CACHE_BYTES)
                .open()?;
            let rows = database.keyspace("rows", options)?;
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
        let rows = self.rows.range::<&[u8], _>(..);
        rows.map(|guard| Ok(guard.into_inner()?))
    }

    /// What the tables take on the disk.
    pub fn disk_bytes(&self) -> u64 {
        self.rows.disk_space()
    }

    /// What they would take without what is deleted or replaced. Reads everything.
    pub fn live_bytes(&self) -> Result<u64, TablesError> {
        self.all().map(|stored| stored.map(|(key, value)| (key.len() + value.len() + ROW_COST) as u64)).sum()
    }

    /// Merges tables where there are too many over one another.
    pub fn merge(&self) -> Result<(), TablesError> {
        for _ in 0..MERGES_MAX {
            let before = self.database.seqno();
            let strategy = Leveled::default().with_l0_threshold(OVERLAYS_MAX);
            self.rows.tree.compact(Arc::new(strategy), before).map_err(fjall::Error::from)?;
            if self.database.seqno() == before {
                break;
            }
            self.let_go()?;
        }
        Ok(())
    }

    /// Merges everything into as little room as it takes.
    pub fn merge_all(&self) -> Result<(), TablesError> {
        let newest = self.database.seqno();
        self.rows.tree.major_compact(TABLE_BYTES, newest).map_err(fjall::Error::from)?;
        self.let_go()
    }

    /// Deletes the tables that the newest list of tables does without. The engine keeps the list before
    /// it, and every table in it, until something is merged again: on a full disk that would need the
    /// very room they hold. Who reads at this moment holds on to what it reads; later readers always
    /// take the newest list.
    fn let_go(&self) -> Result<(), TablesError> {
        let tree = &self.rows.tree;
        let newest = self.database.seqno();
        let path = &tree.tree_config().path;
        Ok(tree.get_version_history_lock().maintenance(path, newest).map_err(fjall::Error::from)?)
    }

    /// Moves rows in: all of them and `applied`, durable, or none.
    pub fn ingest(&self, applied: Applied, overlay: &Overlay) -> Result<(), TablesError> {
        let mut ingestion = self.rows.start_ingestion()?;
        let mut value = Vec::new();
        codec::encode(&Row::Applied(applied), &mut value);
        ingestion.write(kind_key(Kind::Applied).as_slice(), value.as_slice())?;
        let dead = overlay.dead().iter();
        let dead =
            dead.flat_map(|(id, dead)| dead.clone().map(|number| number_key(Kind::Record, *id, number)));
        let mut dead = dead.peekable();
        for (key, entry) in overlay.iter() {
            while let Some(dead) = dead.next_if(|dead| dead < key) {
                ingestion.write_tombstone(dead.as_slice())?;
            }
            match entry {
                _ if overlay.is_dead(key) => {}
                Entry::Row { row, .. } => {
                    value.clear();
                    codec::encode(row, &mut value);
                    ingestion.write(key.as_slice(), value.as_slice())?;
                }
                Entry::Gone => ingestion.write_tombstone(key.as_slice())?,
            }
        }
        for dead in dead {
            ingestion.write_tombstone(dead.as_slice())?;
        }
        fault::reach("checkpoint.in_flush");
        Ok(ingestion.finish()?)
    }

    /// Whether a thread of the engine has died: then it must be opened again.
    pub fn is_poisoned(&self) -> bool {
        self.database.persist(PersistMode::Buffer).is_err()
    }
}

/// No filters: a damaged one answers that a row is not there, and single rows are seldom asked for.
/// No merging by the engine.
fn options() -> KeyspaceCreateOptions {
    // The highest threshold there is: the engine's own merging has nothing to do.
    let seldom = Leveled::default().with_l0_threshold(u8::MAX);
    KeyspaceCreateOptions::default()
        .filter_policy(FilterPolicy::disabled())
        .compaction_strategy(Arc::new(seldom))
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

/// Compares each keyspace's list of tables with its checksum, which the engine writes and never
/// reads: a damaged list would put old rows before new ones.
fn check_manifests(dir: &Path) -> Result<(), TablesError> {
    let keyspaces = dir.join("keyspaces");
    let is_finished = dir.join("version").try_exists()?;
    for keyspace in entries(&keyspaces)? {
        let current = keyspace.join("current");
        if !is_finished || !current.try_exists()? {
            // Making it was not finished when the process died, so there is nothing in it; the engine
            // removes it. With tables in it, its list was lost.
            if entries(&keyspace.join("tables"))?.is_empty() {
                continue;
            }
            return Err(TablesError::Manifest { keyspace });
        }
        let current = std::fs::read(current)?;
        let damaged = || TablesError::Manifest { keyspace: keyspace.clone() };
        let (version, checksum) = current.split_first_chunk::<8>().ok_or_else(damaged)?;
        let manifest = std::fs::read(keyspace.join(format!("v{}", u64::from_le_bytes(*version))))?;
        if checksum.first_chunk::<16>() != Some(&xxh3_128(&manifest).to_le_bytes()) {
            return Err(damaged());
        }
    }
    Ok(())
}

/// What is in a directory; nothing if there is none.
fn entries(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !dir.try_exists()? {
        return Ok(Vec::new());
    }
    std::fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect()
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
