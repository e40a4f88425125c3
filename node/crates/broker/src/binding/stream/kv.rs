//! The state of keys, as their group keeps it, and what a lane has changed of it and not handed back yet.

use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use hashbrown::HashMap;
use parking_lot::Mutex;
use weir_runtime::{Away, Host};

use crate::binding::work::{Outcome, kept_key};
use crate::stream::group::{Answers, KeptError};

/// What the calls of one lane read.
pub(in crate::binding) struct Kv {
    answers: Answers,
    /// That of the record that is handled now.
    partition: AtomicU32,
    /// By partition; of the records of a lane that are handled together.
    changed: Mutex<HashMap<(u32, Bytes), Option<Bytes>>>,
}

impl Kv {
    pub(super) fn new(answers: Answers) -> Kv {
        Kv { answers, partition: AtomicU32::new(0), changed: Mutex::default() }
    }

    /// A record of this partition is handled next.
    pub(super) fn begin(&self, partition: u32) {
        self.partition.store(partition, Ordering::Relaxed);
    }

    /// What a record that is handled has changed; those behind it see that.
    pub(super) fn changed(&self, kept: &[(Bytes, Option<Bytes>)]) {
        if !kept.is_empty() {
            let changes = kept.iter().map(|(key, value)| ((self.partition(), key.clone()), value.clone()));
            self.changed.lock().extend(changes);
        }
    }

    /// The group knows by now what was changed, or it is not to be.
    pub(super) fn handed_back(&self) {
        self.changed.lock().clear();
    }

    pub fn partition(&self) -> u32 {
        self.partition.load(Ordering::Relaxed)
    }

    /// A value by its whole key; without an answer of the store the record is to be tried again.
    pub async fn kept(&self, key: &Bytes) -> Result<Option<Bytes>, Outcome> {
        let kept = self.find(key).await;
        kept.map_err(|error| Outcome::Again { after: None, reason: error.to_string().into() })
    }

    async fn find(&self, key: &Bytes) -> Result<Option<Bytes>, KeptError> {
        let partition = self.partition();
        let changed = self.changed.lock().get(&(partition, key.clone())).cloned();
        match changed {
            Some(value) => Ok(value),
            None => self.answers.kept(partition, key).await,
        }
    }
}

impl Host for Kv {
    fn read<'a>(&'a self, key: &'a [u8], name: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, Away>> {
        Box::pin(async move {
            let kept = self.find(&kept_key(key, name)).await;
            kept.map_err(|error| {
                tracing::debug!(%error, "the state of a handler cannot be read");
                Away
            })
        })
    }
}
