//! What lies in the queue of a session or share group, and how it is read.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use weir_model::{Filter, Message, MessageId, Qos};

/// One copy for one queue.
#[derive(Debug, Clone)]
pub struct Enqueue {
    /// Generation of the session this copy is meant for; ignored for groups.
    pub generation: u64,
    /// Set when the same publish may come again: a known id is answered [`super::Outcome::Duplicate`].
    pub id: Option<MessageId>,
    pub delivery: Delivery,
}

/// A message as one receiver gets it. The same `Arc` in many steps of one submit is stored once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    pub message: Arc<Message>,
    /// The lower of the message's and the subscription's.
    pub qos: Qos,
    /// The RETAIN flag to send.
    pub retain: bool,
    /// Ids of all subscriptions that matched.
    pub subscription_ids: SmallVec<[u32; 1]>,
    /// The shared filter it came by: what its receiver leaves behind is handed to another member.
    pub group: Option<Filter>,
}

/// Where a queue begins and ends. Numbers are dense, start at 1 and never repeat within a generation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueEnds {
    /// The oldest row's number; `tail + 1` when empty.
    pub head: u64,
    /// The newest number ever given.
    pub tail: u64,
    /// Rows up to here may have been sent before. After a crash: `tail`, for nobody knows.
    pub sent: u64,
    pub messages: u64,
    pub bytes: u64,
}

/// A row of a queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Queued {
    pub number: u64,
    pub state: RowState,
}

#[derive(Debug, Clone, PartialEq)]
pub enum RowState {
    /// To be sent, or sent and not yet answered.
    Waiting(Delivery),
    /// PUBREC came: PUBREL is due.
    Released,
}

/// How many rows one read may return.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    pub rows_max: usize,
    /// At least one row is returned even when it is larger.
    pub bytes_max: usize,
}
