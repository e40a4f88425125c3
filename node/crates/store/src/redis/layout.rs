//! The layout of the keys: which shard a session, topic or partition lies in, and the text that names it there.

use std::sync::Arc;

use weir_model::Topic;

use super::shard::Shard;
use crate::{PartitionKey, SessionKey, SessionKind, Table};

/// What a generation, fence or entry is made of: the shard's counter, and in the digits below this its place.
const PLACES: u64 = 4096;

/// Places of topic shards begin here.
const TOPIC_PLACES: u16 = 2048;

/// Most shards of one kind.
pub(super) const SHARDS_MAX: u16 = TOPIC_PLACES;

/// Where things lie in one store.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub prefix: Arc<str>,
    pub shards: u16,
}

impl Layout {
    /// The shards of sessions, topics and partitions.
    pub fn all(&self) -> impl Iterator<Item = Shard> + use<> {
        Shard::all(self.shards).filter(|shard| *shard != Shard::Nodes)
    }

    pub fn sessions(&self) -> impl Iterator<Item = Shard> + use<> {
        (0..self.shards).map(Shard::Session)
    }

    pub fn topics(&self) -> impl Iterator<Item = Shard> + use<> {
        (0..self.shards).map(Shard::Topic)
    }

    pub fn partitions(&self) -> impl Iterator<Item = Shard> + use<> {
        (0..self.shards).map(Shard::Partition)
    }

    /// Where a delayed message lies: in the shard that gave it its number, or, when that was another store, in that of
    /// its topic.
    pub fn of_delayed(&self, entry: u64, realm: &str, topic: &str) -> Shard {
        let given = self.of_entry(entry).filter(|shard| matches!(shard, Shard::Topic(_)));
        given.unwrap_or_else(|| self.of_topic(&topic_id(realm, topic)))
    }

    /// Those that have timers.
    pub fn timed(&self) -> impl Iterator<Item = Shard> + use<> {
        self.all().filter(|shard| !matches!(shard, Shard::Partition(_)))
    }

    pub fn of_session(&self, session: &str) -> Shard {
        Shard::Session(self.number(session))
    }

    pub fn of_topic(&self, topic: &str) -> Shard {
        Shard::Topic(self.number(topic))
    }

    /// Rows of tables are spread by their names; guards lie with their topics, whose ids are their keys.
    pub fn of_row(&self, table: Table, key: &str) -> Shard {
        match table {
            Table::Guards => self.of_topic(key),
            _ => self.of_topic(&row_id(table, key)),
        }
    }

    pub fn of_partition(&self, partition: &str) -> Shard {
        Shard::Partition(self.number(partition))
    }

    /// The shard that gave this number, if it is of this layout.
    pub fn of_entry(&self, entry: u64) -> Option<Shard> {
        let place = (entry % PLACES) as u16;
        let (shard, number) = match place.checked_sub(TOPIC_PLACES) {
            Some(number) => (Shard::Topic(number), number),
            None => (Shard::Session(place), place),
        };
        (number < self.shards).then_some(shard)
    }

    /// How a list of all shards is indexed.
    pub fn index(&self, shard: Shard) -> usize {
        match shard {
            Shard::Session(number) => usize::from(number),
            Shard::Topic(number) => usize::from(self.shards) + usize::from(number),
            Shard::Partition(number) => 2 * usize::from(self.shards) + usize::from(number),
            Shard::Nodes => 3 * usize::from(self.shards),
        }
    }

    pub fn tag(&self, shard: Shard) -> String {
        shard.tag(&self.prefix)
    }

    pub fn key(&self, shard: Shard, name: &str) -> String {
        shard.key(&self.prefix, name)
    }

    fn number(&self, name: &str) -> u16 {
        (crc32fast::hash(name.as_bytes()) % u32::from(self.shards.max(1))) as u16
    }
}

/// The low digits of what a shard numbers. Partitions number fences only, which are compared within one: theirs may be a
/// session's.
pub(super) fn place(shard: Shard) -> u16 {
    match shard {
        Shard::Session(number) | Shard::Partition(number) => number,
        Shard::Topic(number) => TOPIC_PLACES + number,
        Shard::Nodes => 0,
    }
}

/// The newest number that a shard whose counter stands here may have given.
pub(super) fn newest_number(counter: u64) -> u64 {
    counter * PLACES + PLACES - 1
}

/// Where a counter has to stand so that no number of its shard is `number` or below.
pub(super) fn counter_above(number: u64) -> u64 {
    number / PLACES + 1
}

/// `<kind>:<realm>:<name>`, kind `c` for clients and `g` for share groups.
pub(super) fn session_id(key: &SessionKey) -> String {
    let kind = match key.kind {
        SessionKind::Client => 'c',
        SessionKind::Group => 'g',
    };
    format!("{kind}:{}:{}", escaped(&key.realm), key.name)
}

pub(super) fn session_of(id: &str) -> Option<SessionKey> {
    let (kind, rest) = id.split_once(':')?;
    let kind = match kind {
        "c" => SessionKind::Client,
        "g" => SessionKind::Group,
        _ => return None,
    };
    let (realm, name) = rest.split_once(':')?;
    Some(SessionKey { realm: plain(realm).into(), kind, name: name.into() })
}

/// `<realm>:<topic>`.
pub(super) fn topic_id(realm: &str, topic: &str) -> String {
    format!("{}:{topic}", escaped(realm))
}

pub(super) fn topic_of(id: &str) -> Option<(Arc<str>, Topic)> {
    let (realm, topic) = id.split_once(':')?;
    Some((plain(realm).into(), Topic::new(topic).ok()?))
}

/// `<realm>:<stream>:<generation>:<partition>`.
pub(super) fn partition_id(key: &PartitionKey) -> String {
    let PartitionKey { realm, stream, generation, partition } = key;
    format!("{}:{}:{generation}:{partition}", escaped(realm), escaped(stream))
}

pub(super) fn partition_of(id: &str) -> Option<PartitionKey> {
    let parts: Vec<&str> = id.split(':').collect();
    let [realm, stream, generation, partition] = parts.as_slice() else { return None };
    Some(PartitionKey {
        realm: plain(realm).into(),
        stream: plain(stream).into(),
        generation: generation.parse().ok()?,
        partition: partition.parse().ok()?,
    })
}

/// The stream of Redis that has the records of a partition, in a store with so many shards: for `XREAD` and the like.
pub fn stream_key(prefix: &str, shards: u16, key: &PartitionKey) -> String {
    let (layout, id) = (Layout { prefix: prefix.into(), shards }, partition_id(key));
    layout.key(layout.of_partition(&id), &format!("stream:{id}"))
}

/// `<table>:<key>`.
pub(super) fn row_id(table: Table, key: &str) -> String {
    let table = match table {
        Table::Streams => "streams",
        Table::Groups => "groups",
        Table::Members => "members",
        Table::Handlers => "handlers",
        Table::Bindings => "bindings",
        Table::Secrets => "secrets",
        Table::Guards => "guards",
    };
    format!("{table}:{key}")
}

/// Tells apart the idempotency keys of all topics.
pub(super) fn claim_name(realm: &str, topic: &str, key: &str) -> String {
    let topic = topic_id(realm, topic);
    format!("{}:{topic}{key}", topic.len())
}

pub(super) fn claim_of(name: &str) -> Option<(Arc<str>, Topic, Arc<str>)> {
    let (length, rest) = name.split_once(':')?;
    let (topic, key) = rest.split_at_checked(length.parse().ok()?)?;
    let (realm, topic) = topic_of(topic)?;
    Some((realm, topic, key.into()))
}

pub(super) fn row_of(id: &str) -> Option<(Table, Arc<str>)> {
    let (table, key) = id.split_once(':')?;
    let table = match table {
        "streams" => Table::Streams,
        "groups" => Table::Groups,
        "members" => Table::Members,
        "handlers" => Table::Handlers,
        "bindings" => Table::Bindings,
        "secrets" => Table::Secrets,
        "guards" => Table::Guards,
        _ => return None,
    };
    Some((table, key.into()))
}

/// A colon ends a realm and a stream.
fn escaped(realm: &str) -> String {
    realm.replace('%', "%25").replace(':', "%3A")
}

fn plain(realm: &str) -> String {
    realm.replace("%3A", ":").replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_which_session_or_topic_it_is_whatever_is_in_it() {
        for (realm, name) in [("default", "a:b"), ("a:b%3A", ":"), ("", "")] {
            let key = SessionKey { realm: realm.into(), kind: SessionKind::Group, name: name.into() };
            assert_eq!(session_of(&session_id(&key)), Some(key));
        }
        assert_eq!(topic_of(&topic_id("a:b", "x:y/z")), Some(("a:b".into(), Topic::new("x:y/z").unwrap())));
        assert_eq!(session_of("x:default:a"), None);
    }

    #[test]
    fn a_guard_lies_where_its_topic_does() {
        let layout = Layout { prefix: "weir".into(), shards: 16 };
        for (realm, topic) in [("default", "a/b"), ("a:b%", "x:y/z")] {
            let id = topic_id(realm, topic);
            assert_eq!(crate::guard_key(realm, topic), id);
            assert_eq!(layout.of_row(Table::Guards, &id), layout.of_topic(&id));
        }
    }

    #[test]
    fn a_name_says_which_partition_or_row_it_is_whatever_is_in_it() {
        for (realm, stream) in [("default", "orders"), ("a:b%3A", ":{}/\n"), ("", "")] {
            let key =
                PartitionKey { realm: realm.into(), stream: stream.into(), generation: 7, partition: 3 };
            assert_eq!(partition_of(&partition_id(&key)), Some(key));
        }
        assert_eq!(partition_of("default:orders:7"), None);
        assert_eq!(row_of(&row_id(Table::Groups, "a:b")), Some((Table::Groups, "a:b".into())));
        assert_eq!(row_of("x:a"), None);
        let claim = claim_of(&claim_name("a:b", "x:y/z", "1:k"));
        assert_eq!(claim, Some(("a:b".into(), Topic::new("x:y/z").unwrap(), "1:k".into())));
        assert_eq!((claim_of("9:a:b"), claim_of("a:b")), (None, None));
    }

    #[test]
    fn the_key_of_a_stream_is_where_its_records_are() {
        let key =
            PartitionKey { realm: "default".into(), stream: "orders".into(), generation: 7, partition: 0 };
        let text = stream_key("weir", 16, &key);
        assert!(text.starts_with("{weir:p") && text.ends_with("}:stream:default:orders:7:0"), "{text}");
    }

    #[test]
    fn a_number_tells_its_shard() {
        let layout = Layout { prefix: "weir".into(), shards: 16 };
        for shard in layout.timed() {
            assert_eq!(layout.of_entry(7 * PLACES + u64::from(place(shard))), Some(shard));
        }
        assert_eq!(layout.of_entry(40), None, "another store's");
    }
}
