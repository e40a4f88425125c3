//! The memory backend: the state machine over rows in maps. Forgets everything at exit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use parking_lot::Mutex;
use weir_model::UnixMillis;

use crate::clock::{Clock, WallClock};
use crate::config::Config;
use crate::counters::Counters;
use crate::page::{Paged, queue_range};
use crate::row::{Change, Key, Kind, Row, number_key, retained_of};
use crate::state::{Batch, Effects, Rules, State, Timer};
use crate::{
    Account, Answer, Done, Due, Level, Mirror, OutboxEntry, Page, Queued, ReadError, Refusal, Restored,
    SessionKey, Step, Store,
};

/// Applies and answers every submit at once, in the caller's thread: it has no intake to fill.
pub(crate) struct Memory {
    inner: Mutex<Inner>,
    counters: Counters,
}

struct Inner {
    state: State,
    rows: BTreeMap<Key, Row>,
    clock: Clock,
    mirror: Option<Arc<dyn Mirror>>,
    closed: bool,
}

impl Memory {
    pub fn new(config: &Config, wall: WallClock) -> Memory {
        let epoch = wall();
        let inner = Inner {
            state: State::new(Rules::from(config), epoch.0),
            rows: BTreeMap::new(),
            clock: Clock::above(epoch, wall),
            mirror: None,
            closed: false,
        };
        let counters = Counters::new(inner.state.account());
        Memory { inner: Mutex::new(inner), counters }
    }

    fn apply(&self, steps: Vec<Step>) -> Answer {
        let begun = Instant::now();
        let mut inner = self.inner.lock();
        if inner.closed {
            return steps.iter().map(|_| Err(Refusal::Unavailable)).collect();
        }
        let records = steps.len();
        let mut effects = Effects::default();
        let answer = inner.decide(steps, &mut effects);
        let account = inner.state.account();
        inner.carry_out(effects);
        self.counters.committed(records, begun.elapsed(), account);
        drop(inner);
        answer
    }
}

impl Inner {
    fn decide(&mut self, steps: Vec<Step>, effects: &mut Effects) -> Answer {
        let fanout = self.state.rules().inline_fanout_max;
        let mut batch = Batch::new(&steps, self.clock.times(), true, fanout);
        let answer = steps.into_iter().map(|step| self.state.apply(step, &mut batch, effects)).collect();
        self.state.settle(effects);
        answer
    }

    fn carry_out(&mut self, effects: Effects) {
        for write in effects.writes {
            match write.change {
                Change::Fresh(row) | Change::Put(row) => drop(self.rows.insert(write.key, row)),
                Change::Delete => drop(self.rows.remove(&write.key)),
            }
        }
        if let Some(mirror) = &self.mirror {
            for change in &effects.retained {
                mirror.retained(&change.realm, &change.topic, change.position, change.message.as_ref());
            }
        }
    }

    fn due(&self, now: UnixMillis, max: usize) -> Vec<Due> {
        let row = |(at, timer, fence)| match (timer, fence) {
            (Timer::Will(key), Some(fence)) => {
                let crate::Fence { generation, .. } = fence;
                Some(Due::Will { key, generation })
            }
            (Timer::Expiry(key), Some(fence)) => Some(Due::Expiry { key, fence }),
            (Timer::Delayed(entry), _) => self.delayed(at, entry),
            _ => None,
        };
        self.state.due(now, max).into_iter().filter_map(row).collect()
    }

    fn delayed(&self, at: UnixMillis, entry: u64) -> Option<Due> {
        let Some(Row::Delayed { realm, message }) = self.rows.get(&number_key(Kind::Delayed, at.0, entry))
        else {
            return None;
        };
        let id = self.state.outbox_id(entry);
        let entry = OutboxEntry { entry, id, message: message.clone() };
        Some(Due::Delayed { realm: realm.clone(), entry })
    }
}

impl Store for Memory {
    fn submit(&self, steps: Vec<Step>, done: Done) {
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
        let inner = self.inner.lock();
        let mut paged = Paged::new(page);
        if let Some(generation) = inner.state.generation(&key) {
            for (key, row) in inner.rows.range(queue_range(generation, after)) {
                if !paged.add(key, row) {
                    break;
                }
            }
        }
        ready(Ok(paged.rows)).boxed()
    }

    fn due(&self, now: UnixMillis, max: usize) -> BoxFuture<'static, Result<Vec<Due>, ReadError>> {
        ready(Ok(self.inner.lock().due(now, max))).boxed()
    }

    fn restore(&self, mirror: Arc<dyn Mirror>, session: &mut dyn FnMut(Restored)) -> Result<(), ReadError> {
        let mut inner = self.inner.lock();
        for (key, row) in &inner.rows {
            if let Row::Retained { position, message } = row
                && let Some((realm, _)) = retained_of(key)
            {
                mirror.retained(&realm.into(), &message.topic, *position, Some(message));
            }
        }
        inner.state.restored().for_each(session);
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
