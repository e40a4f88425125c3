//! Guards: what is noted beside a topic's retained message, who waits for it and whose will lies on it, and is changed
//! together with it in one step (`guarantees.md` 10).
//!
//! To a store a guard is bytes. It lies in the topic's family as a row of [`Table::Guards`] under [`guard_key`], which
//! nothing but [`super::TopicOp::Exchange`] changes, and mirrors hear of it as of any row.

use std::fmt::Write;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;
use weir_model::{Message, Position, Topic};

use super::{Table, TableRow};

/// Most bytes in a guard.
pub const GUARD_BYTES_MAX: usize = 60 << 10;

/// What a topic retains and what guards it, as somebody saw them, and what they are to become.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// Where the retained message stands; `None` = there is none.
    pub seen: Option<Position>,
    /// The version of the guard; `None` = there is none.
    pub guard: Option<u64>,
    /// What is retained from now on, one after the other: each gets a Position and mirrors hear of each. Empty = it
    /// stays as it is.
    pub values: Vec<Option<Arc<Message>>>,
    /// What guards it from now on: `Some(None)` = nothing, `None` = as it is. At most [`GUARD_BYTES_MAX`]: more is
    /// refused [`super::Refusal::TooLarge`].
    pub then: Option<Option<Bytes>>,
}

impl Exchange {
    /// What it brings to be kept.
    pub(crate) fn size_bytes(&self) -> usize {
        let values = self.values.iter().flatten().map(|message| message.size_bytes()).sum::<usize>();
        values + self.then.iter().flatten().map(Bytes::len).sum::<usize>()
    }
}

/// A guard as mirrors hear of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardRow {
    pub realm: Arc<str>,
    pub topic: Topic,
    pub version: u64,
    /// Where the values stand that came with it.
    pub positions: SmallVec<[Position; 1]>,
    /// `None` = it is gone.
    pub guard: Option<Bytes>,
}

/// The key of a topic's guard in its table.
pub fn guard_key(realm: &str, topic: &str) -> String {
    format!("{}:{topic}", realm.replace('%', "%25").replace(':', "%3A"))
}

/// Reads a row of the table of guards; `None` = it is none.
pub fn guarded(row: &TableRow) -> Option<GuardRow> {
    if row.table != Table::Guards {
        return None;
    }
    let (realm, topic) = row.key.split_once(':')?;
    let realm = realm.replace("%3A", ":").replace("%25", "%").into();
    let topic = Topic::new(topic).ok()?;
    let Some(value) = &row.value else {
        let positions = SmallVec::new();
        return Some(GuardRow { realm, topic, version: row.version, positions, guard: None });
    };
    let end = value.iter().position(|byte| *byte == b'\n')?;
    let head = std::str::from_utf8(&value[..end]).ok()?;
    let positions = head.split_whitespace().map(position_of).collect::<Option<_>>()?;
    Some(GuardRow { realm, topic, version: row.version, positions, guard: Some(value.slice(end + 1..)) })
}

/// The value of a guard's row: `<epoch>:<ms>-<seq>` of each position that came with it, a line feed, the guard.
pub(crate) fn guard_value(positions: &[Position], guard: &[u8]) -> Bytes {
    let mut head = String::new();
    for Position { epoch, ms, seq } in positions {
        // Writing to a text does not fail.
        let _ = write!(head, "{epoch}:{ms}-{seq} ");
    }
    head.push('\n');
    let mut value = head.into_bytes();
    value.extend_from_slice(guard);
    value.into()
}

fn position_of(text: &str) -> Option<Position> {
    let (epoch, rest) = text.split_once(':')?;
    let (ms, seq) = rest.split_once('-')?;
    Some(Position { epoch: epoch.parse().ok()?, ms: ms.parse().ok()?, seq: seq.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_reads_back_as_it_is_written_whatever_its_realm_and_topic_are_called() {
        let at = |seq| Position { epoch: 7, ms: 8, seq };
        for (realm, topic) in [("default", "a/b"), ("a:b", "x:y"), ("100%", "%3A"), ("%3A", "$x/y")] {
            let value = Some(guard_value(&[at(1), at(2)], b"g\nuard"));
            let row =
                TableRow { table: Table::Guards, key: guard_key(realm, topic).into(), version: 3, value };
            let read = guarded(&row).unwrap();
            assert_eq!((&*read.realm, read.topic.as_str()), (realm, topic));
            assert_eq!(read.positions.as_slice(), [at(1), at(2)]);
            assert_eq!(read.guard.as_deref(), Some(&b"g\nuard"[..]));
            let gone = guarded(&TableRow { value: None, ..row }).unwrap();
            assert!(gone.guard.is_none() && gone.topic.as_str() == topic);
        }
    }
}
