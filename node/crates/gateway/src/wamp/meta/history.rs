//! `wamp.subscription.get_events`: what was recorded of a subscription (WAMP, "Event History").
//!
//! With a number behind the subscription the last so many events, oldest first. With named arguments `limit` counts in the
//! order asked for (`reverse`), and `from_`, `after_`, `before_`, `until_` with `publication` or `time` say which.

use std::collections::VecDeque;

use serde_json::{Value as Json, json};
use weir_broker::fanout::borrowed;
use weir_broker::form::{Form as _, Marks};
use weir_broker::stream::history::{Past, PastEvent};
use weir_broker::sync::{After, ReadingError, Selector};
use weir_broker::{addressed::Addressed, clock};
use weir_wire::wamp::rawsocket::FRAME_HEADER_BYTES;
use weir_wire::wamp::{Value, uri};

use super::super::channel::Wamp;
use super::super::reason::{INVALID_ARGUMENT, NO_SUCH_SUBSCRIPTION, NOT_AUTHORIZED};
use super::super::{form, subscriptions};
use super::{Answered, Asked, Asking, failed, missing};
use weir_broker::access::Access;

/// Events of one answer, and their bytes; beyond, those that would come last are left out.
const EVENTS_MAX: usize = 1000;
const BYTES_MAX: usize = 512 << 10;

/// Which of the recorded events are wanted.
#[derive(Debug, Clone, PartialEq)]
struct Wanted {
    limit: usize,
    /// The last ones, told oldest first.
    newest: bool,
    /// The newest first.
    reverse: bool,
    after: Option<u64>,
    publications: (u64, u64),
    times: (u64, u64),
    topic: Option<String>,
}

impl Wanted {
    /// Reads the arguments; `Err` says which of them cannot be.
    fn of(asked: &Asked<'_>) -> Result<Wanted, &'static str> {
        let named = |name: &str| asked.kwargs.and_then(|kwargs| kwargs.get(name));
        let number = |name: &'static str| match named(name) {
            None => Ok(None),
            Some(raw) => raw.unsigned().map(Some).ok_or(name),
        };
        let time = |name: &'static str| match named(name) {
            None => Ok(None),
            Some(raw) => raw.text().and_then(|text| time_of(&text)).map(Some).ok_or(name),
        };
        let limit = match asked.args.get(1) {
            Some(raw) => Some(raw.unsigned().ok_or("limit")?),
            None => number("limit")?,
        };
        let from = |from: Option<u64>, after: Option<u64>| {
            from.into_iter().chain(after.map(|after| after.saturating_add(1))).max().unwrap_or(0)
        };
        let until = |until: Option<u64>, before: Option<u64>| {
            until.into_iter().chain(before.map(|before| before.saturating_sub(1))).min().unwrap_or(u64::MAX)
        };
        let publications = (
            from(number("from_publication")?, None),
            until(number("until_publication")?, number("before_publication")?),
        );
        let times =
            (from(time("from_time")?, time("after_time")?), until(time("until_time")?, time("before_time")?));
        Ok(Wanted {
            limit: limit.map_or(EVENTS_MAX, |limit| (limit as usize).min(EVENTS_MAX)),
            newest: asked.args.len() > 1,
            reverse: named("reverse").is_some_and(|raw| raw.value() == Value::Bool(true)),
            after: number("after_publication")?,
            publications,
            times,
            topic: named("topic").and_then(|raw| Some(uri::to_topic_text(&raw.text()?).into_owned())),
        })
    }

    fn takes(&self, event: &PastEvent) -> bool {
        (self.publications.0..=self.publications.1).contains(&event.publication)
            && (self.times.0..=self.times.1).contains(&event.position.ms)
            && self.topic.as_deref().is_none_or(|topic| *event.message.topic == *topic)
    }
}

fn time_of(text: &str) -> Option<u64> {
    let time = humantime::parse_rfc3339_weak(text).ok()?;
    u64::try_from(time.duration_since(std::time::UNIX_EPOCH).ok()?.as_millis()).ok()
}

impl Wamp {
    pub(super) fn get_events(&self, asked: &Asked<'_>) -> Asking {
        let Some(number) = asked.number(0) else { return Asking::Now(missing("the subscription")) };
        let wanted = match Wanted::of(asked) {
            Ok(wanted) => wanted,
            Err(name) => {
                return Asking::Now(failed(INVALID_ARGUMENT, &format!("{name} is not what it can be")));
            }
        };
        let publisher = &self.publisher;
        let Some(entry) = subscriptions::get(&publisher.realm.name, number) else {
            return Asking::Now(failed(NO_SUCH_SUBSCRIPTION, "there is no such subscription on this node"));
        };
        let filter = entry.pattern.filter();
        if publisher.subscribe_right(filter).is_none() {
            return Asking::Now(failed(NOT_AUTHORIZED, "not authorized to subscribe"));
        }
        let Some(stream) = publisher.broker.history_of(&publisher.realm.name, filter) else {
            return Asking::Now(failed(INVALID_ARGUMENT, &ReadingError::NoHistory.to_string()));
        };
        let after = wanted.after.map(After::Publication);
        let selecting =
            entry.manner.selector.as_deref().map(|text| format!("$where/{text}/{}", filter.pattern()));
        let selecting = selecting.and_then(|text| weir_model::Filter::new(&text).ok());
        debug_assert!(
            selecting.as_ref().is_none_or(|filter| Selector::of(filter).is_some_and(|found| found.is_ok()))
        );
        let mut past = Past::new(&publisher.broker, stream, selecting.as_ref().unwrap_or(filter), after);
        let (access, principal) = (publisher.broker.access().clone(), publisher.principal.clone());
        let session = publisher.session.clone();
        Asking::later(async move {
            let mut gathered = Gathered::new(wanted);
            loop {
                let page = match past.page().await {
                    Ok(Some(page)) => page,
                    Ok(None) => return super::MetaAnswer::Result(gathered.told()).into(),
                    Err(error) => return failed("wamp.error.unavailable", &error.to_string()).into(),
                };
                let addressed = |event: &PastEvent| Addressed::of(event.message.properties.as_deref());
                let may = |event: &&PastEvent| {
                    Access::may_receive(&access, &principal, &event.message.topic)
                        && addressed(event).is_none_or(|addressed| addressed.allows(&session))
                        && entry.pattern.matches(&event.message.topic)
                        && !event.message.is_expired(clock::unix())
                };
                for event in page.iter().filter(may) {
                    if !gathered.add(event, number) {
                        return Answered::from(super::MetaAnswer::Result(gathered.told()));
                    }
                }
            }
        })
    }
}

/// Events that are told.
struct Gathered {
    wanted: Wanted,
    events: VecDeque<(usize, Json)>,
    bytes: usize,
}

impl Gathered {
    fn new(wanted: Wanted) -> Gathered {
        Gathered { wanted, events: VecDeque::new(), bytes: 0 }
    }

    /// False: there is no need to read on.
    fn add(&mut self, event: &PastEvent, number: u64) -> bool {
        if self.wanted.limit == 0 {
            return false;
        }
        if !self.wanted.takes(event) {
            return true;
        }
        let Some((bytes, told)) = told(event, number) else { return true };
        let keeps_last = self.wanted.newest || self.wanted.reverse;
        if !keeps_last && self.bytes + bytes > BYTES_MAX && !self.events.is_empty() {
            return false;
        }
        self.events.push_back((bytes, told));
        self.bytes += bytes;
        while self.events.len() > self.wanted.limit || (self.bytes > BYTES_MAX && self.events.len() > 1) {
            self.bytes -= self.events.pop_front().map_or(0, |(bytes, _)| bytes);
        }
        keeps_last || self.events.len() < self.wanted.limit
    }

    fn told(self) -> Json {
        let events = self.events.into_iter().map(|(_, event)| event);
        if self.wanted.reverse { events.rev().collect() } else { events.collect() }
    }
}

/// An event as it is told, as subscribers of JSON were given it, and how many bytes that is.
fn told(event: &PastEvent, number: u64) -> Option<(usize, Json)> {
    let number = u32::try_from(number).ok()?;
    let marks = Marks { retain: false, subscription_ids: &[number], publication: event.publication };
    let mut frame = Vec::new();
    form::ALL[0].encode(&mut frame, &borrowed(&event.message), marks);
    let written: Vec<Json> = serde_json::from_slice(frame.get(FRAME_HEADER_BYTES..)?).ok()?;
    let mut written = written.into_iter().skip(1);
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(event.position.ms);
    let mut told = json!({ "timestamp": humantime::format_rfc3339_millis(at).to_string() });
    for name in ["subscription", "publication", "details", "args", "kwargs"] {
        told[name] = match written.next() {
            Some(value) => value,
            None if name == "args" => json!([]),
            None => json!({}),
        };
    }
    Some((frame.len(), told))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_model::{Message, Position, Qos, Topic};

    fn event(publication: u64) -> PastEvent {
        let message = Message {
            topic: Topic::new("a/b").unwrap(),
            payload: "1".into(),
            qos: Qos::AtLeastOnce,
            retain: false,
            expires_at: None,
            properties: None,
        };
        PastEvent {
            message: message.into(),
            publication,
            position: Position { epoch: 1, ms: publication, seq: 0 },
        }
    }

    fn wanted() -> Wanted {
        Wanted {
            limit: 2,
            newest: false,
            reverse: false,
            after: None,
            publications: (0, u64::MAX),
            times: (0, u64::MAX),
            topic: None,
        }
    }

    fn gather(wanted: Wanted) -> Vec<u64> {
        let mut gathered = Gathered::new(wanted);
        for publication in 1..=9 {
            if !gathered.add(&event(publication), 7) {
                break;
            }
        }
        let told = gathered.told();
        told.as_array().unwrap().iter().map(|event| event["publication"].as_u64().unwrap()).collect()
    }

    #[test]
    fn a_limit_counts_in_the_order_that_is_asked_for() {
        assert_eq!(gather(wanted()), [1, 2]);
        assert_eq!(gather(Wanted { newest: true, ..wanted() }), [8, 9]);
        assert_eq!(gather(Wanted { reverse: true, ..wanted() }), [9, 8]);
        assert_eq!(gather(Wanted { publications: (4, 5), limit: 9, ..wanted() }), [4, 5]);
        assert_eq!(gather(Wanted { times: (8, u64::MAX), limit: 9, ..wanted() }), [8, 9]);
        assert_eq!(gather(Wanted { limit: 0, ..wanted() }), [0; 0]);
        assert_eq!(gather(Wanted { topic: Some("x".into()), ..wanted() }), [0; 0]);
    }

    #[test]
    fn an_event_is_told_as_it_was_given() {
        let (_, told) = told(&event(5), 7).unwrap();
        assert_eq!(
            (&told["subscription"], &told["args"], &told["kwargs"]),
            (&json!(7), &json!([1]), &json!({}))
        );
        assert_eq!(told["details"]["topic"], "a.b");
        assert_eq!(told["timestamp"], "1970-01-01T00:00:00.005Z");
    }
}
