//! Instances of one program for one binding: kept, handed out one call at a time, replaced when they are worn.

mod events;
mod middleware;
mod reduction;
mod turn;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::instance::{Instance, Source};
use crate::limits::{Limits, Settings};
use crate::outcome::Failure;
use crate::program::Program;
use crate::runtime::Runtime;
use turn::Turn;

/// Instances of one program for one binding, shared by its workers. Begins with none; at most `instances_max` of them
/// live at once, and a call that finds none free waits, or is told [`Failure::Busy`].
pub struct Pool {
    runtime: Arc<Runtime>,
    source: Source,
    idle: Arc<Idle>,
    /// One permit per instance there may be.
    turns: Semaphore,
}

/// Instances that serve nobody at the moment; the one used last is the first to be used again.
pub(crate) struct Idle {
    instances: Mutex<Vec<Instance>>,
    is_large: bool,
}

/// How often a start is tried again after an idle instance of another pool has made room.
const ROOM_TRIES: usize = 8;

impl Pool {
    /// Starts nothing yet: the first call starts the first instance.
    pub fn new(runtime: &Arc<Runtime>, program: &Arc<Program>, settings: Settings) -> Pool {
        let turns = Semaphore::new(settings.limits.instances_max.clamp(1, Semaphore::MAX_PERMITS));
        let idle = Arc::new(Idle { instances: Mutex::default(), is_large: program.is_large() });
        runtime.know(&idle);
        let source = runtime.source(program, settings);
        Pool { runtime: Arc::clone(runtime), source, idle, turns }
    }

    pub fn program(&self) -> &Arc<Program> {
        &self.source.program
    }

    /// Instances that are alive, idle ones included.
    pub fn instances(&self) -> usize {
        self.source.alive.load(Relaxed)
    }

    fn limits(&self) -> &Limits {
        &self.source.settings.limits
    }

    /// An instance for one call, waiting for it as long as the limits say.
    async fn turn(&self) -> Result<Turn<'_>, Failure> {
        let permit = self.permit().await?;
        let instance = match self.idle.take() {
            Some(instance) => instance,
            None => self.start().await?,
        };
        Ok(Turn::new(self, permit, instance))
    }

    /// An instance for one call, at once or not at all.
    fn turn_here(&self) -> Result<Turn<'_>, Failure> {
        let permit = self.turns.try_acquire().map_err(|_| Failure::Busy)?;
        let instance = match self.idle.take() {
            Some(instance) => instance,
            None => self.start_here()?,
        };
        Ok(Turn::new(self, permit, instance))
    }

    async fn permit(&self) -> Result<SemaphorePermit<'_>, Failure> {
        if let Ok(permit) = self.turns.try_acquire() {
            return Ok(permit);
        }
        if self.limits().wait == Duration::ZERO {
            return Err(Failure::Busy);
        }
        let waited = tokio::time::timeout(self.limits().wait, self.turns.acquire()).await;
        waited.ok().and_then(Result::ok).ok_or(Failure::Busy)
    }

    async fn start(&self) -> Result<Instance, Failure> {
        let _running = self.runtime.run();
        for _ in 0..ROOM_TRIES {
            match self.source.start().await {
                Err(Failure::Busy) if self.runtime.make_room(self.idle.is_large) => {}
                started => return started,
            }
        }
        Err(Failure::Busy)
    }

    fn start_here(&self) -> Result<Instance, Failure> {
        let _running = self.runtime.run();
        for _ in 0..ROOM_TRIES {
            match self.source.start_here() {
                Err(Failure::Busy) if self.runtime.make_room(self.idle.is_large) => {}
                started => return started,
            }
        }
        Err(Failure::Busy)
    }
}

impl Idle {
    fn take(&self) -> Option<Instance> {
        self.instances.lock().pop()
    }

    fn put(&self, instance: Instance) {
        self.instances.lock().push(instance);
    }
}

/// All pools of a node, for one that needs room.
#[derive(Default)]
pub(crate) struct Pools(Mutex<Vec<Weak<Idle>>>);

impl Pools {
    pub fn know(&self, idle: &Arc<Idle>) {
        let mut pools = self.0.lock();
        pools.retain(|known| known.strong_count() > 0);
        pools.push(Arc::downgrade(idle));
    }

    /// Ends one idle instance of a class; false when there is none.
    pub fn make_room(&self, is_large: bool) -> bool {
        let pools: Vec<Arc<Idle>> = self.0.lock().iter().filter_map(Weak::upgrade).collect();
        let mut of_class: Vec<&Arc<Idle>> = pools.iter().filter(|idle| idle.is_large == is_large).collect();
        of_class.sort_by_key(|idle| std::cmp::Reverse(idle.instances.lock().len()));
        of_class.iter().any(|idle| idle.take().is_some())
    }
}

/// A new count of instances.
pub(crate) fn no_instances() -> Arc<AtomicUsize> {
    Arc::new(AtomicUsize::new(0))
}
