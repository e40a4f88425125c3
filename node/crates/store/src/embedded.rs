//! The embedded backend: one directory, one writer, group commits.
//!
//! A group of submits is decided in memory, written as one record to the commit log, made durable,
//! shown to readers and answered. Checkpoints move rows from memory into the tables (fjall) and let
//! go of the log behind them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use parking_lot::Mutex;
use weir_model::UnixMillis;

use crate::clock::WallClock;
use crate::config::Config;
use crate::counters::Counters;
use crate::recovery::{OpenError, Recovery, io_error};
use crate::row::{Key, Kind, Row, number_key, retained_of};
use crate::state::{State, Timer};
use crate::{
    Account, Done, Due, Level, Mirror, NotProved, OutboxEntry, OwedMessage, Page, PartitionInfo,
    PartitionKey, Queued, ReadError, Refusal, Restored, SessionKey, Start, Step, Store, StreamPage, TableRow,
};

mod checkpoint;
mod copy;
mod intake;
mod lock;
mod log;
mod mark;
mod overlay;
mod rate;
mod record;
mod recover;
mod scan;
mod shelf;
mod space;
mod tables;
mod writer;

use checkpoint::Checkpoints;
pub use copy::{EmbeddedSource, EmbeddedTarget};
use intake::Intake;
pub(crate) use intake::Job;
use lock::Lock;
pub use rate::raw_append_rate;
use recover::{Opened, Places};
use shelf::{Reading, Shelf};
use space::Space;
pub use space::{Probe, Room};
use tables::TablesError;
use writer::Writer;

pub(crate) struct Embedded {
    shared: Arc<Shared>,
    level: Level,
    writer: Mutex<Option<JoinHandle<()>>>,
    _lock: Lock,
}

/// What the writer and its callers both touch.
pub(crate) struct Shared {
    pub intake: Intake,
    pub state: Mutex<State>,
    pub shelf: Arc<Shelf>,
    pub mirror: Mutex<Option<Arc<dyn Mirror>>>,
    pub counters: Counters,
    /// A write of unknown effect came in between: nothing more is taken in.
    pub failed: AtomicBool,
    pub closed: tokio::sync::watch::Sender<bool>,
}

impl Embedded {
    pub fn open(
        config: &Config,
        data_dir: &Path,
        probe: Option<Probe>,
        wall: &WallClock,
    ) -> Result<(Embedded, Recovery), OpenError> {
        copy::refuse_unfinished(data_dir)?;
        let places = Places::within(data_dir);
        std::fs::create_dir_all(&places.dir).map_err(io_error("create", &places.dir))?;
        let lock = Lock::take(&places.dir)?;
        let opened = recover::open(config, &places, wall)?;
        for made in [data_dir, &places.dir] {
            let synced = std::fs::File::open(made).and_then(|dir| dir.sync_all());
            synced.map_err(io_error("sync", made))?;
        }
        let recovery = opened.recovery.clone();
        let (writer, garbage) = assemble(config, &places, opened, probe)?;
        let shared = writer.shared.clone();
        let thread = std::thread::Builder::new().name("weir-store".to_owned());
        let thread = thread.spawn(move || writer.run(garbage));
        let thread = thread.map_err(io_error("start a thread for", &places.dir))?;
        let writer = Mutex::new(Some(thread));
        Ok((Embedded { shared, level: config.level.or(Level::Fsynced), writer, _lock: lock }, recovery))
    }
}

/// A writer over what was opened, and the rows it is to remove first.
fn assemble(
    config: &Config,
    places: &Places,
    opened: Opened,
    probe: Option<Probe>,
) -> Result<(Writer, Vec<Key>), OpenError> {
    let probe = probe.unwrap_or_else(|| Box::new(space::statvfs));
    let space = Arc::new(Space::new(&places.dir, config.reserve_bytes, probe));
    let checkpoints = Checkpoints::start(opened.shelf.clone(), space.clone(), places.tables.clone());
    let counters = Counters::new(opened.state.account());
    let shared = Arc::new(Shared {
        intake: Intake::new(config),
        state: Mutex::new(opened.state),
        shelf: opened.shelf,
        mirror: Mutex::new(None),
        counters,
        failed: AtomicBool::new(false),
        closed: tokio::sync::watch::Sender::new(false),
    });
    let writer = Writer {
        shared,
        config: config.clone(),
        log: opened.log,
        mark: opened.mark,
        salt: opened.salt,
        clock: opened.clock,
        space,
        freed_at: None,
        is_full: false,
        checkpoints: checkpoints.map_err(io_error("start a thread for", &places.tables))?,
        sync: config.level.or(Level::Fsynced) == Level::Fsynced,
    };
    Ok((writer, opened.garbage))
}

impl Embedded {
    /// Reads rows wherever they lie: here, if none is in the tables alone. What is not durable yet is not there.
    fn rows<T: Send + 'static>(
        &self,
        keys: Vec<Option<Key>>,
        found: impl FnOnce(Vec<Option<Row>>) -> T + Send + 'static,
    ) -> BoxFuture<'static, Result<T, Refusal>> {
        let shelf = self.shared.shelf.clone();
        if let Some(rows) = shelf.rows_front(&keys) {
            return ready(Ok(found(rows))).boxed();
        }
        let reading = off_the_runtime(move || {
            shelf.rows(&keys).map(found).map_err(|error| read_error("groups", error))
        });
        reading.map(|found| found.map_err(ReadError::into_refusal)).boxed()
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.shared.intake.close();
        if let Some(writer) = self.writer.lock().take()
            && writer.join().is_err()
        {
            tracing::error!("the store's writer has panicked");
        }
    }
}

impl Shared {
    /// Its ends as readers find them: what is not durable yet is not told.
    fn partition(&self, key: &PartitionKey) -> Option<PartitionInfo> {
        let (id, found) = {
            let state = self.state.lock();
            (state.stream_from(key, Start::Earliest)?.0, state.partition(key)?)
        };
        Some(PartitionInfo { ends: self.shelf.ends(id)?, ..found })
    }

    /// Names come from the state, which may be ahead of what is durable: as many as have a value.
    fn kept_page(
        &self,
        key: &PartitionKey,
        group: &str,
        mut after: Option<Bytes>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        let mut found = Vec::new();
        while found.len() < limit {
            let (names, rows) = {
                let state = self.state.lock();
                let names = state.kept_names(key, group, after.as_ref(), limit - found.len());
                let rows = state.kept_rows(key, group, &names);
                (names, rows)
            };
            let Some(last) = names.last().cloned() else { break };
            let rows = self.shelf.rows(&rows).map_err(|error| read_error("groups", error))?;
            let values = rows.into_iter().map(kept_value);
            found.extend(names.into_iter().zip(values).filter_map(|(name, value)| Some((name, value?))));
            after = Some(last);
        }
        Ok(found)
    }

    fn due(&self, now: UnixMillis, max: usize) -> Result<Vec<Due>, TablesError> {
        let due = self.state.lock().due(now, max);
        let mut found = Vec::with_capacity(due.len());
        for (at, timer, fence) in due {
            match (timer, fence) {
                (Timer::Will(key), Some(fence)) => found.push(Due::Will { key, fence }),
                (Timer::Expiry(key), Some(fence)) => found.push(Due::Expiry { key, fence }),
                (Timer::Delayed(entry), _) => found.extend(self.delayed(at, entry)?),
                _ => {}
            }
        }
        Ok(found)
    }

    /// A delayed message whose row is durable.
    fn delayed(&self, at: UnixMillis, entry: u64) -> Result<Option<Due>, TablesError> {
        let Some(Row::Delayed { realm, message, epoch }) =
            self.shelf.get(&number_key(Kind::Delayed, at.0, entry))?
        else {
            return Ok(None);
        };
        let id = self.state.lock().outbox_id(epoch, entry);
        Ok(Some(Due::Delayed { realm, entry: OutboxEntry { entry, id, message, owner: None } }))
    }
}

impl Store for Embedded {
    fn submit_at(&self, steps: Vec<Step>, level: Option<Level>, done: Done) {
        let job = Job::new(steps, level.unwrap_or(self.level) > Level::Stored, done);
        if self.shared.failed.load(Ordering::Acquire) {
            return answer_all(job, Refusal::Unavailable, &self.shared.counters);
        }
        if let Err(job) = self.shared.intake.push(job) {
            answer_all(job, Refusal::Unavailable, &self.shared.counters);
        }
    }

    fn has_room(&self) -> bool {
        self.shared.intake.has_room()
    }

    fn read_queue(
        &self,
        key: SessionKey,
        after: u64,
        page: Page,
    ) -> BoxFuture<'static, Result<Vec<Queued>, ReadError>> {
        let generation = self.shared.state.lock().generation(&key);
        let Some(generation) = generation else { return ready(Ok(Vec::new())).boxed() };
        let front = self.shared.shelf.queue_front(generation, after, page);
        let shelf = self.shared.shelf.clone();
        if !front.needs_tables() {
            return ready(shelf.queue_page(front).map_err(|error| read_error("queues", error))).boxed();
        }
        off_the_runtime(move || shelf.queue_page(front).map_err(|error| read_error("queues", error)))
    }

    fn read_stream(
        &self,
        key: PartitionKey,
        start: Start,
        page: Page,
    ) -> BoxFuture<'static, Result<StreamPage, ReadError>> {
        let found = self.shared.state.lock().stream_from(&key, start);
        let Some((id, first)) = found else { return ready(Ok(StreamPage::default())).boxed() };
        let mut reading = Reading::new(id, first, start, page);
        let shelf = self.shared.shelf.clone();
        match shelf.stream_front(&mut reading) {
            Some(page) => ready(Ok(page)).boxed(),
            None => off_the_runtime(move || {
                shelf.stream_page(reading).map_err(|error| read_error("streams", error))
            }),
        }
    }

    fn partition(&self, key: PartitionKey) -> BoxFuture<'static, Result<Option<PartitionInfo>, ReadError>> {
        ready(Ok(self.shared.partition(&key))).boxed()
    }

    fn kept(
        &self,
        key: &PartitionKey,
        group: &str,
        keys: &[Bytes],
    ) -> BoxFuture<'static, Result<Vec<Option<Bytes>>, Refusal>> {
        let rows = self.shared.state.lock().kept_rows(key, group, keys);
        self.rows(rows, |rows| rows.into_iter().map(kept_value).collect())
    }

    fn kept_page(
        &self,
        key: &PartitionKey,
        group: &str,
        after: Option<Bytes>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<(Bytes, Bytes)>, Refusal>> {
        let (shared, key, group) = (self.shared.clone(), key.clone(), group.to_owned());
        off_the_runtime(move || shared.kept_page(&key, &group, after, limit))
            .map(|found| found.map_err(ReadError::into_refusal))
            .boxed()
    }

    fn owed(
        &self,
        key: &PartitionKey,
        group: &str,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<OwedMessage>, Refusal>> {
        let entries = self.shared.state.lock().owed_rows(key, group, after, limit);
        let (entries, rows): (Vec<u64>, Vec<_>) =
            entries.into_iter().map(|(entry, row)| (entry, Some(row))).unzip();
        self.rows(rows, |rows| {
            let entry = |(entry, row)| match row {
                Some(Row::Owed(row)) => Some((entry, row.id, row.message)),
                _ => None,
            };
            entries.into_iter().zip(rows).filter_map(entry).collect()
        })
    }

    fn due(&self, now: UnixMillis, max: usize) -> BoxFuture<'static, Result<Vec<Due>, ReadError>> {
        let shared = self.shared.clone();
        off_the_runtime(move || shared.due(now, max).map_err(|error| read_error("timers", error)))
    }

    fn restore(&self, mirror: Arc<dyn Mirror>, session: &mut dyn FnMut(Restored)) -> Result<(), ReadError> {
        let shelf = &self.shared.shelf;
        let scanned = shelf.scan_kind(Kind::Retained, &mut |key, row| {
            if let Row::Retained { position, message } = row
                && let Some((realm, _)) = retained_of(key)
            {
                mirror.retained(&realm.into(), &message.topic, *position, Some(message));
            }
        });
        scanned.map_err(|error| read_error("retained", error))?;
        let scanned = shelf.scan_kind(Kind::Cell, &mut |_, row| {
            if let Row::Cell(row) = row {
                mirror.table(TableRow::from(&**row));
            }
        });
        scanned.map_err(|error| read_error("tables", error))?;
        self.shared.state.lock().restored().for_each(session);
        *self.shared.mirror.lock() = Some(mirror);
        Ok(())
    }

    fn account(&self) -> Account {
        self.shared.counters.account()
    }

    fn level(&self) -> Level {
        self.level
    }

    /// Every file system syncs; there are no replicas.
    fn proves(&self, level: Level) -> Result<(), NotProved> {
        if level.is_replicated() { Err(NotProved::Never) } else { Ok(()) }
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.shared.intake.close();
        let mut closed = self.shared.closed.subscribe();
        async move {
            // The sender goes only with the store: then it is closed, too.
            let _ = closed.wait_for(|closed| *closed).await;
        }
        .boxed()
    }
}

fn kept_value(row: Option<Row>) -> Option<Bytes> {
    match row {
        Some(Row::Kept(value)) => Some(value),
        _ => None,
    }
}

fn answer_all(job: Job, refusal: Refusal, counters: &Counters) {
    counters.refused(refusal, job.steps.len());
    let answer = job.steps.iter().map(|_| Err(refusal)).collect();
    (job.done)(answer);
}

fn read_error(table: &'static str, error: TablesError) -> ReadError {
    match error {
        TablesError::Away => ReadError::Unavailable,
        error => ReadError::Damaged { table, cause: error.to_string() },
    }
}

/// Runs what may wait for the disk on a thread for that, or here when there is no runtime.
fn off_the_runtime<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> BoxFuture<'static, Result<T, ReadError>> {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => {
            let reading = runtime.spawn_blocking(read);
            async move { reading.await.unwrap_or(Err(ReadError::Unavailable)) }.boxed()
        }
        Err(_) => ready(read()).boxed(),
    }
}
