//! Exchanges: a topic's retained message and its guard change together, if both are as they were seen.

use std::sync::Arc;

use smallvec::SmallVec;
use weir_model::{Position, Topic};

use super::cell::Cell;
use super::{Batch, Effects, State};
use crate::contract::guard_value;
use crate::row::retained_key;
use crate::{Exchange, Expect, GUARD_BYTES_MAX, Outcome, Refusal, Table, TableOp, guard_key};

impl State {
    /// The guard of a topic.
    pub(super) fn guard_of(&self, realm: &str, topic: &str) -> Option<Cell> {
        if self.guards == 0 {
            return None;
        }
        self.cells.get(&(Table::Guards, Arc::from(guard_key(realm, topic)))).copied()
    }

    pub(super) fn exchange(
        &mut self,
        realm: Arc<str>,
        topic: Topic,
        exchange: Exchange,
        batch: &Batch,
        out: &mut Effects,
    ) -> Result<Outcome, Refusal> {
        let key = retained_key(&realm, &topic);
        let guard = self.guard_of(&realm, &topic).map(|cell| cell.version);
        if guard != exchange.guard || !self.retained.stands_at(&key, exchange.seen) {
            return Ok(Outcome::Moved);
        }
        if exchange.then.iter().flatten().any(|guard| guard.len() > GUARD_BYTES_MAX) {
            return Err(Refusal::TooLarge);
        }
        let grows = exchange.values.last().is_some_and(Option::is_some)
            || exchange.then.as_ref().is_some_and(Option::is_some);
        if grows && !batch.may_grow {
            return Err(Refusal::DiskFull);
        }
        if exchange.values.iter().flatten().any(|message| !self.may_retain(&key, message)) {
            return Err(Refusal::RetainedFull);
        }
        let mut positions: SmallVec<[Position; 1]> = SmallVec::new();
        for message in exchange.values {
            let place = (realm.clone(), topic.clone());
            positions.push(self.set_retained(key.clone(), place, message, batch.now, out));
        }
        let op = match exchange.then {
            None => return Ok(Outcome::Exchanged { positions, version: 0 }),
            Some(None) => TableOp::Delete { expect: Expect::Anything },
            Some(Some(guard)) => {
                TableOp::Put { value: guard_value(&positions, &guard), expect: Expect::Anything }
            }
        };
        let key = guard_key(&realm, &topic).into();
        match self.apply_table(Table::Guards, key, op, batch, out)? {
            Outcome::Put { version } => Ok(Outcome::Exchanged { positions, version }),
            _ => Ok(Outcome::Moved),
        }
    }
}
