//! The history of a realm: a stream of its own that records what is published with QoS 1 or 2, or traced by WAMP, up to so
//! many events (`history` in `[[broker.realm]]`).
//!
//! It is a stream like any other, and recording is part of what a publish owes. A record carries the number that EVENT and
//! PUBLISHED say as a user property, so that who has seen a publication finds what came behind it ([`place`]).

mod past;
mod place;

use std::sync::Arc;
use std::time::Duration;

use weir_model::{Filter, Message, Position, Properties, Qos};
use weir_store::{Record, Retention};

pub use past::{Past, PastEvent};

use super::Stream;
use super::definition::Spec;
use super::manage::StreamError;
use crate::broker::Broker;
use crate::publication;
use crate::routes::Matched;

/// The name of the stream, in every realm that has one.
pub const NAME: &str = "$history";

/// The user property with the number of a publication. Only the broker sets it.
pub const PUBLICATION: &str = "wamp-publication";

/// The user property that says whether WAMP wants an event recorded, where its QoS does not say so: `yes` or `no`. Only the
/// broker sets it.
pub const TRACE: &str = "wamp-trace";

/// Between tries to make it in a store that is away.
const RETRY: Duration = Duration::from_secs(1);

/// Whether a history records a message of this kind.
pub fn records(qos: Qos, properties: Option<&Properties>) -> bool {
    match find(properties, TRACE) {
        Some(said) => said == "yes",
        None => qos > Qos::AtMostOnce,
    }
}

fn find<'a>(properties: Option<&'a Properties>, name: &str) -> Option<&'a str> {
    let user = properties.map_or(&[][..], |properties| &properties.user);
    user.iter().find(|(known, _)| **known == *name).map(|(_, text)| &**text)
}

/// Gives a message that is recorded its number, if it has none.
pub(crate) fn number(properties: &mut Option<Box<Properties>>) {
    if find(properties.as_deref(), PUBLICATION).is_none() {
        let number = publication::next().to_string();
        properties.get_or_insert_default().user.push((PUBLICATION.into(), number.into()));
    }
}

/// The same for one that is a message already; `None` = it has one, or needs none.
pub(crate) fn numbered(
    message: &Arc<Message>,
    matched: &Matched,
    position: Option<Position>,
) -> Option<Arc<Message>> {
    let properties = message.properties.as_deref();
    matched.history_of(message.qos, properties)?;
    if find(properties, PUBLICATION).is_some() {
        return None;
    }
    let number = position.map_or_else(publication::next, publication::of).to_string();
    let mut numbered = Message::clone(message);
    numbered.properties.get_or_insert_default().user.push((PUBLICATION.into(), number.into()));
    Some(Arc::new(numbered))
}

/// The number of what a stream holds: as its publisher was told, or that of its place.
pub fn number_of(record: &Record) -> u64 {
    let said = find(record.message.properties.as_deref(), PUBLICATION).and_then(|text| text.parse().ok());
    said.unwrap_or_else(|| publication::of(record.mark.position))
}

impl Broker {
    /// Makes the history of every realm that is to have one, and ends the others. What the store does not take is tried
    /// again, as long as the node runs.
    pub(crate) async fn begin_histories(&self) {
        if !self.keep_histories().await {
            let broker = self.clone();
            self.runtime().spawn(async move {
                while !broker.keep_histories().await {
                    tokio::time::sleep(RETRY).await;
                }
            });
        }
    }

    /// The same, tried once; whether all of it was done.
    pub(crate) async fn keep_histories(&self) -> bool {
        let mut is_done = true;
        for rules in &self.config().realm {
            if let Err(error) = self.keep_history(&Arc::from(&*rules.name), rules.history_records()).await {
                tracing::warn!(realm = rules.name, %error, "the history of a realm cannot be made");
                is_done = false;
            }
        }
        is_done
    }

    async fn keep_history(&self, realm: &Arc<str>, records_max: u64) -> Result<(), StreamError> {
        let known = self.streams().get(realm, NAME);
        if records_max == 0 {
            return match known {
                Some(_) => self.end_stream(realm, NAME).await,
                None => Ok(()),
            };
        }
        let retention = Retention { records_max, ..Retention::default() };
        let filters = Filter::new("#").into_iter().collect();
        let spec = Spec { filters, retention, ..Spec::default() };
        match self.make_stream(realm, NAME, spec.clone()).await {
            Err(StreamError::Exists { .. }) => self.change_stream(realm, NAME, spec, 0).await.map(drop),
            made => made.map(drop),
        }
    }

    /// The stream with the history of what a filter matches: the realm's, or else the first one that records all of it.
    pub fn history_of(&self, realm: &Arc<str>, filter: &Filter) -> Option<Arc<Stream>> {
        self.streams().get(realm, NAME).or_else(|| {
            let all = self.streams().all(realm);
            let has = |stream: &Arc<Stream>| {
                stream.definition.filters.iter().any(|wide| is_within(filter.pattern(), wide.pattern()))
            };
            all.into_iter().filter(|stream| !stream.name.starts_with('$')).find(has)
        })
    }
}

/// Whether every topic that one pattern matches is matched by a wider one.
fn is_within(pattern: &str, wide: &str) -> bool {
    if pattern.starts_with('$') != wide.starts_with('$') {
        return false;
    }
    let mut levels = pattern.split('/');
    for wide in wide.split('/') {
        match (wide, levels.next()) {
            ("#", _) => return true,
            (_, None | Some("#")) => return false,
            ("+", Some(_)) => {}
            (literal, Some(level)) if literal == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qos_says_what_is_recorded_unless_wamp_says_otherwise() {
        let said = |text: &str| {
            let user = vec![(TRACE.into(), text.into())];
            Properties { user, ..Properties::default() }
        };
        assert!(records(Qos::AtLeastOnce, None) && records(Qos::ExactlyOnce, Some(&Properties::default())));
        assert!(!records(Qos::AtMostOnce, None));
        assert!(
            records(Qos::AtMostOnce, Some(&said("yes"))) && !records(Qos::AtLeastOnce, Some(&said("no")))
        );
    }

    #[test]
    fn a_stream_has_the_history_of_what_is_within_its_filters() {
        for (pattern, wide) in
            [("a", "#"), ("a/#", "#"), ("a/b", "a/+"), ("a/+", "a/#"), ("a", "a/#"), ("+", "+")]
        {
            assert!(is_within(pattern, wide), "{pattern} in {wide}");
        }
        for (pattern, wide) in
            [("#", "+"), ("a/#", "a/+"), ("+/b", "a/b"), ("a", "a/b"), ("a/b", "a"), ("$x", "#")]
        {
            assert!(!is_within(pattern, wide), "{pattern} in {wide}");
        }
    }
}
