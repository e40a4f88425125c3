//! What is known already by another way than the stream, so that the stream does not take it back.

use hashbrown::HashMap;

use super::EntryId;

/// By name, the newest change that was handed on before the stream told of it: by the answer to a step of this node, or
/// by a load. Holds at most what the stream has not told yet.
#[derive(Debug, Default)]
pub struct Ahead {
    known: HashMap<Box<str>, EntryId>,
    /// What the stream told last: an answer may come after its echo.
    told: EntryId,
}

impl Ahead {
    /// This change of `name` was handed on. Says whether it is newer than what was.
    pub fn note(&mut self, name: &str, change: EntryId) -> bool {
        if change <= self.told {
            return false;
        }
        match self.known.get_mut(name) {
            Some(known) if *known >= change => false,
            Some(known) => {
                *known = change;
                true
            }
            None => {
                self.known.insert(name.into(), change);
                true
            }
        }
    }

    /// The stream tells of this change: says whether it is news, and forgets what it has reached.
    pub fn is_news(&mut self, name: &str, change: EntryId) -> bool {
        self.told = change;
        match self.known.get(name) {
            None => true,
            Some(known) if change < *known => false,
            Some(known) => {
                let is_news = change > *known;
                self.known.remove(name);
                is_news
            }
        }
    }

    /// The stream has told everything up to here, or will not tell it any more.
    pub fn reached(&mut self, change: EntryId) {
        self.told = change;
        self.known.retain(|_, known| *known > change);
    }

    /// Whether something is known of this name that the stream has not told yet.
    pub fn is_ahead(&self, name: &str) -> bool {
        self.known.contains_key(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(seq: u64) -> EntryId {
        EntryId { ms: 1, seq }
    }

    #[test]
    fn an_answer_is_not_taken_back_by_older_changes_that_the_stream_tells_later() {
        let mut ahead = Ahead::default();
        assert!(ahead.note("topic", id(5)));
        assert!(!ahead.is_news("topic", id(4)));
        assert!(ahead.is_news("other", id(4)));
        assert!(!ahead.is_news("topic", id(5)), "its own echo");
        assert!(ahead.is_news("topic", id(6)));
    }

    #[test]
    fn an_answer_that_comes_after_its_echo_is_no_news() {
        let mut ahead = Ahead::default();
        assert!(ahead.is_news("topic", id(5)));
        assert!(!ahead.note("topic", id(5)));
        assert!(ahead.note("topic", id(6)));
    }

    #[test]
    fn an_older_answer_that_comes_late_is_no_news() {
        let mut ahead = Ahead::default();
        assert!(ahead.note("topic", id(5)));
        assert!(!ahead.note("topic", id(4)));
    }

    #[test]
    fn what_the_stream_has_reached_is_forgotten() {
        let mut ahead = Ahead::default();
        ahead.note("a", id(5));
        ahead.note("b", id(7));
        ahead.reached(id(5));
        assert!(!ahead.is_ahead("a") && ahead.is_ahead("b"));
    }
}
