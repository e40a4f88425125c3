//! Dead letters: records that were delivered too often, in a stream of their own, with why and where they are from.

use std::sync::Arc;

use metrics::counter;
use smallvec::smallvec;
use weir_model::{Message, MessageId, Properties};
use weir_store::{Append, Outcome, PartitionKey, PartitionOp, Refusal, Step};
use xxhash_rust::xxh3::xxh3_64;

use super::catalog::{Counts, GroupKey};
use super::hub::Hub;
use super::hub::debts::Owed;
use super::place::DeadRecord;
use crate::broker::Broker;
use crate::clock;
use crate::stream::key::partition_of;

/// Milliseconds until a dead letter that was refused is tried again.
pub(super) const AGAIN_MS: u64 = 1000;

/// Names of the user properties that say what became of a record.
pub const REASON: &str = "weir-dead-reason";
pub const ERROR: &str = "weir-dead-error";
pub const DELIVERIES: &str = "weir-dead-deliveries";
pub const STREAM: &str = "weir-dead-stream";
pub const GROUP: &str = "weir-dead-group";
pub const POSITION: &str = "weir-dead-position";
const PREFIX: &str = "weir-dead-";

/// The `slot` of ids of dead letters, and of what is published again.
const DEAD_SLOT: u32 = u32::MAX - 1;
const REDRIVEN_SLOT: u32 = u32::MAX - 2;

/// Dead letters of one partition.
pub(super) struct Letters {
    pub key: PartitionKey,
    pub fence: u64,
    pub records: Vec<DeadRecord>,
}

/// Appends dead letters to their stream, and tells the hub which are kept.
pub(super) fn bury(hub: &Arc<Hub>, broker: &Broker, stream: Option<Arc<str>>, letters: Letters) {
    let (hub, broker) = (hub.clone(), broker.clone());
    let runtime = broker.runtime().clone();
    runtime.spawn(async move {
        let kept = match stream {
            Some(stream) => keep(&hub, &broker, &stream, &letters).await,
            // It has none any more.
            None => letters.records.iter().map(|_| true).collect(),
        };
        let lost = kept.iter().filter(|kept| !**kept).count();
        Counts::add(&hub.counts.dead_lettered, "dead_lettered", (kept.len() - lost) as u64);
        if lost > 0 {
            counter!("weir_broker_group_dead_letters_refused_total").increment(lost as u64);
            tracing::warn!(group = %hub.key.group, stream = %hub.key.stream, records = lost,
                "dead letters are not kept: they are tried again");
        }
        hub.buried(&letters, &kept, clock::now_ms());
    });
}

async fn keep(hub: &Hub, broker: &Broker, stream: &str, letters: &Letters) -> Vec<bool> {
    let Some(stream) = broker.streams().get(&hub.key.realm, stream) else {
        return letters.records.iter().map(|_| false).collect();
    };
    let step = |dead: &DeadRecord| {
        let message = Arc::new(letter(&letters.key, &hub.key.group, dead));
        let key = dead.record.key.clone();
        let partition = partition_of(&key, &message.topic, stream.definition.partitions);
        let append = Append { id: Some(id(&hub.key, &letters.key, dead)), key, message };
        Step::Partition { key: stream.partition(partition), ops: smallvec![PartitionOp::Append(append)] }
    };
    let answer = broker.submit(letters.records.iter().map(step).collect()).await;
    let is_kept = |place: usize| {
        let outcomes = answer.get(place).and_then(|step| step.as_ref().ok());
        matches!(outcomes.and_then(|outcomes| outcomes.first()), Some(Outcome::Appended { .. }))
    };
    (0..letters.records.len()).map(is_kept).collect()
}

/// A message that a record led to, and that was refused where it goes.
pub(super) struct LostOutput {
    pub owed: Owed,
    pub tries: u32,
    pub why: Refusal,
}

/// Appends such a message to the dead letters; false when they do not take it.
pub(super) async fn keep_output(
    broker: &Broker,
    group: &GroupKey,
    from: &PartitionKey,
    stream: &str,
    lost: &LostOutput,
) -> bool {
    let Some(stream) = broker.streams().get(&group.realm, stream) else { return false };
    let mut message = Message { retain: false, expires_at: None, ..alive(&lost.owed.message) };
    let mut properties = message.properties.take().unwrap_or_default();
    let say = |name: &str, value: String| (name.into(), value.into_boxed_str());
    properties.user.extend([
        say(REASON, "refused".to_owned()),
        say(ERROR, lost.why.to_string()),
        say(DELIVERIES, lost.tries.to_string()),
        say(STREAM, from.stream.to_string()),
        say(GROUP, group.group.to_string()),
    ]);
    message.properties = Some(properties);
    let partition = partition_of(&[], &message.topic, stream.definition.partitions);
    let id = MessageId { slot: DEAD_SLOT, ..lost.owed.id };
    let append = Append { id: Some(id), key: Default::default(), message: Arc::new(message) };
    let ops = smallvec![PartitionOp::Append(append)];
    let step = Step::Partition { key: stream.partition(partition), ops };
    let answer = broker.submit(vec![step]).await;
    let outcomes = answer.first().and_then(|step| step.as_ref().ok());
    let is_kept = matches!(outcomes.and_then(|outcomes| outcomes.first()), Some(Outcome::Appended { .. }));
    if !is_kept {
        counter!("weir_broker_group_dead_letters_refused_total").increment(1);
    }
    is_kept
}

/// The same at every try.
fn id(group: &GroupKey, key: &PartitionKey, dead: &DeadRecord) -> MessageId {
    let of =
        format!("{}/{}/{}/{}", group.row_key(), key.generation, key.partition, dead.record.mark.position);
    let source = xxh3_64(format!("{}/{}", group.row_key(), key.partition).as_bytes());
    MessageId { source, slot: DEAD_SLOT, count: xxh3_64(of.as_bytes()) }
}

/// The id under which a dead letter is published again.
pub(super) fn redriven_id(key: &PartitionKey, record: &weir_store::Record) -> MessageId {
    let of = format!("{}/{}/{}/{}", key.realm, key.stream, key.partition, record.mark.position);
    let source = xxh3_64(key.stream.as_bytes());
    MessageId { source, slot: REDRIVEN_SLOT, count: xxh3_64(of.as_bytes()) }
}

/// The record's message, with what became of it. It does not expire any more.
fn letter(key: &PartitionKey, group: &str, dead: &DeadRecord) -> Message {
    let message = alive(&dead.record.message);
    let mut properties = message.properties.unwrap_or_default();
    let say = |name: &str, value: String| (name.into(), value.into_boxed_str());
    properties.user.extend([
        say(REASON, dead.failure.as_str().to_owned()),
        say(DELIVERIES, dead.deliveries.to_string()),
        say(STREAM, key.stream.to_string()),
        say(GROUP, group.to_owned()),
        say(POSITION, dead.record.mark.position.to_string()),
    ]);
    properties.user.extend(dead.reason.as_deref().map(|reason| say(ERROR, reason.to_owned())));
    Message { properties: Some(properties), retain: false, expires_at: None, ..message }
}

/// The message without what a dead letter says of it.
pub(super) fn alive(message: &Message) -> Message {
    let mut message = message.clone();
    if let Some(properties) = &mut message.properties {
        properties.user.retain(|(name, _)| !name.starts_with(PREFIX));
        if **properties == Properties::default() {
            message.properties = None;
        }
    }
    message
}
