//! Checkpoints: a thread that moves frozen overlays into the tables and lets go of the log behind them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::log::Segment;
use super::overlay::Overlay;
use super::shelf::Shelf;
use super::space::Space;
use super::tables::TablesError;
use crate::fault;
use crate::row::Applied;

/// How long after a failure (a full disk, mostly) it is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A merge rarely reads and writes more than this.
const MERGE_BYTES_MAX: u64 = 1 << 30;

/// One checkpoint: the rows, what they are complete up to, and the segments that hold them.
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
        let of_thread = progress.clone();
        let thread = std::thread::Builder::new()
            .name("weir-checkpoint".to_owned())
            .spawn(move || run(&shelf, &space, &tables_dir, &taken, &of_thread))?;
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

fn run(shelf: &Shelf, space: &Space, tables_dir: &Path, orders: &Receiver<Order>, progress: &Progress) {
    while let Ok(order) = orders.recv() {
        while let Err(cause) = carry_out(shelf, &order) {
            tracing::warn!(%cause, sequence = order.applied.sequence, "checkpoint failed, the commit log grows on");
            progress.state.lock().failing = true;
            progress.changed.notify_all();
            reopen(shelf, tables_dir);
            if let Err(RecvTimeoutError::Disconnected) = orders.recv_timeout(RETRY_AFTER) {
                return;
            }
        }
        // Its rows are in the tables: free them before the next one may begin.
        drop(order);
        *progress.state.lock() = State::default();
        progress.changed.notify_all();
        if let Err(cause) = merge(shelf, space) {
            tracing::warn!(%cause, "the tables could not be merged");
            reopen(shelf, tables_dir);
        }
    }
}

/// Opening anew removes what was left half written, and revives a poisoned engine.
fn reopen(shelf: &Shelf, tables_dir: &Path) {
    if let Err(cause) = shelf.reopen_tables(tables_dir) {
        tracing::error!(%cause, "the tables cannot be opened again");
    }
}

/// Merges tables if there is room for both the old and the new ones meanwhile; when the disk is
/// nearly full, only if what is alive in them fits beside them.
fn merge(shelf: &Shelf, space: &Space) -> Result<(), TablesError> {
    let tables = shelf.tables()?;
    if space.has_room_to_move(tables.disk_bytes().min(MERGE_BYTES_MAX)) {
        return tables.merge();
    }
    if space.has_room_to_move(tables.live_bytes()?) {
        return tables.merge_all();
    }
    Ok(())
}

fn carry_out(shelf: &Shelf, order: &Order) -> Result<(), TablesError> {
    fault::reach("checkpoint.before_flush");
    let tables = shelf.tables()?;
    if tables.is_poisoned() {
        return Err(fjall::Error::Poisoned.into());
    }
    tables.ingest(order.applied, &order.overlay)?;
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
