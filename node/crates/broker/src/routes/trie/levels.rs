//! The levels of all filters by number, so that the trie compares numbers: a topic's levels are looked
//! up once, however many nodes it passes.

use hashbrown::HashMap;

/// A level that some filter has.
pub type Level = u32;

/// Levels in use, each with how many edges of the trie carry it.
#[derive(Default)]
pub struct Levels {
    by_text: HashMap<Box<str>, (Level, u32)>,
    free: Vec<Level>,
}

impl Levels {
    pub fn get(&self, text: &str) -> Option<Level> {
        self.by_text.get(text).map(|(level, _)| *level)
    }

    /// One more edge carries it.
    pub fn take(&mut self, text: &str) -> Level {
        if let Some((level, edges)) = self.by_text.get_mut(text) {
            *edges += 1;
            return *level;
        }
        let fresh = self.by_text.len() as Level;
        let level = self.free.pop().unwrap_or(fresh);
        self.by_text.insert(text.into(), (level, 1));
        level
    }

    /// One edge less carries it.
    pub fn give_back(&mut self, text: &str) {
        let Some((level, edges)) = self.by_text.get_mut(text) else { return };
        *edges -= 1;
        if *edges == 0 {
            self.free.push(*level);
            self.by_text.remove(text);
        }
    }
}
