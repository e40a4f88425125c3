//! A selector: of what matches a filter, what a subscriber is given. Stands in the subscription's filter
//! ([`Filter::selecting`]), so that it is stored, mirrored and listed with it.
//!
//! What is on its way to queues of kept sessions is asked where it enters; everything else at the node of the subscriber.

use std::cell::OnceCell;

use serde_json::Value;
use weir_model::{Filter, Message, Properties};

use super::condition::{Condition, ConditionError};
use crate::stream::history;

/// Bodies above this are not looked into, and meet no condition.
pub const BODY_BYTES_MAX: usize = 256 << 10;

/// The user property with the named arguments of a WAMP event, a JSON object.
pub const KWARGS: &str = "wamp-kwargs";

/// In a selector's text.
const RETAINED: &str = "retained;";
const UNRECORDED: &str = "unrecorded;";

/// What a subscriber is given. All that is said has to hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selector {
    /// Only changes of retained values.
    pub retained: bool,
    /// Only what its realm's history does not record: the rest is read from there.
    pub unrecorded: bool,
    /// Only messages whose body, or named arguments, meet this.
    pub condition: Option<Condition>,
}

impl Selector {
    /// Reads the one of a filter; `None` = it has none.
    ///
    /// # Errors
    /// Its condition is none.
    pub fn of(filter: &Filter) -> Option<Result<Selector, ConditionError>> {
        let text = filter.selector_text()?;
        let mut selector = Selector::default();
        let mut rest = &*text;
        for (name, flag) in [(RETAINED, &mut selector.retained), (UNRECORDED, &mut selector.unrecorded)] {
            if let Some(behind) = rest.strip_prefix(name) {
                (*flag, rest) = (true, behind);
            }
        }
        if rest.is_empty() {
            return Some(Ok(selector));
        }
        Some(Condition::parse(rest).map(|condition| Selector { condition: Some(condition), ..selector }))
    }

    /// Whether the one of a filter has a condition, without reading it: flags end with a semicolon, JSON never does.
    pub fn has_condition(filter: &Filter) -> bool {
        filter.selector().is_some_and(|text| !text.ends_with(';'))
    }

    /// Whether it takes everything.
    pub fn is_empty(&self) -> bool {
        *self == Selector::default()
    }

    /// A filter that selects so; the same one if everything is taken.
    ///
    /// # Errors
    /// The filter is shared, or the condition is too long once its special characters are escaped.
    pub fn on(&self, filter: &Filter) -> Result<Filter, weir_model::topic::Invalid> {
        if self.is_empty() {
            return Ok(filter.clone());
        }
        let mut text = String::new();
        [(self.retained, RETAINED), (self.unrecorded, UNRECORDED)]
            .iter()
            .filter(|(is_set, _)| *is_set)
            .for_each(|(_, name)| text.push_str(name));
        text.push_str(self.condition.as_ref().map_or("", |condition| condition.as_str()));
        filter.selecting(&text)
    }

    /// Whether a message is given to who selects so.
    pub fn takes(&self, subject: &Subject<'_>) -> bool {
        let message = subject.message;
        (!self.retained || message.retain)
            && (!self.unrecorded || !history::records(message.qos, message.properties.as_deref()))
            && self.condition.as_ref().is_none_or(|condition| subject.meets(condition))
    }
}

/// A message that selectors are asked of: read once for all of them.
pub struct Subject<'a> {
    message: &'a Message,
    body: OnceCell<Option<Value>>,
    kwargs: OnceCell<Option<Value>>,
}

impl Subject<'_> {
    pub fn of(message: &Message) -> Subject<'_> {
        Subject { message, body: OnceCell::new(), kwargs: OnceCell::new() }
    }

    /// The body of the message does, or, if it has any, its named arguments do.
    fn meets(&self, condition: &Condition) -> bool {
        let payload = &self.message.payload;
        let body = || (payload.len() <= BODY_BYTES_MAX).then(|| Condition::value_of(payload));
        if self.body.get_or_init(body).as_ref().is_some_and(|value| condition.is_met_by_value(value)) {
            return true;
        }
        let kwargs = || kwargs(self.message.properties.as_deref()?);
        self.kwargs.get_or_init(kwargs).as_ref().is_some_and(|value| condition.is_met_by_value(value))
    }
}

fn kwargs(properties: &Properties) -> Option<Value> {
    let (_, text) = properties.user.iter().find(|(name, _)| **name == *KWARGS)?;
    let value: Value = Some(text)
        .filter(|text| text.len() <= BODY_BYTES_MAX)
        .map(|text| serde_json::from_str(text))?
        .ok()?;
    value.as_object().is_some_and(|members| !members.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use weir_model::{Qos, Topic};

    use super::*;

    fn message(payload: &str, retain: bool, user: &[(&str, &str)]) -> Message {
        let user = user.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect();
        Message {
            topic: Topic::new("t").unwrap(),
            payload: payload.to_owned().into(),
            qos: Qos::AtMostOnce,
            retain,
            expires_at: None,
            properties: Some(Box::new(Properties { user, ..Properties::default() })),
        }
    }

    fn takes(selector: &Selector, message: &Message) -> bool {
        selector.takes(&Subject::of(message))
    }

    fn condition(text: &str) -> Selector {
        Selector { condition: Some(Condition::parse(text).unwrap()), ..Selector::default() }
    }

    #[test]
    fn a_selector_is_read_from_its_filter_as_it_was_written() {
        let filter = Filter::new("a/+").unwrap();
        let retained = Selector { retained: true, ..condition(r#"{"a/b":"+"}"#) };
        let live = Selector { unrecorded: true, ..Selector::default() };
        for selector in [retained, live, condition("null"), condition(r#""retained;""#)] {
            let on = selector.on(&filter).unwrap();
            assert_eq!(Selector::has_condition(&on), selector.condition.is_some());
            assert_eq!(Selector::of(&on), Some(Ok(selector)));
        }
        assert_eq!(Selector::default().on(&filter), Ok(filter.clone()));
        assert_eq!(Selector::of(&filter), None);
        assert!(Selector::of(&filter.selecting("{").unwrap()).unwrap().is_err());
    }

    #[test]
    fn the_body_decides_and_the_named_arguments_if_it_does_not() {
        let post = condition(r#"{"type":"post"}"#);
        assert!(takes(&post, &message(r#"{"type":"post","n":1}"#, false, &[])));
        assert!(takes(&post, &message("1", false, &[(KWARGS, r#"{"type":"post"}"#)])));
        for (body, kwargs) in [("1", "{}"), ("", r#"{"type":"x"}"#), ("[1,2]", "no json"), ("no json", "[]")]
        {
            assert!(!takes(&post, &message(body, false, &[(KWARGS, kwargs)])), "{body} {kwargs}");
        }
        assert!(takes(&condition("null"), &message("", false, &[])));
    }

    #[test]
    fn a_body_that_is_dear_to_read_meets_nothing() {
        let large = format!(r#"{{"a":1,"b":"{}"}}"#, "x".repeat(BODY_BYTES_MAX));
        assert!(!takes(&condition(r#"{"a":1}"#), &message(&large, false, &[])));
        assert!(!takes(&condition("{}"), &message(&large, false, &[])));
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(!takes(&condition("[[]]"), &message(&deep, false, &[])));
    }

    #[test]
    fn changes_of_retained_values_are_told_apart() {
        let selector = Selector { retained: true, ..Selector::default() };
        assert!(takes(&selector, &message("1", true, &[])) && !takes(&selector, &message("1", false, &[])));
    }
}
