//! One node's handle of a shared memory store.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use weir_model::UnixMillis;

use super::lease::Lease;
use super::shared::Shared;
use crate::{
    Account, Answer, Done, Due, Level, Mirror, NodeRef, OwedMessage, Page, PartitionInfo, PartitionKey,
    Queued, ReadError, Refusal, Restored, SessionKey, Start, Step, Store, StreamPage,
};

pub(super) struct Node {
    pub shared: Arc<Shared>,
    pub node: NodeRef,
    pub lease: Arc<Lease>,
}

impl Drop for Node {
    /// Takes no lock: the last one to hold the handle may be a mirror that is just being told.
    fn drop(&mut self) {
        self.lease.close();
    }
}

impl Node {
    fn apply(&self, steps: Vec<Step>) -> Answer {
        let begun = Instant::now();
        let mut inner = self.shared.inner.lock();
        if self.lease.is_closed() {
            return steps.iter().map(|_| Err(Refusal::Unavailable)).collect();
        }
        let records = steps.len();
        let answer = inner.apply(steps, self.node.incarnation);
        self.shared.counters.committed(records, begun.elapsed(), inner.tables.state.account());
        drop(inner);
        self.shared.tell();
        answer
    }
}

impl Store for Node {
    /// It survives nothing at any level.
    fn submit_at(&self, steps: Vec<Step>, _: Option<Level>, done: Done) {
        let answer = self.apply(steps);
        for refusal in answer.iter().filter_map(|result| result.as_ref().err()) {
            self.shared.counters.refused(*refusal, 1);
        }
        done(answer);
    }

    fn read_queue(
        &self,
        key: SessionKey,
        after: u64,
        page: Page,
    ) -> BoxFuture<'static, Result<Vec<Queued>, ReadError>> {
        ready(Ok(self.shared.inner.lock().tables.read_queue(&key, after, page))).boxed()
    }

    fn read_stream(
        &self,
        key: PartitionKey,
        start: Start,
        page: Page,
    ) -> BoxFuture<'static, Result<StreamPage, ReadError>> {
        ready(Ok(self.shared.inner.lock().tables.read_stream(&key, start, page))).boxed()
    }

    fn partition(&self, key: PartitionKey) -> BoxFuture<'static, Result<Option<PartitionInfo>, ReadError>> {
        ready(Ok(self.shared.inner.lock().tables.state.partition(&key))).boxed()
    }

    fn kept(
        &self,
        key: &PartitionKey,
        group: &str,
        keys: &[Bytes],
    ) -> BoxFuture<'static, Result<Vec<Option<Bytes>>, Refusal>> {
        ready(Ok(self.shared.inner.lock().tables.kept(key, group, keys))).boxed()
    }

    fn kept_page(
        &self,
        key: &PartitionKey,
        group: &str,
        after: Option<Bytes>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<(Bytes, Bytes)>, Refusal>> {
        ready(Ok(self.shared.inner.lock().tables.kept_page(key, group, after.as_ref(), limit))).boxed()
    }

    fn owed(
        &self,
        key: &PartitionKey,
        group: &str,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<OwedMessage>, Refusal>> {
        ready(Ok(self.shared.inner.lock().tables.owed(key, group, after, limit))).boxed()
    }

    fn due(&self, now: UnixMillis, max: usize) -> BoxFuture<'static, Result<Vec<Due>, ReadError>> {
        ready(Ok(self.shared.inner.lock().due(now, max))).boxed()
    }

    fn restore(&self, mirror: Arc<dyn Mirror>, session: &mut dyn FnMut(Restored)) -> Result<(), ReadError> {
        self.shared.restore(self.node.incarnation, mirror, session);
        Ok(())
    }

    fn account(&self) -> Account {
        self.shared.counters.account()
    }

    fn level(&self) -> Level {
        Level::Stored
    }

    fn node(&self) -> Option<NodeRef> {
        Some(self.node.clone())
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn stands(&self) -> bool {
        self.lease.stands((self.shared.wall)())
    }

    fn nodes(&self) -> Vec<NodeRef> {
        self.shared.inner.lock().nodes()
    }

    fn caught_up(&self) -> BoxFuture<'static, Result<(), ReadError>> {
        let (lease, hears) = (self.lease.clone(), self.lease.hears());
        async move {
            hears.await?;
            if lease.is_closed() { Err(ReadError::Unavailable) } else { Ok(()) }
        }
        .boxed()
    }

    fn leave(&self) -> BoxFuture<'static, ()> {
        self.lease.end();
        ready(()).boxed()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let inner = self.shared.inner.lock();
        self.lease.close();
        drop(inner);
        ready(()).boxed()
    }
}
