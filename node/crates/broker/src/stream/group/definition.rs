//! What a consumer group is: where it begins, how often it tries, and what becomes of what it does not manage.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weir_model::UnixMillis;
use weir_store::Start;

use super::place::Rules;
use crate::stream::definition::{NAME_BYTES_MAX, SpecError, check_name};

/// Most records of one partition that may be delivered and not finished.
pub const ACK_PENDING_MAX: u32 = 10_000;

/// Steps of a backoff list.
pub const BACKOFF_STEPS_MAX: usize = 64;

/// Longest wait that a group may ask for: a week.
pub const WAIT_MAX_MS: u64 = 7 * 24 * 3600 * 1000;

/// Shortest ack wait.
pub const ACK_WAIT_MIN_MS: u64 = 10;

/// What the names of groups begin with whose members are workers of a handler's binding; the binding's name follows, of
/// a reducer behind `$`, the number of the rebuild and a dot.
pub const HANDLER_PREFIX: &str = "$handler.";

/// Whether that is the name of a group of a reducer's workers.
pub fn is_reducers(name: &str) -> bool {
    name.strip_prefix(HANDLER_PREFIX).is_some_and(|of| of.starts_with('$'))
}

/// A group as whoever made it wants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupDefinition {
    /// Where it begins; of no account once it is made.
    pub start: Start,
    /// Milliseconds a member has for a record, from [`ACK_WAIT_MIN_MS`] to a week; then it is delivered again.
    pub ack_wait_ms: u64,
    /// How often a record is delivered before it becomes a dead letter. 0 = no limit.
    pub deliveries_max: u32,
    /// Most records of one partition that are delivered and not finished, from 1 to [`ACK_PENDING_MAX`].
    pub ack_pending_max: u32,
    /// Milliseconds before the n-th redelivery of a record that was nacked or not answered; the last one repeats, and
    /// without any it is delivered again at once. At most [`BACKOFF_STEPS_MAX`].
    pub backoff_ms: Vec<u64>,
    /// The stream that records go to which were delivered too often; `None` = they are finished and counted.
    pub dead_letter: Option<Arc<str>>,
    /// Nothing is delivered.
    pub is_paused: bool,
    /// Milliseconds for which a member may do nothing while there is something to do, before what it holds is given to
    /// others. 0 = for ever.
    pub lag_stall_ms: u64,
    /// Its members are workers of a handler's binding: what they finish has effects. Nobody else can join.
    pub is_handler: bool,
}

impl Default for GroupDefinition {
    fn default() -> GroupDefinition {
        GroupDefinition {
            start: Start::Earliest,
            ack_wait_ms: 30_000,
            deliveries_max: 16,
            ack_pending_max: 1000,
            backoff_ms: Vec::new(),
            dead_letter: None,
            is_paused: false,
            lag_stall_ms: 120_000,
            is_handler: false,
        }
    }
}

/// Why a group cannot be as asked. Names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    #[error("`name` must have 1 to {NAME_BYTES_MAX} bytes")]
    NameLength,
    #[error("`name` must not begin with `$` and must not contain `/`, `+`, `#` or control characters")]
    NameCharacter,
    #[error("`{field}` = {given} is not from {least} to {most}")]
    Range { field: &'static str, given: u64, least: u64, most: u64 },
    #[error("`backoff_ms` has {given} steps: {BACKOFF_STEPS_MAX} is the most")]
    BackoffSteps { given: usize },
    #[error("`dead_letter` is the stream itself")]
    DeadLetterItself,
    #[error("`dead_letter` names a stream that is not there: `{name}`")]
    DeadLetterUnknown { name: Arc<str> },
}

impl GroupDefinition {
    /// Whether a group of this stream may be like this, and be called so.
    pub fn check(&self, stream: &str, name: &str) -> Result<(), DefinitionError> {
        let own = name.strip_prefix(HANDLER_PREFIX).filter(|_| self.is_handler);
        let own = own.map(|own| own.strip_prefix('$').unwrap_or(own));
        check_name(own.unwrap_or(name)).map_err(|error| match error {
            SpecError::NameLength => DefinitionError::NameLength,
            _ => DefinitionError::NameCharacter,
        })?;
        range("ack_wait_ms", self.ack_wait_ms, ACK_WAIT_MIN_MS, WAIT_MAX_MS)?;
        range("ack_pending_max", self.ack_pending_max.into(), 1, ACK_PENDING_MAX.into())?;
        range("lag_stall_ms", self.lag_stall_ms, 0, WAIT_MAX_MS)?;
        if self.backoff_ms.len() > BACKOFF_STEPS_MAX {
            return Err(DefinitionError::BackoffSteps { given: self.backoff_ms.len() });
        }
        self.backoff_ms.iter().try_for_each(|step| range("backoff_ms", *step, 0, WAIT_MAX_MS))?;
        match self.dead_letter.as_deref() {
            Some(dead) if dead == stream => Err(DefinitionError::DeadLetterItself),
            _ => Ok(()),
        }
    }

    pub(super) fn rules(&self) -> Rules {
        Rules {
            ack_wait_ms: self.ack_wait_ms,
            deliveries_max: self.deliveries_max,
            ack_pending_max: self.ack_pending_max,
            backoff_ms: self.backoff_ms.clone().into(),
            has_dead_letters: self.dead_letter.is_some(),
            keyless_in_order: self.is_handler,
        }
    }
}

fn range(field: &'static str, given: u64, least: u64, most: u64) -> Result<(), DefinitionError> {
    match (least..=most).contains(&given) {
        true => Ok(()),
        false => Err(DefinitionError::Range { field, given, least, most }),
    }
}

/// A group's row in the store's table, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub definition: GroupDefinition,
    /// Its places are being moved there, in the generations there were when that began; nobody takes one meanwhile.
    pub moving: Option<Moving>,
    pub created_at: UnixMillis,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Moving {
    pub to: Start,
    /// Tells one move from another.
    pub since: UnixMillis,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_that_cannot_be_names_its_field() {
        let error = |definition: GroupDefinition| definition.check("s", "g").unwrap_err().to_string();
        assert!(
            error(GroupDefinition { ack_wait_ms: 1, ..GroupDefinition::default() }).contains("ack_wait_ms")
        );
        let none = GroupDefinition { ack_pending_max: 0, ..GroupDefinition::default() };
        assert!(error(none).contains("`ack_pending_max`"));
        let steps = GroupDefinition { backoff_ms: vec![1; 65], ..GroupDefinition::default() };
        assert!(error(steps).contains("`backoff_ms`"));
        let itself = GroupDefinition { dead_letter: Some("s".into()), ..GroupDefinition::default() };
        assert!(error(itself).contains("`dead_letter`"));
        for name in ["", "a/b", "a\n", "$x"] {
            assert!(GroupDefinition::default().check("s", name).unwrap_err().to_string().contains("`name`"));
        }
        assert_eq!(GroupDefinition::default().check("s", "g {1}"), Ok(()));
    }

    #[test]
    fn a_row_written_without_later_fields_is_read() {
        let text = r#"{"definition": {"start": "Latest"}, "moving": null, "created_at": 5}"#;
        let row: Row = serde_json::from_str(text).unwrap();
        assert_eq!(row.definition, GroupDefinition { start: Start::Latest, ..GroupDefinition::default() });
    }
}
