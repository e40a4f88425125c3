//! What waits for the next batch of a lane, in the order submitted.

use std::collections::{HashSet, VecDeque};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::EAGER;
use crate::redis::submit::{Family, Work};

/// Bounded by the room that all lanes share.
#[derive(Default)]
pub(in super::super) struct Intake {
    waiting: Mutex<Waiting>,
    bell: Notify,
}

#[derive(Default)]
struct Waiting {
    works: VecDeque<Work>,
    /// Those that wait at a gate, and behind them what is for the same sessions and partitions.
    held: VecDeque<Work>,
    closed: bool,
}

impl Intake {
    /// Puts work in line, or hands it back when the lane is closed.
    pub fn push(&self, work: Work) -> Result<(), Work> {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return Err(work);
        }
        waiting.works.push_back(work);
        // In between, the lane waits for an answer anyway.
        let matters = waiting.works.len() == 1 || waiting.works.len() == EAGER;
        drop(waiting);
        if matters {
            self.bell.notify_one();
        }
        Ok(())
    }

    /// Something may have changed.
    pub fn ring(&self) {
        self.bell.notify_one();
    }

    pub async fn rung(&self) {
        self.bell.notified().await;
    }

    /// How many works are in line.
    pub fn len(&self) -> usize {
        self.waiting.lock().works.len()
    }

    /// Up to so many ops and bytes; a larger work goes alone.
    pub fn take(&self, ops_max: usize, bytes_max: usize) -> Vec<Work> {
        let mut waiting = self.waiting.lock();
        let mut batch = Taking { works: Vec::new(), ops: 0, bytes: 0, ops_max, bytes_max };
        let mut blocked = HashSet::new();
        for work in std::mem::take(&mut waiting.held) {
            waiting.take_or_hold(work, &mut batch, &mut blocked);
        }
        while !batch.is_full() {
            let Some(work) = waiting.works.pop_front() else { break };
            waiting.take_or_hold(work, &mut batch, &mut blocked);
        }
        batch.works
    }

    /// Puts works that were taken, and certainly not done, in front of all others.
    pub fn give_back(&self, works: Vec<Work>) {
        let mut waiting = self.waiting.lock();
        works.into_iter().rev().for_each(|work| waiting.works.push_front(work));
    }

    /// Lets nothing more in; what waits is still taken.
    pub fn close(&self) {
        self.waiting.lock().closed = true;
        self.bell.notify_one();
    }

    pub fn is_drained(&self) -> bool {
        let waiting = self.waiting.lock();
        waiting.closed && waiting.works.is_empty() && waiting.held.is_empty()
    }
}

/// A batch in the making.
struct Taking {
    works: Vec<Work>,
    ops: usize,
    bytes: usize,
    ops_max: usize,
    bytes_max: usize,
}

impl Taking {
    fn is_full(&self) -> bool {
        self.ops >= self.ops_max || self.bytes >= self.bytes_max
    }
}

impl Waiting {
    fn take_or_hold(&mut self, mut work: Work, batch: &mut Taking, blocked: &mut HashSet<Family>) {
        let must_wait = work.must_wait()
            || (!blocked.is_empty() && work.families().any(|family| blocked.contains(&family)));
        if must_wait || batch.is_full() {
            blocked.extend(work.families());
            self.held.push_back(work);
            return;
        }
        work.pass_gate();
        if !work.is_empty() {
            batch.ops += work.ops();
            batch.bytes += work.bytes();
            batch.works.push(work);
        }
    }
}
