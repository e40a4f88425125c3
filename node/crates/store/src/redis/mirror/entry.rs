//! Entries of a stream and their ids.

use std::fmt;

use redis::{FromRedisValue as _, ParsingError, Value};

/// The id of a stream's entry, `<milliseconds>-<number>`; ordered as the stream is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    pub ms: u64,
    pub seq: u64,
}

/// One entry of a `changes` stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub id: EntryId,
    /// Names and values in turn.
    fields: Vec<Vec<u8>>,
}

impl EntryId {
    /// Reads `ms-seq`.
    pub fn parse(text: &[u8]) -> Option<EntryId> {
        let (ms, seq) = std::str::from_utf8(text).ok()?.split_once('-')?;
        Some(EntryId { ms: ms.parse().ok()?, seq: seq.parse().ok()? })
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl Entry {
    /// The value of this field.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        self.fields.chunks_exact(2).find(|pair| pair[0] == name.as_bytes()).map(|pair| &*pair[1])
    }

    /// An entry as `XRANGE` and `XREAD` show it.
    fn read(value: Value) -> Result<Entry, ParsingError> {
        let (id, fields) = <(Vec<u8>, Vec<Vec<u8>>)>::from_redis_value(value)?;
        let id = EntryId::parse(&id).ok_or_else(|| ParsingError::from("no id of an entry"))?;
        Ok(Entry { id, fields })
    }
}

/// The answer of `XREAD`: each stream's key with its new entries; nothing when the wait was over.
pub(super) fn read_streams(answer: Value) -> Result<Vec<(String, Vec<Entry>)>, ParsingError> {
    if answer == Value::Nil {
        return Ok(Vec::new());
    }
    let streams = Vec::<(String, Vec<Value>)>::from_redis_value(answer)?;
    let entries = |(key, entries): (String, Vec<Value>)| {
        let entries = entries.into_iter().map(Entry::read).collect::<Result<Vec<_>, _>>()?;
        Ok((key, entries))
    };
    streams.into_iter().map(entries).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_ordered_as_numbers_and_read_back() {
        let id = |text: &str| EntryId::parse(text.as_bytes());
        assert!(id("9-2") < id("10-1") && id("10-1") < id("10-2"));
        assert_eq!(id("1700000000000-3").unwrap().to_string(), "1700000000000-3");
        assert_eq!(id("0-0"), Some(EntryId::default()));
        assert_eq!((id("1"), id("a-1"), id("1-")), (None, None, None));
    }
}
