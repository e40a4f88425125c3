//! Capture: the records that a message owes to streams, appended by the publish that brings it.

use std::sync::Arc;

use smallvec::smallvec;
use weir_model::{Message, MessageId};
use weir_store::{Answer, Append, Level, Outcome, PartitionOp, Refusal, Step};

use super::Stream;
use super::key::partition_of;
use crate::broker::Broker;

/// One record for one stream.
pub fn step(stream: &Stream, message: &Arc<Message>, client_id: Option<&str>, id: Option<MessageId>) -> Step {
    let key = stream.definition.key.of(message, client_id);
    let partition = partition_of(&key, &message.topic, stream.definition.partitions);
    let append = Append { id, key, message: message.clone() };
    Step::Partition { key: stream.partition(partition), ops: smallvec![PartitionOp::Append(append)] }
}

/// What a message owes to streams whose partitions did not take it: it is offered to those that have taken their place,
/// once this node knows what every other has done before.
pub struct Again {
    pub message: Arc<Message>,
    pub client_id: Option<Arc<str>>,
    pub id: Option<MessageId>,
    /// That of the publish, if it asked for another than the store's own.
    pub level: Option<Level>,
    pub streams: Vec<Arc<Stream>>,
}

impl Again {
    /// One answer per stream; [`Outcome::Gone`] from those that are gone, or capture the topic no more.
    pub async fn submit(self, broker: &Broker) -> Answer {
        if broker.store().caught_up().await.is_err() {
            return self.streams.iter().map(|_| Err(Refusal::Unavailable)).collect();
        }
        let successors: Vec<Option<Arc<Stream>>> =
            self.streams.iter().map(|stream| self.successor(broker, stream)).collect();
        let step = |stream: &Arc<Stream>| step(stream, &self.message, self.client_id.as_deref(), self.id);
        let steps: Vec<Step> = successors.iter().flatten().map(step).collect();
        let answer = if steps.is_empty() { Vec::new() } else { broker.submit_at(steps, self.level).await };
        let mut answers = answer.into_iter();
        let gone = || Ok(smallvec![Outcome::Gone]);
        let of = |successor: &Option<Arc<Stream>>| match successor {
            Some(_) => answers.next().unwrap_or(Err(Refusal::Unknown)),
            None => gone(),
        };
        successors.iter().map(of).collect()
    }

    /// The stream as it is now, if it has another generation and still wants the message.
    fn successor(&self, broker: &Broker, stream: &Stream) -> Option<Arc<Stream>> {
        let now = broker.streams().get(&stream.realm, &stream.name)?;
        let wants = now.definition.filters.iter().any(|filter| filter.matches(&self.message.topic));
        (wants && now.generation() != stream.generation()).then_some(now)
    }
}
