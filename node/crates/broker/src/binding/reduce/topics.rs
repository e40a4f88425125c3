//! The names of what a reducer's binding has of its own: topics, stream, groups.

use weir_model::{Filter, Topic};

use crate::binding::logs::CallResult;
use crate::binding::work::Wrong;
use crate::stream::definition::OWN_PREFIX;
use crate::stream::group::definition::HANDLER_PREFIX;

/// The level of topics that states to be merged go by.
const MERGED: &str = "m";

/// What a record of the binding's own stream is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum About<'a> {
    /// What a partition of the source gives to a key.
    Given { partition: u32, key: &'a str },
    /// A state of the key that is to be merged with others.
    Partial { key: &'a str },
}

/// The stream that what is mapped goes through, of the `run`th time that the states are built.
pub(in super::super) fn own_stream(binding: &str, run: u32) -> String {
    format!("{OWN_PREFIX}{run}.{binding}")
}

/// What it captures.
pub(in super::super) fn own_filter(binding: &str, run: u32) -> Option<Filter> {
    Filter::new(&format!("{}#", prefix(binding, run))).ok()
}

/// The group on the source, and on that stream.
pub(in super::super) fn own_group(binding: &str, run: u32) -> String {
    format!("{HANDLER_PREFIX}${run}.{binding}")
}

/// The topics of the binding's view.
pub(in super::super) fn view_filter(binding: &str) -> Option<Filter> {
    Filter::new(&format!("$view/{binding}/#")).ok()
}

fn prefix(binding: &str, run: u32) -> String {
    format!("$reduce/{binding}/{run}/")
}

pub(super) fn given(binding: &str, run: u32, partition: u32, key: &str) -> Result<Topic, Wrong> {
    level(key)?;
    topic(format!("{}{partition}/{key}", prefix(binding, run)))
}

pub(super) fn partial(binding: &str, run: u32, key: &str) -> Result<Topic, Wrong> {
    topic(format!("{}{MERGED}/{key}", prefix(binding, run)))
}

pub(super) fn view(binding: &str, key: &str) -> Result<Topic, Wrong> {
    topic(format!("$view/{binding}/{key}"))
}

/// Reads a topic of the binding's own stream back.
pub(super) fn about<'a>(binding: &str, run: u32, topic: &'a str) -> Option<About<'a>> {
    let (place, key) = topic.strip_prefix(&*prefix(binding, run))?.split_once('/')?;
    match place {
        MERGED => Some(About::Partial { key }),
        _ => Some(About::Given { partition: place.parse().ok()?, key }),
    }
}

/// A key is a level of the topic its state is published on.
fn level(key: &str) -> Result<(), Wrong> {
    match key.is_empty() || key.contains(['/', '+', '#']) {
        true => Err((format!("the key `{key}` is no level of a topic"), CallResult::BadOutput)),
        false => Ok(()),
    }
}

fn topic(text: String) -> Result<Topic, Wrong> {
    Topic::new(&text).map_err(|error| (format!("`{text}`: {error}"), CallResult::BadOutput))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_topic_is_about_is_read_back() {
        let topic = given("orders", 3, 12, "berlin").unwrap();
        assert_eq!(about("orders", 3, &topic), Some(About::Given { partition: 12, key: "berlin" }));
        let topic = partial("orders", 3, "berlin").unwrap();
        assert_eq!(about("orders", 3, &topic), Some(About::Partial { key: "berlin" }));
        assert!(own_filter("orders", 3).unwrap().matches(&topic));
    }

    #[test]
    fn what_belongs_to_another_binding_or_run_is_about_nothing() {
        let topic = given("orders", 3, 12, "berlin").unwrap();
        assert_eq!(about("orders", 4, &topic), None);
        assert_eq!(about("order", 3, &topic), None);
        assert_eq!(about("orders", 3, "$reduce/orders/3/x/berlin"), None);
    }

    #[test]
    fn a_key_that_is_no_level_is_refused_by_name() {
        for bad in ["", "a/b", "+", "#", "a#"] {
            let (text, result) = given("orders", 0, 0, bad).unwrap_err();
            assert!(text.contains(&format!("`{bad}`")), "{text}");
            assert_eq!(result, CallResult::BadOutput);
        }
    }
}
