//! Making, altering and ending streams.

use std::sync::Arc;

use smallvec::{SmallVec, smallvec};
use weir_store::{
    Expect, Outcome, PartitionInfo, PartitionKey, PartitionOp, ReadError, Refusal, Step, Table, TableOp,
};

use super::Stream;
use super::catalog::row_key;
use super::definition::{Definition, EARLIER_MAX, Earlier, OWN_PREFIX, Spec, SpecError, check_name};
use super::history;
use crate::broker::Broker;
use crate::clock;

/// Why a stream was not made, altered or ended. Nothing has changed then, except after [`StreamError::Store`] with an
/// unknown outcome.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error("there is no stream `{name}`")]
    Unknown { name: Arc<str> },
    #[error("the stream `{name}` is a binding's or a realm's own, and lives as long as that")]
    Own { name: Arc<str> },
    #[error("there is a stream `{name}` already, and it is another")]
    Exists { name: Arc<str> },
    #[error("somebody else has changed the stream `{name}` meanwhile: look again")]
    Changed { name: Arc<str> },
    #[error("there are {max} streams, as many as `broker.streams_max` allows")]
    TooMany { max: usize },
    #[error("`{field}` of a stream cannot be altered to that: {why}")]
    Incompatible { field: &'static str, why: &'static str },
    #[error("the store did not take it: {0}")]
    Store(#[from] Refusal),
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A stream with what lies in it.
pub struct StreamInfo {
    pub stream: Arc<Stream>,
    /// Of every generation that may hold records, oldest first: the generation, and its partitions in order.
    pub generations: Vec<(u64, Vec<PartitionInfo>)>,
}

impl Broker {
    /// Makes a stream. One that is there as asked already is returned: whoever asks twice has made it once.
    pub async fn create_stream(
        &self,
        realm: &Arc<str>,
        name: &str,
        spec: Spec,
    ) -> Result<Arc<Stream>, StreamError> {
        check_name(name)?;
        self.make_stream(realm, name, spec).await
    }

    /// The same, whatever its name: a binding may have one of its own.
    pub(crate) async fn make_stream(
        &self,
        realm: &Arc<str>,
        name: &str,
        spec: Spec,
    ) -> Result<Arc<Stream>, StreamError> {
        spec.check()?;
        let max = self.config().streams_max;
        if max > 0 && self.streams().len() >= max && self.streams().get(realm, name).is_none() {
            return Err(StreamError::TooMany { max });
        }
        let definition = spec.clone().define(clock::unix());
        match self.put_stream(realm, name, &definition, Expect::Absent).await {
            Err(StreamError::Changed { name }) => {
                // Another node's, perhaps, that this one has not heard of.
                self.store().caught_up().await?;
                let found = self.streams().get(realm, &name);
                match found.filter(|found| found.definition.spec() == spec) {
                    Some(found) => {
                        self.configure(&found).await?;
                        Ok(found)
                    }
                    None => Err(StreamError::Exists { name }),
                }
            }
            made => made,
        }
    }

    /// Changes what a stream captures and keeps. With another number of partitions, or another key, it goes on in a new
    /// generation, which is read when the one before has been. `version`: the one it was asked for; 0 = any.
    pub async fn alter_stream(
        &self,
        realm: &Arc<str>,
        name: &str,
        spec: Spec,
        version: u64,
    ) -> Result<Arc<Stream>, StreamError> {
        spec.check()?;
        check_is_no_bindings(name)?;
        self.change_stream(realm, name, spec, version).await
    }

    /// The same, also of one that the broker has of its own.
    pub(super) async fn change_stream(
        &self,
        realm: &Arc<str>,
        name: &str,
        spec: Spec,
        version: u64,
    ) -> Result<Arc<Stream>, StreamError> {
        let before = self.stream(realm, name)?;
        if version != 0 && before.version != version {
            return Err(StreamError::Changed { name: before.name.clone() });
        }
        let mut definition = before.definition.clone();
        let is_compacted = (definition.retention.is_compacted, spec.retention.is_compacted);
        if is_compacted == (false, true) {
            let why = "records with the same key are there already; make another stream";
            return Err(StreamError::Incompatible { field: "retention.is_compacted", why });
        }
        let goes_on_elsewhere = spec.partitions != definition.partitions || spec.key != definition.key;
        definition.generation = before.generation();
        if goes_on_elsewhere {
            if definition.earlier.len() >= EARLIER_MAX {
                let why = "earlier generations are still being read";
                return Err(StreamError::Incompatible { field: "partitions", why });
            }
            let (generation, partitions) = (before.generation(), definition.partitions);
            definition.earlier.push(Earlier { generation, partitions });
            definition.generation = 0;
        }
        let Spec { filters, partitions, key, retention } = spec;
        definition = Definition { filters, partitions, key, retention, ..definition };
        self.put_stream(realm, name, &definition, Expect::Version(before.version)).await
    }

    /// Ends a stream, with its records and groups.
    pub async fn delete_stream(&self, realm: &Arc<str>, name: &str) -> Result<(), StreamError> {
        check_is_no_bindings(name)?;
        self.end_stream(realm, name).await
    }

    /// The same, also of one that a binding has of its own.
    pub(crate) async fn end_stream(&self, realm: &Arc<str>, name: &str) -> Result<(), StreamError> {
        let stream = self.stream(realm, name)?;
        let op = TableOp::Delete { expect: Expect::Version(stream.version) };
        self.put_row(&stream.realm, &stream.name, op).await?;
        if let Err(error) = self.delete_groups_of(&stream.realm, &stream.name).await {
            tracing::warn!(stream = %stream.name, %error, "the groups of a stream that is deleted stay");
        }
        self.drop_generations(&stream, stream.generations().collect()).await
    }

    /// Lets go a generation that everybody has read.
    pub async fn drop_generation(&self, stream: &Stream, generation: u64) -> Result<(), StreamError> {
        let mut definition = stream.definition.clone();
        let Some(at) = definition.earlier.iter().position(|earlier| earlier.generation == generation) else {
            return Ok(());
        };
        let gone = definition.earlier.remove(at);
        definition.generation = stream.generation();
        self.put_stream(&stream.realm, &stream.name, &definition, Expect::Version(stream.version)).await?;
        self.drop_generations(stream, vec![(gone.generation, gone.partitions)]).await
    }

    /// The stream of that name.
    pub fn stream(&self, realm: &Arc<str>, name: &str) -> Result<Arc<Stream>, StreamError> {
        self.streams().get(realm, name).ok_or_else(|| StreamError::Unknown { name: name.into() })
    }

    /// A stream and what its partitions say of themselves.
    pub async fn stream_info(&self, realm: &Arc<str>, name: &str) -> Result<StreamInfo, StreamError> {
        let stream = self.stream(realm, name)?;
        let mut generations = Vec::new();
        for (generation, partitions) in stream.generations() {
            let mut infos = Vec::new();
            for partition in 0..partitions {
                let key = stream.partition_of(generation, partition);
                infos.push(self.store().partition(key).await?.unwrap_or_default());
            }
            generations.push((generation, infos));
        }
        Ok(StreamInfo { stream, generations })
    }

    /// Makes the partitions of every stream, or gives those that are there what they are to keep: a node that was to do
    /// it may have died, and a store that was rolled back may have forgotten.
    pub(crate) fn configure_streams_later(&self) {
        let keeps_history = self.config().realm.iter().any(|rules| rules.history_records() > 0);
        if !self.streams().is_empty() || keeps_history {
            let broker = self.clone();
            self.runtime().spawn(async move {
                broker.configure_streams().await;
                broker.keep_histories().await;
            });
        }
    }

    async fn configure_streams(&self) {
        for realm in self.realms() {
            for stream in self.streams().all(&realm.name) {
                if let Err(error) = self.configure(&stream).await {
                    tracing::warn!(stream = %stream.name, %error, "the partitions of a stream cannot be made");
                }
            }
        }
    }

    async fn put_stream(
        &self,
        realm: &Arc<str>,
        name: &str,
        definition: &Definition,
        expect: Expect,
    ) -> Result<Arc<Stream>, StreamError> {
        let value = serde_json::to_vec(definition).map_err(|_| StreamError::Store(Refusal::Unavailable))?;
        self.put_row(realm, name, TableOp::Put { value: value.into(), expect }).await?;
        // The mirror heard of it before the answer.
        let stream = self.stream(realm, name)?;
        self.configure(&stream).await?;
        Ok(stream)
    }

    async fn put_row(&self, realm: &str, name: &str, op: TableOp) -> Result<(), StreamError> {
        let step = Step::Table { table: Table::Streams, key: row_key(realm, name), op };
        let outcome = self.submit(vec![step]).await.pop().unwrap_or(Err(Refusal::Unknown))?;
        match outcome.first() {
            Some(Outcome::Put { .. }) => Ok(()),
            Some(Outcome::Differs { .. }) => Err(StreamError::Changed { name: name.into() }),
            _ => Err(Refusal::Unknown.into()),
        }
    }

    /// Makes the partitions of a stream, and gives those that are there what they are to keep. Earlier ones take no more
    /// records once those that follow them do.
    pub(super) async fn configure(&self, stream: &Stream) -> Result<(), StreamError> {
        let retention = stream.definition.retention;
        let configure = PartitionOp::Configure { retention };
        let newest = |partition| (stream.partition(partition), smallvec![configure.clone()]);
        self.partition_ops((0..stream.definition.partitions).map(newest)).await?;
        let earlier = stream.definition.earlier.iter().flat_map(|earlier| {
            (0..earlier.partitions).map(|partition| stream.partition_of(earlier.generation, partition))
        });
        let ops = smallvec![configure.clone(), PartitionOp::Seal];
        self.partition_ops(earlier.map(|key| (key, ops.clone()))).await
    }

    async fn drop_generations(
        &self,
        stream: &Stream,
        generations: Vec<(u64, u32)>,
    ) -> Result<(), StreamError> {
        for (generation, partitions) in generations {
            let op = |partition| (stream.partition_of(generation, partition), smallvec![PartitionOp::Drop]);
            self.partition_ops((0..partitions).map(op)).await?;
        }
        Ok(())
    }

    async fn partition_ops(
        &self,
        ops: impl Iterator<Item = (PartitionKey, SmallVec<[PartitionOp; 1]>)>,
    ) -> Result<(), StreamError> {
        let steps: Vec<Step> = ops.map(|(key, ops)| Step::Partition { key, ops }).collect();
        if steps.is_empty() {
            return Ok(());
        }
        match self.submit(steps).await.into_iter().find_map(Result::err) {
            Some(refusal) => Err(refusal.into()),
            None => Ok(()),
        }
    }
}

fn check_is_no_bindings(name: &str) -> Result<(), StreamError> {
    if name.starts_with(OWN_PREFIX) || name == history::NAME {
        Err(StreamError::Own { name: name.into() })
    } else {
        Ok(())
    }
}
