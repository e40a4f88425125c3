//! A trial: a handler is called with a message as a test, and nothing comes of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use weir_model::Message;
use weir_runtime::{Call, Event, Failure, Limits, LogLine, Settings};

use super::definition::Which;
use super::manage::HandlerError;
use super::work::fitting;
use crate::broker::Broker;
use crate::clock;

/// What a handler is tried with.
pub struct Trial {
    pub handler: Arc<str>,
    pub which: Which,
    pub limits: Limits,
    pub config: BTreeMap<Box<str>, Box<str>>,
    /// Of a reducer: a message takes the place of the one before with the same key.
    pub is_changelog: bool,
    /// Handled one after the other; what one keeps the next ones see.
    pub messages: Vec<TrialMessage>,
}

pub struct TrialMessage {
    pub message: Arc<Message>,
    pub key: Bytes,
}

/// What one message led to.
pub struct TrialOutcome {
    pub result: Result<Vec<Event>, Failure>,
    /// Values it would keep; `None` = forgotten.
    pub kept: Vec<(Box<str>, Option<Bytes>)>,
    pub log: Vec<LogLine>,
    pub took: std::time::Duration,
}

impl Broker {
    /// Calls a version of a handler with messages, under limits as a binding would have them. Nothing is published and
    /// nothing is kept.
    pub async fn try_handler(
        &self,
        realm: &Arc<str>,
        trial: Trial,
    ) -> Result<Vec<TrialOutcome>, HandlerError> {
        let (handler, _) = self.handler(realm, &trial.handler)?;
        let share = handler.shares(&trial.which).into_iter().next();
        let (Which::Alias(which) | Which::Digest(which)) = trial.which;
        let missing = || HandlerError::NoVersion { handler: trial.handler.clone(), which: which.clone() };
        let version = share.and_then(|share| handler.version(&share.digest).cloned()).ok_or_else(missing)?;
        let program = self.program(realm, &version).await?;
        let settings = Settings {
            limits: fitting(&trial.limits, &program),
            config: Arc::new(trial.config.into_iter().collect()),
        };
        let mut tried = weir_runtime::Trial::new(&self.wasm()?, &program, settings, trial.is_changelog);
        let mut outcomes = Vec::with_capacity(trial.messages.len());
        for (at, TrialMessage { message, key }) in trial.messages.into_iter().enumerate() {
            let now = clock::unix();
            let call = Call {
                topic: &message.topic,
                payload: &message.payload,
                key: &key,
                properties: message.properties.as_deref(),
                position: None,
                id: (0, at as u64),
                published_at: now,
                attempt: 1,
                now,
                is_deterministic: false,
            };
            let invocation = tried.message(&call).await;
            let (kept, log, took) = (invocation.writes, invocation.log, invocation.took);
            outcomes.push(TrialOutcome { result: invocation.result, kept, log, took });
        }
        Ok(outcomes)
    }
}
