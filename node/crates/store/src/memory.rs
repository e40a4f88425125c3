//! The memory backend: the state machine over rows in maps. Forgets everything at exit.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use parking_lot::Mutex;
use weir_model::UnixMillis;

use crate::clock::WallClock;
use crate::config::Config;
use crate::counters::Counters;
use crate::{
    Account, Answer, Done, Due, Level, Mirror, OwedMessage, Page, PartitionInfo, PartitionKey, Queued,
    ReadError, Refusal, Restored, SessionKey, Start, Step, Store, StreamPage,
};

mod claims;
mod lease;
mod node;
mod shared;
mod tables;

pub use shared::SharedMemory;
use tables::Tables;

/// Applies and answers every submit at once, in the caller's thread: it has no intake to fill.
pub(crate) struct Memory {
    inner: Mutex<Inner>,
    counters: Counters,
}

struct Inner {
    tables: Tables,
    mirror: Option<Arc<dyn Mirror>>,
    closed: bool,
}

impl Memory {
    pub fn new(config: &Config, wall: WallClock) -> Memory {
        let inner = Inner { tables: Tables::new(config, wall), mirror: None, closed: false };
        let counters = Counters::new(inner.tables.state.account());
        Memory { inner: Mutex::new(inner), counters }
    }

    fn apply(&self, steps: Vec<Step>) -> Answer {
        let begun = Instant::now();
        let mut inner = self.inner.lock();
        if inner.closed {
            return steps.iter().map(|_| Err(Refusal::Unavailable)).collect();
        }
        let records = steps.len();
        let (answer, effects) = inner.tables.apply(steps, None);
        if let Some(mirror) = &inner.mirror {
            effects.tell(&**mirror);
        }
        self.counters.committed(records, begun.elapsed(), inner.tables.state.account());
        drop(inner);
        answer
    }
}

impl Store for Memory {
    /// It survives nothing at any level.
    fn submit_at(&self, steps: Vec<Step>, _: Option<Level>, done: Done) {
        let answer = self.apply(steps);
        for refusal in answer.iter().filter_map(|result| result.as_ref().err()) {
            self.counters.refused(*refusal, 1);
        }
        done(answer);
    }

    fn read_queue(
        &self,
        key: SessionKey,
        after: u64,
        page: Page,
    ) -> BoxFuture<'static, Result<Vec<Queued>, ReadError>> {
        ready(Ok(self.inner.lock().tables.read_queue(&key, after, page))).boxed()
    }

    fn read_stream(
        &self,
        key: PartitionKey,
        start: Start,
        page: Page,
    ) -> BoxFuture<'static, Result<StreamPage, ReadError>> {
        ready(Ok(self.inner.lock().tables.read_stream(&key, start, page))).boxed()
    }

    fn partition(&self, key: PartitionKey) -> BoxFuture<'static, Result<Option<PartitionInfo>, ReadError>> {
        ready(Ok(self.inner.lock().tables.state.partition(&key))).boxed()
    }

    fn kept(
        &self,
        key: &PartitionKey,
        group: &str,
        keys: &[Bytes],
    ) -> BoxFuture<'static, Result<Vec<Option<Bytes>>, Refusal>> {
        ready(Ok(self.inner.lock().tables.kept(key, group, keys))).boxed()
    }

    fn kept_page(
        &self,
        key: &PartitionKey,
        group: &str,
        after: Option<Bytes>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<(Bytes, Bytes)>, Refusal>> {
        ready(Ok(self.inner.lock().tables.kept_page(key, group, after.as_ref(), limit))).boxed()
    }

    fn owed(
        &self,
        key: &PartitionKey,
        group: &str,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<OwedMessage>, Refusal>> {
        ready(Ok(self.inner.lock().tables.owed(key, group, after, limit))).boxed()
    }

    fn due(&self, now: UnixMillis, max: usize) -> BoxFuture<'static, Result<Vec<Due>, ReadError>> {
        let tables = &self.inner.lock().tables;
        let due = tables.state.due(now, max).into_iter();
        let due = due.filter_map(|(at, timer, fence)| tables.due(at, timer, fence)).collect();
        ready(Ok(due)).boxed()
    }

    fn restore(&self, mirror: Arc<dyn Mirror>, session: &mut dyn FnMut(Restored)) -> Result<(), ReadError> {
        let mut inner = self.inner.lock();
        inner.tables.restore(&*mirror, session);
        inner.mirror = Some(mirror);
        Ok(())
    }

    fn account(&self) -> Account {
        self.counters.account()
    }

    fn level(&self) -> Level {
        Level::Stored
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.inner.lock().closed = true;
        ready(()).boxed()
    }
}
