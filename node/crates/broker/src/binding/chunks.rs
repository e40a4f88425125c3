//! Where programs lie in the store: each in a partition of its own, in chunks.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use smallvec::smallvec;
use weir_model::{Message, MessageId, Qos, Topic};
use weir_store::{Append, Page, PartitionKey, PartitionOp, ReadError, Refusal, Retention, Start, Step};

use crate::broker::Broker;

/// What the `stream` of a program's partition begins with; its digest follows. No stream can be called so.
const PREFIX: &str = "$program.";

/// Bytes of a program in one record.
const CHUNK_BYTES: usize = 256 << 10;

const PAGE: Page = Page { rows_max: 16, bytes_max: 4 << 20 };

/// The `slot` of ids of chunks.
const CHUNK_SLOT: u32 = u32::MAX - 4;

fn partition(realm: &Arc<str>, digest: &str, place: u64) -> PartitionKey {
    PartitionKey {
        realm: realm.clone(),
        stream: format!("{PREFIX}{digest}").into(),
        generation: place,
        partition: 0,
    }
}

impl Broker {
    /// Keeps a program's bytes.
    pub(super) async fn keep_program(
        &self,
        realm: &Arc<str>,
        digest: &str,
        place: u64,
        bytes: &Bytes,
    ) -> Result<(), Refusal> {
        let key = partition(realm, digest, place);
        let configure = PartitionOp::Configure { retention: Retention::default() };
        self.one_step(&key, configure).await?;
        let topic = Topic::new("$program").map_err(|_| Refusal::TooLarge)?;
        for (count, at) in (0..bytes.len()).step_by(CHUNK_BYTES).enumerate() {
            let payload = bytes.slice(at..bytes.len().min(at + CHUNK_BYTES));
            let message = Message {
                topic: topic.clone(),
                payload,
                qos: Qos::AtLeastOnce,
                retain: false,
                expires_at: None,
                properties: None,
            };
            let id = Some(MessageId { source: place, slot: CHUNK_SLOT, count: count as u64 });
            let append = Append { id, key: Bytes::new(), message: Arc::new(message) };
            self.one_step(&key, PartitionOp::Append(append)).await?;
        }
        Ok(())
    }

    /// Reads a program's bytes.
    pub(super) async fn read_program(
        &self,
        realm: &Arc<str>,
        digest: &str,
        place: u64,
        bytes_max: u64,
    ) -> Result<Bytes, ReadError> {
        let key = partition(realm, digest, place);
        let (mut bytes, mut start) = (BytesMut::new(), Start::Earliest);
        loop {
            let page = self.store().read_stream(key.clone(), start, PAGE).await?;
            let Some(last) = page.records.last() else { return Ok(bytes.freeze()) };
            start = Start::After(last.mark.position);
            page.records.iter().for_each(|record| bytes.extend_from_slice(&record.message.payload));
            if bytes.len() as u64 >= bytes_max {
                return Ok(bytes.freeze());
            }
        }
    }

    /// Lets a program's bytes go.
    pub(super) async fn drop_program(
        &self,
        realm: &Arc<str>,
        digest: &str,
        place: u64,
    ) -> Result<(), Refusal> {
        self.one_step(&partition(realm, digest, place), PartitionOp::Drop).await
    }

    async fn one_step(&self, key: &PartitionKey, op: PartitionOp) -> Result<(), Refusal> {
        let step = Step::Partition { key: key.clone(), ops: smallvec![op] };
        self.submit(vec![step]).await.pop().unwrap_or(Err(Refusal::Unknown)).map(drop)
    }
}
