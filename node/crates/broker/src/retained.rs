//! Retained messages: the mirror of the store's table, read without asking the store.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::RwLock;
use weir_model::{Filter, Message, Position, Topic, UnixMillis};

/// One topic's last retained message.
#[derive(Clone)]
struct Entry {
    position: Position,
    message: Arc<Message>,
}

/// All retained messages of one realm, by topic.
#[derive(Default)]
pub struct Retained {
    table: RwLock<BTreeMap<Topic, Entry>>,
}

/// A piece of what a filter matches, and where to go on.
pub struct Page {
    pub messages: Vec<Arc<Message>>,
    /// `None` = that was all.
    pub next: Option<Topic>,
}

/// How much one page may hold and look at.
#[derive(Debug, Clone, Copy)]
pub struct PageMax {
    pub messages: usize,
    pub bytes: usize,
    pub examined: usize,
}

impl Retained {
    /// Takes over a change if it is newer than what is here.
    pub fn apply(&self, topic: &Topic, position: Position, message: Option<&Arc<Message>>) {
        let mut table = self.table.write();
        if table.get(topic).is_some_and(|known| known.position > position) {
            return;
        }
        match message {
            Some(message) => table.insert(topic.clone(), Entry { position, message: message.clone() }),
            None => table.remove(topic),
        };
    }

    pub fn len(&self) -> usize {
        self.table.read().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn get(&self, topic: &str) -> Option<Arc<Message>> {
        let topic = Topic::new(topic).ok()?;
        self.table.read().get(&topic).map(|entry| entry.message.clone())
    }

    /// The message of a topic, if it was stored after `position`.
    pub fn newer_than(&self, topic: &Topic, position: Position) -> Option<Arc<Message>> {
        let table = self.table.read();
        table.get(topic).filter(|entry| entry.position > position).map(|entry| entry.message.clone())
    }

    /// Messages that match `filter`, behind topic `after`; what has expired is left out.
    pub fn page(&self, filter: &Filter, after: Option<&Topic>, now: UnixMillis, max: PageMax) -> Page {
        let table = self.table.read();
        if !filter.is_wildcard() {
            let found = Topic::new(filter.pattern()).ok().and_then(|topic| table.get(&topic));
            let messages = found.map(|e| e.message.clone()).filter(|m| !m.is_expired(now));
            return Page { messages: messages.into_iter().collect(), next: None };
        }
        let prefix = literal_prefix(filter.pattern());
        let start = match after {
            Some(topic) => Bound::Excluded(topic.as_str()),
            None => Bound::Included(prefix),
        };
        collect(table.range::<str, _>((start, Bound::Unbounded)), prefix, filter, now, max)
    }
}

fn collect<'a>(
    range: impl Iterator<Item = (&'a Topic, &'a Entry)>,
    prefix: &str,
    filter: &Filter,
    now: UnixMillis,
    max: PageMax,
) -> Page {
    let (mut messages, mut bytes) = (Vec::new(), 0);
    for (examined, (topic, entry)) in range.enumerate() {
        if !topic.starts_with(prefix) {
            break;
        }
        if filter.matches(topic) && !entry.message.is_expired(now) {
            bytes += entry.message.size_bytes();
            messages.push(entry.message.clone());
        }
        if messages.len() >= max.messages || bytes >= max.bytes || examined + 1 >= max.examined {
            return Page { messages, next: Some(topic.clone()) };
        }
    }
    Page { messages, next: None }
}

/// What every topic that matches starts with: the pattern up to its first wildcard level, without
/// the `/` before it, for `a/#` matches `a` too.
fn literal_prefix(pattern: &str) -> &str {
    let end = pattern.find(['+', '#']).unwrap_or(pattern.len());
    pattern[..end].strip_suffix('/').unwrap_or(&pattern[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use weir_model::Qos;

    fn put(retained: &Retained, topic: &str, seq: u64) {
        let topic = Topic::new(topic).unwrap();
        let message = Arc::new(Message {
            topic: topic.clone(),
            payload: Bytes::from_static(b"x"),
            qos: Qos::AtMostOnce,
            retain: true,
            expires_at: None,
            properties: None,
        });
        retained.apply(&topic, Position { epoch: 1, ms: 1, seq }, Some(&message));
    }

    fn all(retained: &Retained, filter: &str, max: usize) -> Vec<String> {
        let filter = Filter::new(filter).unwrap();
        let max = PageMax { messages: max, bytes: usize::MAX, examined: 1000 };
        let (mut topics, mut after) = (Vec::new(), None);
        loop {
            let page = retained.page(&filter, after.as_ref(), UnixMillis(0), max);
            topics.extend(page.messages.iter().map(|m| m.topic.to_string()));
            match page.next {
                Some(next) => after = Some(next),
                None => return topics,
            }
        }
    }

    #[test]
    fn pages_together_are_everything_that_matches_once() {
        let retained = Retained::default();
        for n in 0..100 {
            put(&retained, &format!("a/{n}"), n);
        }
        put(&retained, "a", 200);
        put(&retained, "b/1", 201);
        for size in [1, 3, 7, 1000] {
            assert_eq!(all(&retained, "a/#", size).len(), 101);
            assert_eq!(all(&retained, "+/1", size), ["a/1", "b/1"]);
        }
        assert_eq!(all(&retained, "b/1", 1), ["b/1"]);
    }

    #[test]
    fn an_older_change_does_not_undo_a_newer_one() {
        let retained = Retained::default();
        put(&retained, "a", 5);
        retained.apply(&Topic::new("a").unwrap(), Position { epoch: 1, ms: 1, seq: 4 }, None);
        assert_eq!(retained.len(), 1);
        retained.apply(&Topic::new("a").unwrap(), Position { epoch: 1, ms: 1, seq: 6 }, None);
        assert!(retained.is_empty());
    }
}
