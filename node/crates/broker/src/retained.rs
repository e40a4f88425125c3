//! Retained messages: the mirror of the store's table, read without asking the store.

mod ahead;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use weir_model::{Filter, Message, Position, Topic, UnixMillis};

use ahead::Ahead;

/// One topic's last retained message.
#[derive(Clone)]
struct Entry {
    position: Position,
    message: Arc<Message>,
    /// Whether it was given to receivers here, or is being given.
    given: bool,
}

/// All retained messages of one realm, by topic.
#[derive(Default)]
pub struct Retained {
    table: RwLock<BTreeMap<Topic, Entry>>,
    /// Locked after the table.
    ahead: Mutex<Ahead>,
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
        if table.get(topic).is_some_and(|known| known.position >= position) {
            return;
        }
        let given = self.ahead.lock().heard(topic, position);
        match message {
            Some(message) => table.insert(topic.clone(), Entry { position, message: message.clone(), given }),
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

    /// The value of a topic, and where it stands.
    pub fn get_at(&self, topic: &Topic) -> Option<(Arc<Message>, Position)> {
        self.table.read().get(topic).map(|entry| (entry.message.clone(), entry.position))
    }

    /// Notes that the value stored at `position` goes to receivers here from now on.
    pub fn giving(&self, message: &Arc<Message>, position: Position) {
        let known = |table: &BTreeMap<Topic, Entry>| {
            table.get(&message.topic).map(|entry| (entry.position, entry.given))
        };
        match known(&self.table.read()) {
            Some((at, given)) if at > position || (at == position && given) => return,
            _ => {}
        }
        let mut table = self.table.write();
        match table.get_mut(&message.topic) {
            Some(entry) if entry.position == position => entry.given = true,
            Some(entry) if entry.position > position => {}
            _ => self.ahead.lock().give(message, position),
        }
    }

    /// The value of a topic, if it was stored after `position` and given to receivers already: one who
    /// got what was stored at `position` since then must get it once more. What is still to be given
    /// comes later by itself.
    pub fn given_after(&self, topic: &Topic, position: Position) -> Option<Arc<Message>> {
        let table = self.table.read();
        let overtook = |entry: &&Entry| entry.position > position && entry.given;
        let kept = table.get(topic).filter(overtook).map(|entry| entry.message.clone());
        kept.or_else(|| self.ahead.lock().given_after(topic, position))
    }

    /// Where the value of a topic stands.
    pub fn position(&self, topic: &Topic) -> Option<Position> {
        self.table.read().get(topic).map(|entry| entry.position)
    }

    /// The value of a topic, if it was stored after `position`.
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
    fn only_what_was_given_already_has_overtaken_an_older_value() {
        let retained = Retained::default();
        let at = |seq| Position { epoch: 1, ms: 1, seq };
        put(&retained, "a", 5);
        put(&retained, "a", 6);
        let message = retained.get("a").unwrap();
        retained.giving(&message, at(5));
        assert!(retained.given_after(&message.topic, at(5)).is_none(), "it comes later by itself");
        retained.giving(&message, at(6));
        assert!(retained.given_after(&message.topic, at(5)).is_some());
        assert!(retained.given_after(&message.topic, at(6)).is_none());
    }

    #[test]
    fn what_came_over_a_link_late_is_not_brought_back_to_life() {
        let retained = Retained::default();
        put(&retained, "a", 5);
        let message = retained.get("a").unwrap();
        retained.apply(&message.topic, Position { epoch: 1, ms: 1, seq: 6 }, None);
        retained.giving(&message, Position { epoch: 1, ms: 1, seq: 5 });
        assert!(retained.is_empty());
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
