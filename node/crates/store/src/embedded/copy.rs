//! The embedded store as one end of a copy: read out under its lock, or filled beside its place and moved there at last.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_model::UnixMillis;

use super::lock::Lock;
use super::log::AppendError;
use super::overlay::Overlay;
use super::recover::{self, Places};
use super::shelf::Shelf;
use super::tables::Tables;
use super::writer::{CommitError, Writer};
use super::{Probe, assemble, shelf::walk::Broken};
use crate::clock::{Clock, wall_clock};
use crate::config::Config;
use crate::copy::{
    CopyError, CopyRow, CopySource, CopyTarget, Digest, Kind as CopyKind, Marks, Sink, Windows,
};
use crate::recovery::{OpenError, io_error};
use crate::row::{Change, Kind, Meta, Row, Write, kind_key};

mod read;
mod stream;
mod write;

use read::Reader;
use stream::Names;

/// The directory beside that of the store in which a copy grows.
const UNFINISHED: &str = "store.copying";

/// An embedded store that no node has, read out as it stands.
pub struct EmbeddedSource {
    name: String,
    shelf: Arc<Shelf>,
    /// The newest queue number of each generation.
    tails: HashMap<u64, u64>,
    _lock: Lock,
}

impl EmbeddedSource {
    /// Takes the store in this data directory for this process, as a node does that starts on it.
    ///
    /// # Errors
    /// There is none, a node has it, or it is damaged.
    pub fn open(config: &Config, data_dir: &Path) -> Result<EmbeddedSource, CopyError> {
        refuse_unfinished(data_dir)?;
        let places = Places::within(data_dir);
        if !places.mark.exists() && !places.log.exists() {
            return Err(CopyError::Missing { store: name_of(data_dir) });
        }
        let lock = Lock::take(&places.dir)?;
        let opened = recover::open(config, &places, &wall_clock());
        let opened = opened.map_err(|error| damaged_row(error, &places, &name_of(data_dir)))?;
        let tails = opened.state.restored().map(|found| (found.fence.generation, found.queue.tail)).collect();
        Ok(EmbeddedSource { name: name_of(data_dir), shelf: opened.shelf, tails, _lock: lock })
    }
}

impl CopySource for EmbeddedSource {
    fn marks(&mut self) -> Result<Marks, CopyError> {
        marks_of(&self.shelf, &self.name)
    }

    fn read(&mut self, sink: Sink<'_>) -> Result<(), CopyError> {
        read_out(&self.shelf, &self.name, &self.tails, sink)
    }
}

/// A place for an embedded store, filled in a directory of its own.
pub struct EmbeddedTarget {
    name: String,
    config: Config,
    data_dir: PathBuf,
    unfinished: Places,
    /// What the empty store that stands in this place has counted.
    before: Marks,
    /// That nobody takes this one up meanwhile.
    _lock: Option<Lock>,
    filling: Option<Filling>,
    probe: Option<Probe>,
}

struct Filling {
    writer: Writer,
    epoch: u64,
    /// Shared messages that are written.
    bodies: HashSet<u64>,
    names: Names,
    _lock: Lock,
}

impl EmbeddedTarget {
    /// Looks whether a store may be made in this data directory; the directory is made when it is missing.
    ///
    /// # Errors
    /// A node has the store there, it holds something, or it cannot be read.
    pub fn open(config: &Config, data_dir: &Path) -> Result<EmbeddedTarget, CopyError> {
        let name = name_of(data_dir);
        std::fs::create_dir_all(data_dir).map_err(io_error("create", data_dir))?;
        let places = Places::within(data_dir);
        let (mut before, mut lock) = (Marks::default(), None);
        if places.dir.exists() {
            lock = Some(Lock::take(&places.dir)?);
            before = look_into(config, &places, &name)?;
        }
        let unfinished = places_at(data_dir.join(UNFINISHED));
        let (config, data_dir) = (config.clone(), data_dir.to_owned());
        Ok(EmbeddedTarget {
            name,
            config,
            data_dir,
            unfinished,
            before,
            _lock: lock,
            filling: None,
            probe: None,
        })
    }

    /// With another way to ask for free disk space: for tests of a full disk.
    pub fn with_probe(mut self, probe: Probe) -> EmbeddedTarget {
        self.probe = Some(probe);
        self
    }

    fn filling(&mut self) -> Result<&mut Filling, CopyError> {
        let closed = || std::io::Error::other("the copy has not begun, or is finished");
        let path = &self.unfinished.dir;
        self.filling.as_mut().ok_or_else(|| CopyError::Io {
            action: "write",
            path: path.clone(),
            source: closed(),
        })
    }

    fn commit(&mut self, writes: Vec<Write>, bytes: u64) -> Result<(), CopyError> {
        let path = self.unfinished.dir.clone();
        let Filling { writer, .. } = self.filling()?;
        let (_, unmoved) = writer.shared.shelf.rows_bytes();
        if !writer.space.has_room_to_grow(bytes, unmoved) {
            return Err(CopyError::DiskFull { path });
        }
        writer.commit_rows(writes).map_err(|error| match error {
            CommitError::Append(AppendError::Full) => CopyError::DiskFull { path },
            CommitError::Append(AppendError::Failed { action, path, source }) => {
                CopyError::Io { action, path, source }
            }
            CommitError::Mark(source) => CopyError::Io { action: "mark", path, source },
        })
    }
}

impl CopyTarget for EmbeddedTarget {
    fn windows(&self) -> Windows {
        let Config { dedup_ids_max, delay_ids_max, .. } = self.config;
        Windows { ids_max: dedup_ids_max.max(1), delay_ids_max: delay_ids_max.max(1) }
    }

    fn begin(&mut self, source: Marks) -> Result<bool, CopyError> {
        let dir = &self.unfinished.dir;
        let again = dir.exists();
        std::fs::create_dir_all(dir).map_err(io_error("create", dir))?;
        sync_dir(&self.data_dir)?;
        let lock = Lock::take(dir)?;
        remove_rows(&self.unfinished)?;
        let opened = recover::open(&self.config, &self.unfinished, &wall_clock())?;
        let now = wall_clock()().0;
        let epoch = now.max(source.epoch + 1).max(self.before.epoch + 1);
        let (writer, _) = assemble(&self.config, &self.unfinished, opened, self.probe.take())?;
        self.filling =
            Some(Filling { writer, epoch, bodies: HashSet::new(), names: Names::default(), _lock: lock });
        Ok(again)
    }

    fn write(&mut self, rows: Vec<CopyRow>) -> Result<(), CopyError> {
        let windows = self.windows();
        let bytes = rows.iter().map(write::size_of).sum();
        let Filling { bodies, names, .. } = self.filling()?;
        let writes = rows.into_iter().flat_map(|row| write::writes(row, windows, bodies, names)).collect();
        self.commit(writes, bytes)
    }

    fn read_back(&mut self, sink: Sink<'_>) -> Result<(), CopyError> {
        let name = self.name.clone();
        let shelf = self.filling()?.writer.shared.shelf.clone();
        read_out(&shelf, &name, &HashMap::new(), sink)
    }

    fn finish(&mut self, source: Marks) -> Result<(), CopyError> {
        let before = self.before;
        let Filling { writer, names, epoch, .. } = self.filling()?;
        let at = UnixMillis(names.at_ms()).max(writer.clock.now());
        writer.clock = Clock::above(at, wall_clock());
        let meta = Meta {
            epoch: *epoch,
            reserved: source.number.max(before.number).max(names.newest()),
            group_base: source.group_base.max(before.group_base),
        };
        self.commit(vec![Write { key: kind_key(Kind::Meta), change: Change::Put(Row::Meta(meta)) }], 0)?;
        let Some(Filling { mut writer, _lock: lock, .. }) = self.filling.take() else { return Ok(()) };
        writer.checkpoints.stop();
        writer.log.sync().map_err(io_error("sync", &self.unfinished.log))?;
        drop(writer);
        let place = Places::within(&self.data_dir).dir;
        if place.exists() {
            std::fs::remove_dir_all(&place).map_err(io_error("remove", &place))?;
        }
        std::fs::rename(&self.unfinished.dir, &place).map_err(io_error("move", &self.unfinished.dir))?;
        sync_dir(&self.data_dir)?;
        drop(lock);
        Ok(())
    }
}

impl Drop for EmbeddedTarget {
    /// A checkpoint that goes on would write into what the next copy removes.
    fn drop(&mut self) {
        if let Some(filling) = &mut self.filling {
            filling.writer.checkpoints.stop();
        }
    }
}

/// No node starts where a copy was not finished: it would take what is missing for lost.
pub(super) fn refuse_unfinished(data_dir: &Path) -> Result<(), OpenError> {
    let dir = data_dir.join(UNFINISHED);
    if dir.exists() { Err(OpenError::Unfinished { dir }) } else { Ok(()) }
}

fn name_of(data_dir: &Path) -> String {
    format!("embedded:{}", data_dir.display())
}

fn places_at(dir: PathBuf) -> Places {
    Places { log: dir.join("log"), tables: dir.join("tables"), mark: dir.join("mark"), dir }
}

fn sync_dir(dir: &Path) -> Result<(), CopyError> {
    let synced = std::fs::File::open(dir).and_then(|dir| dir.sync_all());
    Ok(synced.map_err(io_error("sync", dir))?)
}

/// What a copy that was not finished has left; the lock stays.
fn remove_rows(places: &Places) -> Result<(), CopyError> {
    for dir in [&places.log, &places.tables] {
        if dir.exists() {
            std::fs::remove_dir_all(dir).map_err(io_error("remove", dir))?;
        }
    }
    if places.mark.exists() {
        std::fs::remove_file(&places.mark).map_err(io_error("remove", &places.mark))?;
    }
    Ok(())
}

/// What an empty store has counted.
fn look_into(config: &Config, places: &Places, name: &str) -> Result<Marks, CopyError> {
    if !places.mark.exists() && !places.log.exists() {
        return Ok(Marks::default());
    }
    let opened = recover::open(config, places, &wall_clock())?;
    let (mut found, now) = (Digest::default(), wall_clock()());
    read_out(&opened.shelf, name, &HashMap::new(), &mut |rows| {
        let is_over = |row: &CopyRow| matches!(row, CopyRow::Claim(claim) if claim.until <= now);
        rows.iter().filter(|row| !is_over(row)).for_each(|row| found.add(row));
        Ok(())
    })?;
    let kept = found.tallies().filter(|(kind, tally)| tally.rows > 0 && *kind != CopyKind::DelaySeen);
    let holds: Vec<String> = kept.map(|(kind, tally)| format!("{} {kind}", tally.rows)).collect();
    if holds.is_empty() {
        return marks_of(&opened.shelf, name);
    }
    Err(CopyError::NotEmpty { store: name.to_owned(), holds: holds.join(", ") })
}

/// Opening stops at tables that cannot be read; which row that is, a walk over them says.
fn damaged_row(error: OpenError, places: &Places, name: &str) -> CopyError {
    let in_tables = matches!(&error, OpenError::Damaged { file, .. } if *file == places.tables);
    let Some(tables) = in_tables.then(|| Tables::open(&places.tables).ok()).flatten() else {
        return error.into();
    };
    let shelf = Shelf::new(tables, Overlay::default());
    read_out(&shelf, name, &HashMap::new(), &mut |_| Ok(())).err().unwrap_or_else(|| error.into())
}

fn marks_of(shelf: &Shelf, name: &str) -> Result<Marks, CopyError> {
    let meta = shelf.get(&kind_key(Kind::Meta)).map_err(|cause| CopyError::Damaged {
        store: name.to_owned(),
        row: "what the store knows of itself".to_owned(),
        cause: cause.to_string(),
    })?;
    Ok(match meta {
        Some(Row::Meta(Meta { epoch, reserved, group_base })) => {
            Marks { epoch, number: reserved, group_base }
        }
        _ => Marks::default(),
    })
}

fn read_out(shelf: &Shelf, name: &str, tails: &HashMap<u64, u64>, sink: Sink<'_>) -> Result<(), CopyError> {
    let mut reader = Reader::new(tails, sink);
    let mut failed = None;
    let walked = shelf.walk(&mut |key, row| match reader.add(key, row) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            failed = Some(error);
            ControlFlow::Break(())
        }
    });
    if let Some(error) = failed {
        return Err(error);
    }
    match walked {
        Ok(()) => reader.finish(),
        Err(broken) => {
            let (row, cause) = match broken {
                Broken::Row { key, cause } => (reader.describe(&key), cause),
                Broken::Tables { after: Some(key), cause } => {
                    (format!("the row behind {}", reader.describe(&key)), cause.to_string())
                }
                Broken::Tables { after: None, cause } => ("the first row".to_owned(), cause.to_string()),
            };
            Err(CopyError::Damaged { store: name.to_owned(), row, cause })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_store_is_no_source_and_nothing_is_made_in_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let missing = EmbeddedSource::open(&Config::default(), dir.path());
        assert!(matches!(missing, Err(CopyError::Missing { .. })));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
