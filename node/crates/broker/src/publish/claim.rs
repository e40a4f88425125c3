//! Idempotent publishes: a key that the publisher gives a message, so that sending it again does nothing again.
//!
//! The key belongs to realm, principal and topic. It is claimed in the topic's family before the message is kept; the
//! first to come gives the claim its message id, under which every try is kept, so that a try that died half way is
//! finished by the next. What is through is settled, and from then on only answered (`guarantees.md` 10).

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use weir_model::{Message, MessageId, Position, Principal, Properties, UnixMillis};
use weir_store::{Answer, Outcome, Refusal, Step, TopicOp};

use super::plan;

/// The user property that gives a message its key.
pub const PROPERTY: &str = "weir-idempotency-key";

/// Bytes of a key.
pub const KEY_BYTES_MAX: usize = 255;

/// Source and count of the ids that this process gives.
static SOURCE: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(0u8));
static COUNT: AtomicU64 = AtomicU64::new(0);

/// A key that a message has been given the right to.
#[derive(Debug, Clone)]
pub struct Claim {
    /// With whose it is.
    key: Arc<str>,
    pub id: MessageId,
    /// Where it was claimed: what its message is acknowledged with, every time.
    pub position: Position,
}

/// What a claim was answered.
pub enum Claimed {
    /// To be kept under the id.
    Ours(Claim),
    /// It was through before, at this position.
    Through(Position),
}

/// The key that the properties name; the first, if there are several.
pub fn key_of(properties: Option<&Properties>) -> Option<&str> {
    let user = &properties?.user;
    user.iter().find(|(name, _)| **name == *PROPERTY).map(|(_, value)| &**value)
}

/// A key with whose it is.
pub(super) fn whose(principal: &Principal, key: &str) -> Arc<str> {
    match &principal.user_id {
        Some(user) => format!("user {user}\n{key}"),
        None => format!("client {}\n{key}", principal.client_id),
    }
    .into()
}

impl Claim {
    pub fn new(principal: &Principal, key: &str) -> Claim {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = MessageId::claimed(*SOURCE, count);
        Claim { key: whose(principal, key), id, position: Position::default() }
    }

    /// Takes the key, or finds out whose it is.
    pub fn step(&self, realm: &Arc<str>, message: &Message, now: UnixMillis, window: Duration) -> Step {
        let op = TopicOp::Claim { key: self.key.clone(), id: self.id, until: now.after(window) };
        Step::Topic { realm: realm.clone(), topic: message.topic.clone(), op }
    }

    /// What was published under the key has reached all its destinations.
    pub fn settled(self, realm: &Arc<str>, message: &Message) -> Step {
        let op = TopicOp::Settle { key: self.key, id: self.id };
        Step::Topic { realm: realm.clone(), topic: message.topic.clone(), op }
    }

    /// Reads the answer to [`Claim::step`].
    pub fn answered(self, answer: Option<Answer>) -> Result<Claimed, Refusal> {
        match plan::outcome(answer, 0)? {
            Outcome::Claimed { position, settled: true, .. } => Ok(Claimed::Through(position)),
            Outcome::Claimed { id, position, .. } => Ok(Claimed::Ours(Claim { id, position, ..self })),
            _ => Err(Refusal::Unknown),
        }
    }
}
