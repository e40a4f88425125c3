//! What a stream is: which topics it captures, in how many partitions, by which key, and how long it keeps them.

use serde::{Deserialize, Serialize};
use weir_model::{Filter, UnixMillis};
use weir_store::Retention;

use super::key::KeyRule;

/// Bytes of a stream's name.
pub const NAME_BYTES_MAX: usize = 255;

/// What the names of streams begin with that bindings have of their own: a reducer's.
pub const OWN_PREFIX: &str = "$reduce.";

/// Filters of one stream.
pub const FILTERS_MAX: usize = 64;

/// Partitions of one stream.
pub const PARTITIONS_MAX: u32 = 256;

/// Generations that may still be read beside the newest.
pub const EARLIER_MAX: usize = 8;

/// What whoever makes a stream says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spec {
    /// Which topics it captures; none = it takes only what is appended to it by name. At most [`FILTERS_MAX`], and none
    /// of them shared.
    pub filters: Vec<Filter>,
    /// From 1 to [`PARTITIONS_MAX`]. Order is kept within a partition.
    pub partitions: u32,
    /// What decides the partition, and what order and compaction go by.
    pub key: KeyRule,
    /// Per partition.
    pub retention: Retention,
}

impl Default for Spec {
    fn default() -> Spec {
        Spec { filters: Vec::new(), partitions: 1, key: KeyRule::Topic, retention: Retention::default() }
    }
}

/// A stream's row in the store's table, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    pub filters: Vec<Filter>,
    pub partitions: u32,
    pub key: KeyRule,
    pub retention: Retention,
    /// 0 = the version of the row it stands in, which nobody knows before it is written.
    pub generation: u64,
    /// Oldest first; sealed, and dropped when everybody has read them.
    pub earlier: Vec<Earlier>,
    pub created_at: UnixMillis,
}

/// A generation with another number of partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earlier {
    pub generation: u64,
    pub partitions: u32,
}

/// Why a stream cannot be as asked. Names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error("`name` must have 1 to {NAME_BYTES_MAX} bytes")]
    NameLength,
    #[error("`name` must not begin with `$` and must not contain `/`, `+`, `#` or control characters")]
    NameCharacter,
    #[error("`filters` has {given} filters: {FILTERS_MAX} is the most")]
    FilterCount { given: usize },
    #[error("`filters` names a shared subscription: {filter}")]
    FilterShared { filter: Filter },
    #[error("`partitions` = {given} is not from 1 to {PARTITIONS_MAX}")]
    Partitions { given: u32 },
    #[error("`key`: {0}")]
    Key(#[from] super::key::KeyError),
    #[error("`retention.is_compacted` needs a key other than `none`")]
    CompactedWithoutKey,
}

impl Spec {
    /// Whether a stream may be like this.
    pub fn check(&self) -> Result<(), SpecError> {
        if self.filters.len() > FILTERS_MAX {
            return Err(SpecError::FilterCount { given: self.filters.len() });
        }
        if let Some(filter) = self.filters.iter().find(|filter| filter.share().is_some()) {
            return Err(SpecError::FilterShared { filter: filter.clone() });
        }
        if self.partitions == 0 || self.partitions > PARTITIONS_MAX {
            return Err(SpecError::Partitions { given: self.partitions });
        }
        self.key.check()?;
        if self.retention.is_compacted && self.key == KeyRule::None {
            return Err(SpecError::CompactedWithoutKey);
        }
        Ok(())
    }

    /// The row of a stream that is made now.
    pub(super) fn define(self, now: UnixMillis) -> Definition {
        let Spec { filters, partitions, key, retention } = self;
        let (generation, earlier) = (0, Vec::new());
        Definition { filters, partitions, key, retention, generation, earlier, created_at: now }
    }
}

impl Definition {
    /// The generation that takes records, of a row with this version.
    pub fn generation_of(&self, version: u64) -> u64 {
        if self.generation == 0 { version } else { self.generation }
    }

    /// What was said when it was made or altered last.
    pub fn spec(&self) -> Spec {
        Spec {
            filters: self.filters.clone(),
            partitions: self.partitions,
            key: self.key.clone(),
            retention: self.retention,
        }
    }
}

/// Whether a stream may have this name.
pub fn check_name(name: &str) -> Result<(), SpecError> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(SpecError::NameLength);
    }
    let is_bad = |c: char| c.is_control() || matches!(c, '/' | '+' | '#');
    if name.starts_with('$') || name.contains(is_bad) {
        return Err(SpecError::NameCharacter);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_level_of_a_topic() {
        for good in ["orders", "orders.dead", "{a}", "Füße", "a b"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", "a/b", "+", "a#", "$a", "a\nb", "a\0", &"x".repeat(256)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_spec_that_cannot_be_names_its_field() {
        let error = |spec: Spec| spec.check().unwrap_err().to_string();
        assert!(error(Spec { partitions: 0, ..Spec::default() }).contains("`partitions`"));
        let shared = vec![Filter::new("$share/g/a").unwrap()];
        assert!(error(Spec { filters: shared, ..Spec::default() }).contains("`filters`"));
        let retention = Retention { is_compacted: true, ..Retention::default() };
        let error = error(Spec { key: KeyRule::None, retention, ..Spec::default() });
        assert!(error.contains("`retention.is_compacted`"), "{error}");
    }
}
