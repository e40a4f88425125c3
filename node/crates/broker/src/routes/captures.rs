//! Which streams capture which topics.

use std::sync::Arc;

use hashbrown::HashMap;
use weir_model::Filter;

use crate::stream::Stream;

/// Streams are few, and looked up where a topic is matched anew: a list for each first level.
#[derive(Default)]
pub(super) struct Captures {
    by_first_level: HashMap<Box<str>, Vec<Capture>>,
    /// Filters that begin with a wildcard.
    others: Vec<Capture>,
}

struct Capture {
    filter: Filter,
    stream: Arc<Stream>,
}

impl Captures {
    pub fn insert(&mut self, filter: &Filter, stream: &Arc<Stream>) {
        let capture = Capture { filter: filter.clone(), stream: stream.clone() };
        match literal(filter) {
            Some(level) => self.by_first_level.entry(level.into()).or_default().push(capture),
            None => self.others.push(capture),
        }
    }

    pub fn remove(&mut self, filter: &Filter, stream: &Arc<Stream>) {
        let is_another =
            |capture: &Capture| capture.filter != *filter || !Arc::ptr_eq(&capture.stream, stream);
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

    /// The streams that capture a topic, each once.
    pub fn find(&self, topic: &str) -> Box<[Arc<Stream>]> {
        if self.by_first_level.is_empty() && self.others.is_empty() {
            return Box::default();
        }
        let first = topic.split('/').next().unwrap_or(topic);
        let listed = self.by_first_level.get(first).into_iter().flatten().chain(&self.others);
        let mut found: Vec<Arc<Stream>> = Vec::new();
        for capture in listed.filter(|capture| capture.filter.matches(topic)) {
            if !found.iter().any(|known| Arc::ptr_eq(known, &capture.stream)) {
                found.push(capture.stream.clone());
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
