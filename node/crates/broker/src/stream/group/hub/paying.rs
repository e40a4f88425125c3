//! Publishing what a group owes: in order, after it is stored, and again after a crash.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use metrics::counter;
use weir_runtime::Level;
use weir_store::{PartitionKey, Refusal};

use super::debts::Owed;
use super::{Hub, State};
use crate::broker::Broker;
use crate::clock;
use crate::stream::group::catalog::Counts;
use crate::stream::group::dead::{self, LostOutput};
use crate::stream::group::effects::Kept;
use crate::stream::group::fault;
use crate::stream::group::place::NotYours;

/// Milliseconds until something is published again that was refused, or read again.
const AGAIN_MS: u64 = 200;

/// Messages of the owner before that are read at a time.
const RESTORED_AT_ONCE: usize = 500;

/// What is to be done for one partition's debts.
pub(in super::super) enum Payment {
    /// Find what the owner before has left after this entry.
    Restore {
        key: PartitionKey,
        fence: u64,
        after: u64,
    },
    Publish {
        key: PartitionKey,
        fence: u64,
        owed: Vec<Owed>,
    },
    /// Keep as a dead letter what was refused so often.
    GiveUp {
        key: PartitionKey,
        fence: u64,
        lost: LostOutput,
    },
}

/// Whether where a message goes refuses it and would do so again. A store that is away or full is waited for.
fn is_lasting(refusal: Refusal) -> bool {
    match refusal {
        Refusal::NotOwner | Refusal::QueueRefuses | Refusal::RetainedFull | Refusal::TooLarge => true,
        Refusal::Fenced
        | Refusal::DiskFull
        | Refusal::StoreFull
        | Refusal::QueuesFull
        | Refusal::Unavailable
        | Refusal::Guarded
        | Refusal::Unknown => false,
    }
}

impl State {
    /// What can be done now; it counts as begun.
    pub(super) fn payments(&mut self, now: u64) -> Vec<Payment> {
        if !self.row.definition.is_handler {
            return Vec::new();
        }
        let mut payments = Vec::new();
        for post in self.posts.values_mut() {
            let (key, fence) = (post.key.clone(), post.fence);
            if post.debts.wants_restoring(now) {
                post.debts.is_restoring = true;
                payments.push(Payment::Restore { key, fence, after: post.debts.restored_to() });
            } else if let Some(owed) = post.debts.publish(now) {
                payments.push(Payment::Publish { key, fence, owed });
            } else if let Some((owed, tries, why)) = post.debts.give_up(now) {
                payments.push(Payment::GiveUp { key, fence, lost: LostOutput { owed, tries, why } });
            }
        }
        payments
    }

    fn debtor(&mut self, key: &PartitionKey, fence: u64) -> Option<&mut super::Post> {
        self.posts.get_mut(&key.partition).filter(|post| post.key == *key && post.fence == fence)
    }
}

impl Hub {
    pub(super) fn pay(self: &Arc<Self>, broker: &Broker, payments: Vec<Payment>) {
        for payment in payments {
            let (hub, broker) = (self.clone(), broker.clone());
            let runtime = broker.runtime().clone();
            runtime.spawn(async move {
                match payment {
                    Payment::Restore { key, fence, after } => hub.find_owed(&broker, key, fence, after).await,
                    Payment::Publish { key, fence, owed } => hub.publish(&broker, key, fence, owed).await,
                    Payment::GiveUp { key, fence, lost } => hub.give_up(&broker, key, fence, lost).await,
                }
                hub.moved.notify_waiters();
                hub.ring();
            });
        }
    }

    async fn find_owed(&self, broker: &Broker, key: PartitionKey, fence: u64, after: u64) {
        let found = broker.store().owed(&key, &self.key.group, after, RESTORED_AT_ONCE).await;
        let now = clock::now_ms();
        let mut state = self.state.lock();
        let Some(post) = state.debtor(&key, fence) else { return };
        post.debts.is_restoring = false;
        match found {
            Ok(found) => {
                let is_all = found.len() < RESTORED_AT_ONCE;
                let owed = |(entry, id, message)| Owed { entry, id, message };
                post.debts.restored(found.into_iter().map(owed).collect(), is_all);
            }
            Err(error) => {
                tracing::warn!(group = %self.key.group, stream = %self.key.stream, partition = key.partition,
                    %error, "what a handler's binding owes cannot be read");
                post.debts.publish_at = now + AGAIN_MS;
            }
        }
    }

    async fn publish(&self, broker: &Broker, key: PartitionKey, fence: u64, owed: Vec<Owed>) {
        let realm = broker.realm_or_new(&key.realm);
        let owed: Vec<_> = owed.into_iter().map(|owed| (owed.id, owed.message)).collect();
        let (published, refusal) = broker.publish_owed_all(&realm, &owed).await;
        fault::reach("outputs.published");
        counter!("weir_broker_binding_outputs_total", "result" => "published").increment(published as u64);
        let now = clock::now_ms();
        let mut state = self.state.lock();
        let refused = refusal.map(|refusal| (refusal, state.row.definition.rules()));
        let Some(post) = state.debtor(&key, fence) else { return };
        post.debts.published(published);
        post.is_awaited |= post.debts.has_owed();
        if let Some((refusal, rules)) = refused {
            counter!("weir_broker_binding_outputs_total", "result" => "refused").increment(1);
            match is_lasting(refusal) {
                true => post.debts.refused(refusal, rules.deliveries_max, now, |tries| rules.backoff(tries)),
                false => post.debts.publish_at = now + AGAIN_MS,
            }
        }
        post.touched(now);
    }

    /// What is given up is a dead letter, or gone if there is no stream for those; what is behind it goes on.
    async fn give_up(&self, broker: &Broker, key: PartitionKey, fence: u64, lost: LostOutput) {
        let stream = self.state.lock().row.definition.dead_letter.clone();
        let is_over = match &stream {
            Some(stream) => dead::keep_output(broker, &self.key, &key, stream, &lost).await,
            None => true,
        };
        let now = clock::now_ms();
        let mut state = self.state.lock();
        let Some(post) = state.debtor(&key, fence) else { return };
        if !is_over {
            return post.debts.not_buried(now + dead::AGAIN_MS);
        }
        post.debts.published(1);
        post.touched(now);
        drop(state);
        let (count, event) = match stream {
            Some(_) => (&self.counts.dead_lettered, "dead_lettered"),
            None => (&self.counts.dropped, "dropped"),
        };
        Counts::add(count, event, 1);
        counter!("weir_broker_binding_outputs_total", "result" => "given_up").increment(1);
        let text =
            format!("refused: an event to `{}`, {} times: {}", lost.owed.message.topic, lost.tries, lost.why);
        broker.tell_binding(&self.key.realm, &self.key.group, Level::Error, text);
    }

    /// What the group keeps under a key in a partition that this node serves.
    pub async fn kept(
        &self,
        broker: &Broker,
        partition: u32,
        key: &Bytes,
    ) -> Result<Option<Bytes>, KeptError> {
        let (at, fence) = {
            let state = self.state.lock();
            let post = state.posts.get(&partition).ok_or(KeptError::NotYours(NotYours::Elsewhere))?;
            if let Kept::Known(value) = post.debts.kept(key) {
                return Ok(value);
            }
            (post.key.clone(), post.fence)
        };
        let value = self.stored_value(broker, (&at, fence), key).await?;
        let mut state = self.state.lock();
        let post = state.debtor(&at, fence).ok_or(KeptError::NotYours(NotYours::Elsewhere))?;
        post.debts.found(key.clone(), value);
        match post.debts.kept(key) {
            Kept::Known(value) => Ok(value),
            Kept::Unknown => Ok(None),
        }
    }

    /// Asks the store until it answers, for as long as the partition is this node's: that it is away is no failure of a
    /// handler's.
    async fn stored_value(
        &self,
        broker: &Broker,
        (at, fence): (&PartitionKey, u64),
        key: &Bytes,
    ) -> Result<Option<Bytes>, KeptError> {
        loop {
            let found = broker.store().kept(at, &self.key.group, std::slice::from_ref(key)).await;
            match found {
                Ok(found) => return Ok(found.into_iter().next().flatten()),
                Err(refusal) if !matches!(refusal, Refusal::Unavailable | Refusal::Unknown) => {
                    return Err(refusal.into());
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(AGAIN_MS)).await,
            }
            if self.state.lock().debtor(at, fence).is_none() {
                return Err(NotYours::Elsewhere.into());
            }
        }
    }

    /// Waits until finished records do not pile up before the store or before those who get what is owed.
    pub async fn settles(&self, partition: u32) {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            if self.state.lock().posts.get(&partition).is_none_or(|post| post.debts.has_room()) {
                return;
            }
            moved.await;
        }
    }
}

/// Why a value that a group keeps is not known.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    #[error(transparent)]
    NotYours(#[from] NotYours),
    #[error(transparent)]
    Store(#[from] Refusal),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_away_or_full_has_refused_nobody_for_good() {
        let waits = [Refusal::Unavailable, Refusal::Unknown, Refusal::DiskFull, Refusal::StoreFull];
        assert!(!waits.into_iter().any(is_lasting));
        assert!(
            [Refusal::QueueRefuses, Refusal::RetainedFull, Refusal::TooLarge].into_iter().all(is_lasting)
        );
    }
}
