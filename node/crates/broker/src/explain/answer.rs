//! What is asked and answered, as JSON.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A question. `client`: asked for that client as it was let in, instead of for the asker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "explain", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// What would become of a message?
    Pub {
        topic: String,
        #[serde(default)]
        qos: u8,
        #[serde(default)]
        retain: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client: Option<String>,
    },
    /// What would become of a subscription?
    Sub {
        filter: String,
        #[serde(default)]
        qos: u8,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client: Option<String>,
    },
}

impl Request {
    pub(super) fn client(&self) -> Option<&str> {
        match self {
            Request::Pub { client, .. } | Request::Sub { client, .. } => client.as_deref(),
        }
    }
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "explain", rename_all = "lowercase")]
pub enum Answer {
    Pub(Box<Pub>),
    Sub(Box<Sub>),
    /// The question cannot be answered, and why.
    Error {
        error: String,
    },
}

/// For whom it was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    pub client: Arc<str>,
    /// `None` = anonymous.
    pub user: Option<Arc<str>>,
}

/// One check of a topic or filter that is made before anybody is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub what: String,
    pub passed: bool,
    /// What was found, or what stands against it.
    pub found: String,
}

/// What a message would do to the retained message of its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Retained {
    /// Nothing: RETAIN is not set.
    Untouched,
    /// It becomes the retained message; with an empty payload it removes it.
    Stored,
}

/// What would become of a message. Receivers are told as if it were let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pub {
    pub allowed: bool,
    /// The rule of the policy that decides, or the check that fails.
    pub rule: String,
    #[serde(rename = "as")]
    pub who: Who,
    /// The topic it would be published to: of a delayed one, the target.
    pub topic: String,
    pub qos: u8,
    pub retain: bool,
    pub delay_seconds: Option<u64>,
    pub checks: Vec<Check>,
    pub retained: Retained,
    /// Whether the store has it before it is acknowledged.
    pub kept: bool,
    pub receivers: Vec<Receiver>,
    pub receivers_total: usize,
    /// Receivers whose copy would lie in their stored queue.
    pub enqueued_total: usize,
    pub denied_total: usize,
    pub groups: Vec<Group>,
    pub groups_total: usize,
    /// The streams that capture it, by name, the first hundred.
    #[serde(default)]
    pub streams: Vec<Arc<str>>,
    #[serde(default)]
    pub streams_total: usize,
}

/// One receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receiver {
    pub client: Arc<str>,
    /// Its matching subscriptions, the first few.
    pub filters: Vec<String>,
    pub qos: u8,
    pub online: bool,
    pub outcome: Outcome,
    /// The rule that denies it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

/// What becomes of a receiver's copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// To its connection.
    Sent,
    /// Into its queue in the store, and to its connection if it has one.
    Enqueued,
    /// Lost: it has no connection, and nothing is queued at this QoS.
    Offline,
    /// It may not have it.
    Denied,
    /// It is the publisher and wants nothing of its own.
    NoLocal,
}

/// A share group: one member gets the message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    pub filter: String,
    /// Whether messages of QoS 1 and 2 wait in the store while no member is there.
    pub keeps: bool,
    pub members: Vec<Member>,
    pub members_total: usize,
}

/// A member of a share group; who is online and not denied may be picked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub client: Arc<str>,
    pub online: bool,
    /// Whether its session outlives its connection.
    pub stored: bool,
    /// The rule that denies it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied: Option<String>,
}

impl Member {
    /// Whether the next message may go to it.
    #[must_use]
    pub fn may_be_picked(&self) -> bool {
        self.online && self.denied.is_none()
    }
}

/// What would become of a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sub {
    pub allowed: bool,
    /// The rule of the policy that decides, or the check that fails.
    pub rule: String,
    #[serde(rename = "as")]
    pub who: Who,
    pub filter: String,
    pub qos: u8,
    /// `None` = refused.
    pub qos_granted: Option<u8>,
    pub checks: Vec<Check>,
    /// Whether the client has this subscription already.
    pub known: bool,
    /// Retained messages that would be sent.
    pub retained_total: usize,
    /// Whether there are more retained messages than were looked at.
    pub retained_more: bool,
    /// Retained messages that match and that it may not have.
    pub retained_denied: usize,
    /// The share group it would join, as it stands.
    pub group: Option<Group>,
}
