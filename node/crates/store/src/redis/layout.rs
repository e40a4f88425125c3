//! The layout of the keys: which shard a session or topic lies in, and the text that names it there.

use std::sync::Arc;

use weir_model::Topic;

use super::shard::Shard;
use crate::{SessionKey, SessionKind};

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
    /// The shards of sessions and topics.
    pub fn all(&self) -> impl Iterator<Item = Shard> + use<> {
        Shard::all(self.shards).filter(|shard| *shard != Shard::Nodes)
    }

    pub fn sessions(&self) -> impl Iterator<Item = Shard> + use<> {
        (0..self.shards).map(Shard::Session)
    }

    pub fn of_session(&self, session: &str) -> Shard {
        Shard::Session(self.number(session))
    }

    pub fn of_topic(&self, topic: &str) -> Shard {
        Shard::Topic(self.number(topic))
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
            Shard::Nodes => 2 * usize::from(self.shards),
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

/// The low digits of what a shard numbers.
pub(super) fn place(shard: Shard) -> u16 {
    match shard {
        Shard::Session(number) => number,
        Shard::Topic(number) => TOPIC_PLACES + number,
        Shard::Nodes => 0,
    }
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

/// A colon ends a realm.
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
    fn a_number_tells_its_shard() {
        let layout = Layout { prefix: "weir".into(), shards: 16 };
        for shard in layout.all() {
            assert_eq!(layout.of_entry(7 * PLACES + u64::from(place(shard))), Some(shard));
        }
        assert_eq!(layout.of_entry(40), None, "another store's");
    }
}
