//! Opening an embedded store: tables, then the commit log behind them, then the state of both.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use weir_model::{Message, UnixMillis};

use super::log::{self, AppendError, Log, LogOptions};
use super::mark::{Mark, Marked};
use super::overlay::{Entry, Overlay};
use super::record::{self, Found};
use super::scan::{Expected, Scanned, scan};
use super::shelf::{Bodies, Shelf};
use super::tables::{self, Tables, TablesError};
use crate::Level;
use crate::clock::{Clock, WallClock};
use crate::config::Config;
use crate::recovery::{Damage, OpenError, Recovery, io_error};
use crate::row::codec::{self, DecodeError};
use crate::row::{Applied, Change, Key, Kind, Row, Write, id_key};
use crate::state::{Loader, Rules, State};

/// Where an embedded store keeps its files.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub dir: PathBuf,
    pub log: PathBuf,
    pub tables: PathBuf,
    pub mark: PathBuf,
}

/// A store ready to be written.
pub(crate) struct Opened {
    pub shelf: Arc<Shelf>,
    pub state: State,
    pub log: Log,
    pub mark: Mark,
    pub salt: u32,
    pub clock: Clock,
    /// Rows that belong to nothing any more.
    pub garbage: Vec<Key>,
    pub recovery: Recovery,
}

impl Places {
    pub fn within(data_dir: &Path) -> Places {
        let dir = data_dir.join("store");
        Places { log: dir.join("log"), tables: dir.join("tables"), mark: dir.join("mark"), dir }
    }
}

/// Why an attempt to open did not come to an end.
enum Stop {
    For(OpenError),
    /// The tables cannot be read; they may be saved in part.
    Tables(TablesError),
}

impl From<OpenError> for Stop {
    fn from(error: OpenError) -> Stop {
        Stop::For(error)
    }
}

impl From<TablesError> for Stop {
    fn from(error: TablesError) -> Stop {
        Stop::Tables(error)
    }
}

pub(crate) fn open(config: &Config, places: &Places, wall: &WallClock) -> Result<Opened, OpenError> {
    let mut recovery = Recovery::default();
    let (mark, marked) = open_mark(config, places, &mut recovery)?;
    std::fs::create_dir_all(&places.log).map_err(io_error("create", &places.log))?;
    match attempt(config, places, wall, marked, &mut recovery) {
        Ok(found) => return found.ready(config, places, mark, marked, recovery),
        Err(Stop::For(error)) => return Err(error),
        Err(Stop::Tables(cause)) => {
            let (file, last, cause) = (places.tables.clone(), marked.sequence, cause.to_string());
            accept(config, Damage { file, first: 1, last, offset: 0, cause }, &mut recovery.lost)?;
        }
    }
    rescue(places)?;
    match attempt(config, places, wall, marked, &mut recovery) {
        Ok(found) => found.ready(config, places, mark, marked, recovery),
        Err(Stop::For(error)) => Err(error),
        Err(Stop::Tables(cause)) => Err(unreadable(&places.tables)(cause)),
    }
}

/// Everything that was read back.
struct Contents {
    shelf: Arc<Shelf>,
    state: State,
    garbage: Vec<Key>,
    clock: Clock,
    scanned: Scanned,
}

fn attempt(
    config: &Config,
    places: &Places,
    wall: &WallClock,
    marked: Marked,
    recovery: &mut Recovery,
) -> Result<Contents, Stop> {
    let tables = Tables::open(&places.tables)?;
    let applied = tables.applied()?;
    let mut overlay = Overlay::default();
    let expected = Expected { applied: applied.sequence, marked: marked.sequence, salt: marked.salt };
    let scanned = replay(&places.log, expected, &tables, &mut overlay)?;
    let mut clock = Clock::above(applied.at.max(marked.at).max(scanned.at), wall.clone());
    let shelf = Arc::new(Shelf::new(tables, overlay));
    let (mut state, garbage) = load(&shelf, Rules::from(config), clock.now())?;
    state.forget_owners();
    settle_accounts(config, &scanned, recovery)?;
    Ok(Contents { shelf, state, garbage, clock, scanned })
}

impl Contents {
    fn ready(
        self,
        config: &Config,
        places: &Places,
        mark: Mark,
        marked: Marked,
        recovery: Recovery,
    ) -> Result<Opened, OpenError> {
        let Contents { shelf, state, garbage, mut clock, scanned } = self;
        if let Some(torn) = &recovery.torn {
            cut(torn).map_err(io_error("cut", &torn.file))?;
        }
        if !recovery.harmless.is_empty() || !recovery.lost.is_empty() {
            // From here on all that is readable is in the tables, and the damage is not read again.
            let applied = Applied { sequence: scanned.sequence, at: clock.now() };
            absorb(&shelf, applied, &scanned).map_err(unreadable(&places.tables))?;
        }
        let options = LogOptions {
            salt: marked.salt,
            sync: config.level.or(Level::Fsynced) == Level::Fsynced,
            segment_bytes_max: config.log_segment_bytes,
        };
        let segments = log::segments(&places.log).map_err(io_error("list", &places.log))?;
        let log = Log::start(&places.log, scanned.sequence, segments, options).map_err(unwritable)?;
        Ok(Opened { shelf, state, log, mark, salt: marked.salt, clock, garbage, recovery })
    }
}

/// The state of everything on the shelf.
pub(crate) fn load(shelf: &Shelf, rules: Rules, now: UnixMillis) -> Result<(State, Vec<Key>), TablesError> {
    // The epoch of a store that has none yet; a stored one takes its place.
    let epoch = UnixMillis::from(SystemTime::now()).0;
    let mut loader = Loader::new(rules, epoch);
    let settled = shelf.scan(&mut |key, row| loader.add(key, row))?;
    let (state, garbage) = loader.finish(now);
    shelf.set_settled(settled, state.all_ends().collect());
    Ok((state, garbage))
}

/// The mark comes first when a store is made, so one that is missing later was lost.
fn open_mark(config: &Config, places: &Places, recovery: &mut Recovery) -> Result<(Mark, Marked), OpenError> {
    let is_new = !places.log.exists() && !places.tables.exists();
    let (mut mark, marked) = Mark::open(&places.mark).map_err(io_error("open", &places.mark))?;
    if let Some(marked) = marked {
        return Ok((mark, marked));
    }
    if !is_new {
        let damage = Damage {
            file: places.mark.clone(),
            first: 1,
            last: u64::MAX,
            offset: 0,
            cause: "how much was acknowledged is not known: nothing proves that the log is whole".to_owned(),
        };
        accept(config, damage, &mut recovery.lost)?;
    }
    let salt = match first_salt(&places.log) {
        Some(salt) => salt,
        None => RandomState::new().hash_one(std::process::id()) as u32,
    };
    let marked = Marked { salt, ..Marked::default() };
    mark.create(marked).map_err(io_error("write", &places.mark))?;
    let dir = std::fs::File::open(&places.dir).and_then(|dir| dir.sync_all());
    dir.map_err(io_error("sync", &places.dir))?;
    Ok((mark, marked))
}

fn first_salt(log_dir: &Path) -> Option<u32> {
    let segments = log::segments(log_dir).ok()?;
    segments.iter().find_map(|segment| Some(log::read_header(&std::fs::read(&segment.path).ok()?)?.1))
}

/// Puts new tables in the place of damaged ones, with what can be read of them.
fn rescue(places: &Places) -> Result<(), OpenError> {
    let (overlay, applied) = Tables::open(&places.tables).map(|tables| salvage(&tables)).unwrap_or_default();
    if places.tables.exists() {
        let aside = tables::set_aside(&places.tables).map_err(io_error("set aside", &places.tables))?;
        tracing::warn!(dir = %aside.display(), "damaged tables were set aside");
    }
    let tables = Tables::open(&places.tables).map_err(unreadable(&places.tables))?;
    tables.ingest(applied, &overlay).map_err(unreadable(&places.tables))
}

/// What can still be read from either end of damaged tables.
fn salvage(tables: &Tables) -> (Overlay, Applied) {
    let (mut overlay, mut applied) = (Overlay::default(), Applied::default());
    let mut bodies = Bodies::default();
    let mut keep = |stored: tables::Stored| -> Option<()> {
        let (key, value) = stored.ok()?;
        let key = Key::from_slice(&key);
        // A row whose body is lost is lost with it; the next one may be whole.
        let _ = bodies.pass_stored(&key, &value, &mut |key, row| match row {
            Row::Applied(row) => applied = *row,
            row => overlay.apply(Write { key: key.clone(), change: Change::Put(row.clone()) }),
        });
        Some(())
    };
    let _ = tables.all().try_for_each(&mut keep);
    let _ = tables.all().rev().try_for_each(&mut keep);
    (overlay, applied)
}

/// Puts every record behind the tables into the overlay.
fn replay(
    log_dir: &Path,
    expected: Expected,
    tables: &Tables,
    overlay: &mut Overlay,
) -> Result<Scanned, OpenError> {
    let mut broken = Vec::new();
    let mut scanned = scan(log_dir, expected, &mut |found: &Found, body: &[u8]| {
        for change in record::changes(body) {
            let read =
                change.ok_or(DecodeError::Short).and_then(|stored| read_change(stored, tables, overlay));
            match read {
                Ok(write) => overlay.apply(write),
                Err(cause) => broken.push((found.sequence, found.offset, cause)),
            }
        }
    })?;
    for (sequence, offset, cause) in broken {
        scanned.lost.push(Damage {
            file: log_dir.to_owned(),
            first: sequence,
            last: sequence,
            offset: offset as u64,
            cause: cause.to_string(),
        });
    }
    Ok(scanned)
}

fn read_change(stored: record::Stored<'_>, tables: &Tables, overlay: &Overlay) -> Result<Write, DecodeError> {
    let key = Key::from_slice(stored.key);
    if key.is_empty() {
        return Err(DecodeError::Short);
    }
    let change = match stored.value {
        None => Change::Delete,
        Some(value) => {
            let row = codec::decode(&key, value, &mut |body| find_body(body, tables, overlay))?;
            if stored.fresh { Change::Fresh(row) } else { Change::Put(row) }
        }
    };
    Ok(Write { key, change })
}

fn find_body(body: u64, tables: &Tables, overlay: &Overlay) -> Option<Arc<Message>> {
    let key = id_key(Kind::Body, body);
    let row = match overlay.get(&key) {
        Some(Entry::Row { row, .. }) => row.clone(),
        Some(Entry::Gone) => return None,
        None => codec::decode(&key, &tables.get(&key).ok()??, &mut |_| None).ok()?,
    };
    match row {
        Row::Body(message) => Some(message),
        _ => None,
    }
}

/// Says what was found, and refuses to go on over a loss that nobody has accepted.
fn settle_accounts(config: &Config, scanned: &Scanned, recovery: &mut Recovery) -> Result<(), OpenError> {
    recovery.sequence = scanned.sequence;
    recovery.replayed = scanned.replayed;
    recovery.torn = scanned.torn.clone();
    if let Some(torn) = &scanned.torn {
        tracing::warn!(file = %torn.file.display(), offset = torn.offset, bytes = torn.bytes, "a torn end of the log was cut");
    }
    for damage in &scanned.harmless {
        tracing::warn!(file = %damage.file.display(), offset = damage.offset, cause = damage.cause, "damage whose records are all in the tables");
        recovery.harmless.push(damage.clone());
    }
    for damage in &scanned.lost {
        accept(config, damage.clone(), &mut recovery.lost)?;
    }
    Ok(())
}

fn accept(config: &Config, damage: Damage, lost: &mut Vec<Damage>) -> Result<(), OpenError> {
    if !config.accept_loss {
        return Err(damage.into());
    }
    let Damage { file, first, last, offset, cause } = &damage;
    tracing::error!(file = %file.display(), first, last, offset, cause, "acknowledged group commits are lost");
    lost.push(damage);
    Ok(())
}

/// Moves everything on the shelf into the tables and lets go of the log.
fn absorb(shelf: &Shelf, applied: Applied, scanned: &Scanned) -> Result<(), TablesError> {
    if let Some(overlay) = shelf.freeze() {
        shelf.tables()?.ingest(applied, &overlay)?;
        shelf.thaw();
    }
    for segment in &scanned.segments {
        std::fs::remove_file(&segment.path)?;
    }
    Ok(())
}

fn cut(torn: &crate::recovery::Torn) -> std::io::Result<()> {
    if torn.offset == 0 {
        return std::fs::remove_file(&torn.file);
    }
    let file = std::fs::File::options().write(true).open(&torn.file)?;
    file.set_len(torn.offset)?;
    file.sync_all()
}

fn unreadable(dir: &Path) -> impl FnOnce(TablesError) -> OpenError {
    let path = dir.to_owned();
    move |cause| OpenError::Io { action: "read", path, source: std::io::Error::other(cause.to_string()) }
}

fn unwritable(error: AppendError) -> OpenError {
    match error {
        AppendError::Full => OpenError::Io {
            action: "create",
            path: PathBuf::from("a log segment"),
            source: std::io::ErrorKind::StorageFull.into(),
        },
        AppendError::Failed { action, path, source } => OpenError::Io { action, path, source },
    }
}
