//! A node's handle of the store that counts what is read, and holds back what the test says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use weir_model::UnixMillis;
use weir_store::{
    Account, Answer, Done, Due, Level, Mirror, NodeRef, Page, Queued, ReadError, Restored, SessionKey, Step,
    Store,
};

type Answers = Arc<Mutex<Option<Vec<(Answer, Done)>>>>;

pub struct Watched {
    inner: Arc<dyn Store>,
    /// Reads of queues since the start.
    reads: AtomicU64,
    /// While there is a list, answers go there, the oldest first.
    held: Answers,
}

impl Watched {
    pub fn new(inner: Arc<dyn Store>) -> Watched {
        Watched { inner, reads: AtomicU64::new(0), held: Arc::default() }
    }

    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// What is submitted from now on is done, and its answer waits.
    pub fn hold_answers(&self) {
        self.held.lock().get_or_insert_default();
    }

    pub fn holds_answers(&self) -> bool {
        self.held.lock().is_some()
    }

    pub fn answers_held(&self) -> usize {
        self.held.lock().as_ref().map_or(0, Vec::len)
    }

    pub fn let_answers_go(&self) {
        let held = self.held.lock().take().unwrap_or_default();
        held.into_iter().for_each(|(answer, done)| done(answer));
    }
}

impl Store for Watched {
    fn submit_at(&self, steps: Vec<Step>, level: Option<Level>, done: Done) {
        let held = self.held.clone();
        let answered: Done = Box::new(move |answer| {
            let mut held = held.lock();
            match &mut *held {
                Some(held) => held.push((answer, done)),
                None => {
                    drop(held);
                    done(answer);
                }
            }
        });
        self.inner.submit_at(steps, level, answered);
    }

    fn read_queue(
        &self,
        key: SessionKey,
        after: u64,
        page: Page,
    ) -> BoxFuture<'static, Result<Vec<Queued>, ReadError>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.read_queue(key, after, page)
    }

    fn due(&self, now: UnixMillis, max: usize) -> BoxFuture<'static, Result<Vec<Due>, ReadError>> {
        self.inner.due(now, max)
    }

    fn restore(&self, mirror: Arc<dyn Mirror>, session: &mut dyn FnMut(Restored)) -> Result<(), ReadError> {
        self.inner.restore(mirror, session)
    }

    fn account(&self) -> Account {
        self.inner.account()
    }

    fn level(&self) -> Level {
        self.inner.level()
    }

    fn node(&self) -> Option<NodeRef> {
        self.inner.node()
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    fn stands(&self) -> bool {
        self.inner.stands()
    }

    fn nodes(&self) -> Vec<NodeRef> {
        self.inner.nodes()
    }

    fn caught_up(&self) -> BoxFuture<'static, Result<(), ReadError>> {
        self.inner.caught_up()
    }

    fn leave(&self) -> BoxFuture<'static, ()> {
        self.inner.leave()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.inner.close()
    }
}
