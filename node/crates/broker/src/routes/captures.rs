//! Which streams capture which topics, and which bindings take them live.

use std::sync::Arc;

use hashbrown::HashMap;
use weir_model::Filter;

/// Those who capture are few, and looked up where a topic is matched anew: a list for each first level.
pub(super) struct Captures<T> {
    by_first_level: HashMap<Box<str>, Vec<Capture<T>>>,
    /// Filters that begin with a wildcard.
    others: Vec<Capture<T>>,
}

struct Capture<T> {
    filter: Filter,
    by: Arc<T>,
}

impl<T> Default for Captures<T> {
    fn default() -> Captures<T> {
        Captures { by_first_level: HashMap::new(), others: Vec::new() }
    }
}

impl<T> Captures<T> {
    pub fn insert(&mut self, filter: &Filter, by: &Arc<T>) {
        let capture = Capture { filter: filter.clone(), by: by.clone() };
        match literal(filter) {
            Some(level) => self.by_first_level.entry(level.into()).or_default().push(capture),
            None => self.others.push(capture),
        }
    }

    pub fn remove(&mut self, filter: &Filter, by: &Arc<T>) {
        let is_another = |capture: &Capture<T>| capture.filter != *filter || !Arc::ptr_eq(&capture.by, by);
        match literal(filter) {
            Some(level) => {
                if let Some(list) = self.by_first_level.get_mut(level) {
                    list.retain(is_another);
                    if list.is_empty() {
                        self.by_first_level.remove(level);
                    }
                }
            }
            None => self.others.retain(is_another),
        }
    }

    /// Those who capture a topic, each once.
    pub fn find(&self, topic: &str) -> Box<[Arc<T>]> {
        if self.by_first_level.is_empty() && self.others.is_empty() {
            return Box::default();
        }
        let first = topic.split('/').next().unwrap_or(topic);
        let listed = self.by_first_level.get(first).into_iter().flatten().chain(&self.others);
        let mut found: Vec<Arc<T>> = Vec::new();
        for capture in listed.filter(|capture| capture.filter.matches(topic)) {
            if !found.iter().any(|known| Arc::ptr_eq(known, &capture.by)) {
                found.push(capture.by.clone());
            }
        }
        found.into()
    }
}

/// The first level of a filter, if it is no wildcard.
fn literal(filter: &Filter) -> Option<&str> {
    let first = filter.pattern().split('/').next()?;
    (first != "+" && first != "#").then_some(first)
}
