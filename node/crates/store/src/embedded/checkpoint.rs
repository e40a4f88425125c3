//! Checkpoints: a thread that moves frozen overlays into the tables, lets go of the log behind them and
//! merges the tables.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::log::Segment;
use super::overlay::Overlay;
use super::shelf::Shelf;
use super::space::Space;
use super::tables::{Tables, TablesError};
use crate::fault;
use crate::row::Applied;

/// How long after a failure (a full disk, mostly) it is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A merge rarely reads and writes more than this.
const MERGE_BYTES_MAX: u64 = 1 << 30;

/// When the disk is nearly full everything is merged again and again, for at most so much of the time:
/// one part in this many.
const FULL_MERGES_SHARE: u32 = 4;

/// Checkpoints over one another above which everything is merged on a nearly full disk, however
/// little it gives back.
const OVERLAYS_MAX: u32 = 64;

/// One checkpoint: the rows, what they are complete up to, and the segments that hold them. One that
/// has nothing to move only looks whether merging gives room back.
pub(crate) struct Order {
    pub applied: Applied,
    pub overlay: Arc<Overlay>,
    pub segments: Vec<Segment>,
}

/// Runs one checkpoint at a time; there is never a second in line.
pub(crate) struct Checkpoints {
    orders: Option<SyncSender<Order>>,
    progress: Arc<Progress>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Progress {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    busy: bool,
    failing: bool,
    /// Bytes of the segments that the running checkpoint will let go.
    log_bytes: u64,
}

impl Checkpoints {
    pub fn start(shelf: Arc<Shelf>, space: Arc<Space>, tables_dir: PathBuf) -> std::io::Result<Checkpoints> {
        let (orders, taken) = sync_channel(1);
        let progress = Arc::new(Progress::default());
        let worker = Worker { shelf, tables_dir, merging: Merging::new(space), progress: progress.clone() };
        let thread = std::thread::Builder::new()
            .name("weir-checkpoint".to_owned())
            .spawn(move || worker.run(&taken))?;
        Ok(Checkpoints { orders: Some(orders), progress, thread: Some(thread) })
    }

    pub fn is_busy(&self) -> bool {
        self.progress.state.lock().busy
    }

    /// Whether the running checkpoint has failed and is being tried again.
    pub fn is_failing(&self) -> bool {
        self.progress.state.lock().failing
    }

    /// Bytes of log that the running checkpoint will let go.
    pub fn log_bytes(&self) -> u64 {
        self.progress.state.lock().log_bytes
    }

    /// Begins one. The one before must be done.
    pub fn begin(&self, order: Order) {
        let mut state = self.progress.state.lock();
        state.busy = true;
        state.log_bytes = order.segments.iter().map(|segment| segment.bytes).sum();
        drop(state);
        if let Some(orders) = &self.orders {
            // The channel has room: there is one order at a time.
            let _ = orders.try_send(order);
        }
    }

    /// Waits until the running one is done or fails.
    pub fn wait(&self) {
        let mut state = self.progress.state.lock();
        while state.busy && !state.failing {
            self.progress.changed.wait(&mut state);
        }
    }

    /// Finishes the running one unless it is failing, and ends the thread.
    pub fn stop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the checkpoint thread has panicked");
        }
    }
}

/// What the thread works with.
struct Worker {
    shelf: Arc<Shelf>,
    tables_dir: PathBuf,
    merging: Merging,
    progress: Arc<Progress>,
}

impl Worker {
    fn run(mut self, orders: &Receiver<Order>) {
        self.merging.note(&self.shelf);
        while let Ok(order) = orders.recv() {
            while let Err(cause) = carry_out(&self.shelf, &order) {
                tracing::warn!(%cause, sequence = order.applied.sequence, "checkpoint failed, the commit log grows on");
                self.progress.state.lock().failing = true;
                self.progress.changed.notify_all();
                reopen(&self.shelf, &self.tables_dir);
                if let Err(RecvTimeoutError::Disconnected) = orders.recv_timeout(RETRY_AFTER) {
                    return;
                }
            }
            self.merging.moved(&order.overlay);
            // Its rows are in the tables: free them before the next one may begin.
            drop(order);
            self.merging.note(&self.shelf);
            *self.progress.state.lock() = State::default();
            self.progress.changed.notify_all();
            if let Err(cause) = self.merging.merge(&self.shelf) {
                tracing::warn!(%cause, "the tables could not be merged");
                reopen(&self.shelf, &self.tables_dir);
            }
            self.merging.note(&self.shelf);
        }
    }
}

/// Opening anew removes what was left half written, and revives a poisoned engine.
fn reopen(shelf: &Shelf, tables_dir: &Path) {
    if let Err(cause) = shelf.reopen_tables(tables_dir) {
        tracing::error!(%cause, "the tables cannot be opened again");
    }
}

/// When the tables are merged, and how.
struct Merging {
    space: Arc<Space>,
    /// Rows of the tables were deleted or replaced since everything was merged.
    hides: bool,
    /// Checkpoints since then.
    overlays: u32,
    /// What the tables took then.
    bytes: u64,
    /// When a full merge was last tried, and how long it took.
    last: Option<(Instant, Duration)>,
}

impl Merging {
    /// Nothing is known yet of what the tables hold, so a first merge may be worth it.
    fn new(space: Arc<Space>) -> Merging {
        Merging { space, hides: true, overlays: 0, bytes: 0, last: None }
    }

    /// Lets the writer know what the tables take.
    fn note(&self, shelf: &Shelf) {
        if let Ok(tables) = shelf.tables() {
            self.space.note_tables(tables.disk_bytes());
        }
    }

    fn moved(&mut self, overlay: &Overlay) {
        self.hides |= overlay.hides();
        self.overlays += u32::from(!overlay.is_empty());
    }

    /// On a disk that is nearly full, everything, as often as it is worth it and fits; else what is
    /// due, if there is room for both the old and the new tables meanwhile.
    fn merge(&mut self, shelf: &Shelf) -> Result<(), TablesError> {
        let tables = shelf.tables()?;
        if self.space.is_tight() && self.is_worth_it(tables.disk_bytes()) {
            return self.merge_all(&tables);
        }
        if self.space.has_room_to_move(tables.disk_bytes().min(MERGE_BYTES_MAX)) {
            return tables.merge();
        }
        Ok(())
    }

    /// Acknowledgements make the tables larger before a merge makes them smaller: an eighth of the
    /// reserve is not waited out.
    fn is_worth_it(&self, bytes: u64) -> bool {
        let rested =
            self.last.is_none_or(|(begun, took)| begun.elapsed() >= took.saturating_mul(FULL_MERGES_SHARE));
        let grown = bytes.saturating_sub(self.bytes) >= (self.space.reserve() / 8).max(1);
        (self.hides && (rested || grown)) || self.overlays > OVERLAYS_MAX
    }

    /// What is alive is written anew: it must fit beside what there is. When others have filled the
    /// disk, not everything may be alive: then it is counted.
    fn merge_all(&mut self, tables: &Tables) -> Result<(), TablesError> {
        let begun = Instant::now();
        let before = tables.disk_bytes();
        let fits = self.space.has_room_to_move(before) || self.space.has_room_to_move(tables.live_bytes()?);
        let merged = if fits { tables.merge_all() } else { Ok(()) };
        self.last = Some((begun, begun.elapsed()));
        self.bytes = tables.disk_bytes();
        if fits && merged.is_ok() {
            (self.hides, self.overlays) = (false, 0);
            tracing::debug!(before, after = self.bytes, "the tables are merged to make room");
        }
        merged
    }
}

fn carry_out(shelf: &Shelf, order: &Order) -> Result<(), TablesError> {
    fault::reach("checkpoint.before_flush");
    let tables = shelf.tables()?;
    if tables.is_poisoned() {
        return Err(fjall::Error::Poisoned.into());
    }
    if !order.overlay.is_empty() || !order.segments.is_empty() {
        tables.ingest(order.applied, &order.overlay)?;
    }
    drop(tables);
    fault::reach("checkpoint.after_flush");
    shelf.thaw();
    for segment in &order.segments {
        if let Err(cause) = std::fs::remove_file(&segment.path) {
            tracing::warn!(%cause, file = %segment.path.display(), "an old log segment stays");
        }
        fault::reach("segment.after_delete");
    }
    Ok(())
}
