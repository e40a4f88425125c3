//! A member of a group: it asks for records, and answers for each.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use weir_store::{Mark, Record};

use super::effects::Effects;
use super::hub::paying::KeptError;
use super::hub::{Hub, Verb};
use super::place::NotYours;
use crate::broker::Broker;

/// Most records in one batch.
pub const BATCH_RECORDS_MAX: u32 = 1000;

/// How often it is looked whether a node that was cut off from its store still is.
const CUT_OFF_LOOK: Duration = Duration::from_millis(50);

/// How a member wants to be given records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberOptions {
    /// A member that joins under the same name at the same node takes the place of the one there was; an empty name is
    /// nobody's. At most 255 bytes.
    pub name: Arc<str>,
    /// Most records it holds without an answer, from 1 to 10,000.
    pub in_flight_max: u32,
    /// Most bytes it holds without an answer; one record is given whatever its size.
    pub bytes_max: u64,
}

impl Default for MemberOptions {
    fn default() -> MemberOptions {
        MemberOptions { name: "".into(), in_flight_max: 1000, bytes_max: 16 << 20 }
    }
}

/// Names one delivery of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Receipt {
    pub partition: u32,
    pub mark: Mark,
    /// How often the record was delivered, this time included.
    pub attempt: u32,
}

/// A record for a member to work on and to answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivered {
    pub receipt: Receipt,
    /// Under which the node had the partition.
    pub fence: u64,
    pub record: Record,
    /// How often it was delivered, this time included.
    pub deliveries: u32,
}

/// A record that was handled, and what its end brings about.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    pub receipt: Receipt,
    /// As [`Delivered::fence`].
    pub fence: u64,
    pub effects: Effects,
}

/// What a member is told; one of the two is not empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// Goes up with every batch of the group on this node.
    pub number: u64,
    /// In order of each partition; of several partitions one after the other.
    pub records: Vec<Delivered>,
    /// Receipts that are the member's no more, though it has not answered: their time was over, or its node has their
    /// partition no more.
    pub taken: Vec<Receipt>,
}

/// A receipt whose answer had no effect, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("the record at {} of partition {}: {why}", receipt.mark.position, receipt.partition)]
pub struct Refused {
    pub receipt: Receipt,
    pub why: NotYours,
}

/// Why a member is one no more. What it held is given to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Ended {
    #[error("the group was deleted")]
    GroupDeleted,
    #[error("the stream was deleted")]
    StreamDeleted,
    #[error("this node has lost its lease: join at another one, or again")]
    LeaseLost,
    #[error("another member has joined under this name")]
    Superseded,
    #[error("it had something to do and did nothing for as long as the group's `lag_stall_ms` allows")]
    Stalled,
    #[error("this node is shutting down: join at another one")]
    ShuttingDown,
    #[error("it has left")]
    Left,
}

/// Leaves when dropped: what it holds is given to others at once.
pub struct Member {
    answers: Answers,
    bell: Arc<Notify>,
}

/// Answers for a member, from any task.
#[derive(Clone)]
pub struct Answers {
    broker: Broker,
    hub: Arc<Hub>,
    member: u32,
}

impl Member {
    pub(super) fn new(broker: Broker, hub: Arc<Hub>, member: u32, bell: Arc<Notify>) -> Member {
        Member { answers: Answers { broker, hub, member }, bell }
    }

    /// Waits for records, up to what is free of `in_flight_max` and `bytes_max` and at most [`BATCH_RECORDS_MAX`], or
    /// for news of those it has. Loses nothing when it is given up in the middle.
    pub async fn next(&mut self) -> Result<Batch, Ended> {
        let Answers { broker, hub, member } = &self.answers;
        let _waiting = hub.waits(*member);
        loop {
            if let Some(batch) = hub.take(broker, *member)? {
                return Ok(batch);
            }
            self.bell.notified().await;
        }
    }

    /// Answers for it while it waits for more.
    pub fn answers(&self) -> Answers {
        self.answers.clone()
    }

    /// See [`Answers::ack`].
    pub fn ack(&self, receipts: &[Receipt]) -> Vec<Refused> {
        self.answers.ack(receipts)
    }

    /// See [`Answers::ack_sync`].
    pub async fn ack_sync(&self, receipts: &[Receipt]) -> Vec<Refused> {
        self.answers.ack_sync(receipts).await
    }

    /// See [`Answers::nack`].
    pub fn nack(&self, receipt: Receipt, delay: Option<Duration>) -> Result<(), Refused> {
        self.answers.nack(receipt, delay)
    }

    /// See [`Answers::in_progress`].
    pub fn in_progress(&self, receipt: Receipt) -> Result<(), Refused> {
        self.answers.in_progress(receipt)
    }

    /// Leaves, and waits until what it acked is stored: none of that is delivered again.
    pub async fn close(self) {
        let Answers { broker, hub, .. } = &self.answers;
        let marks = hub.unstored();
        hub.leave(broker, self.answers.member);
        hub.stored(&marks).await;
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.answers.hub.leave(&self.answers.broker, self.answers.member);
    }
}

impl Answers {
    /// Finishes records. Taken at once, and stored within `broker.group_commit_ms`: if the node dies before, they are
    /// delivered again. Answers which of them were not the member's; those had no effect.
    pub fn ack(&self, receipts: &[Receipt]) -> Vec<Refused> {
        self.hub.answer(&self.broker, self.member, receipts, Verb::Ack)
    }

    /// The same, and waits until it is stored. What was lost before that is answered [`NotYours::Elsewhere`]: whether
    /// the store has it is not known then, and it may come again.
    pub async fn ack_sync(&self, receipts: &[Receipt]) -> Vec<Refused> {
        let mut refused = self.ack(receipts);
        let marks = self.hub.unstored();
        for partition in self.hub.stored(&marks).await {
            let lost = receipts.iter().filter(|receipt| receipt.partition == partition);
            let lost: Vec<_> =
                lost.filter(|lost| !refused.iter().any(|known| known.receipt == **lost)).collect();
            refused.extend(
                lost.into_iter().map(|receipt| Refused { receipt: *receipt, why: NotYours::Elsewhere }),
            );
        }
        refused
    }

    /// Gives a record back: it is delivered again after `delay`, or as the group's backoff says; as a dead letter if
    /// it was delivered too often.
    pub fn nack(&self, receipt: Receipt, delay: Option<Duration>) -> Result<(), Refused> {
        let delay_ms = delay.map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        self.one(receipt, Verb::Nack { delay_ms })
    }

    /// The member is still at it: the ack wait begins anew.
    pub fn in_progress(&self, receipt: Receipt) -> Result<(), Refused> {
        self.one(receipt, Verb::InProgress)
    }

    /// Finishes records, which brings about their effects: what becomes of a record and its effects is stored in one
    /// step, and what is owed is published after that. Waits while too much of it is not stored or not published, and
    /// while the node is cut off from its store. What follows a refused record of its partition may rest on it: it is
    /// put back and counts as refused. Only of a group of a handler's binding.
    pub async fn finish(&self, mut finished: Vec<Finished>) -> Vec<Refused> {
        let brings = finished.iter().filter(|finished| !finished.effects.is_empty());
        let partitions: BTreeSet<u32> = brings.map(|finished| finished.receipt.partition).collect();
        for partition in partitions {
            self.hub.settles(partition).await;
        }
        loop {
            match self.hub.finish(&self.broker, self.member, finished) {
                Ok(refused) => return refused,
                Err(back) => finished = back,
            }
            tokio::time::sleep(CUT_OFF_LOOK).await;
        }
    }

    /// Gives a record up for good: a dead letter, however often it was delivered.
    pub fn reject(&self, receipt: Receipt, reason: &Arc<str>) -> Result<(), Refused> {
        self.hub.say(&receipt, reason);
        self.one(receipt, Verb::Reject)
    }

    /// As [`Answers::nack`], with what its dead letter says if this was the last try.
    pub fn fail(&self, receipt: Receipt, delay: Option<Duration>, reason: &Arc<str>) -> Result<(), Refused> {
        self.hub.say(&receipt, reason);
        self.nack(receipt, delay)
    }

    /// Gives records back that were not looked at: they count as never delivered.
    pub fn put_back(&self, receipts: &[Receipt]) -> Vec<Refused> {
        self.hub.answer(&self.broker, self.member, receipts, Verb::PutBack)
    }

    /// The number of the newest batch that was handed out: what is delivered from now on has a higher one.
    pub fn newest_batch(&self) -> u64 {
        self.hub.newest_batch()
    }

    /// What the group keeps under a key in a partition, the effects of finished records included.
    pub async fn kept(&self, partition: u32, key: &Bytes) -> Result<Option<Bytes>, KeptError> {
        self.hub.kept(&self.broker, partition, key).await
    }

    fn one(&self, receipt: Receipt, verb: Verb) -> Result<(), Refused> {
        self.hub.answer(&self.broker, self.member, &[receipt], verb).pop().map_or(Ok(()), Err)
    }
}
