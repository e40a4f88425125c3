//! Conditions on a body: JSON that the body has to agree with where it says something.
//!
//! `null` is met by a body that is absent, empty or JSON `null`, and by no other. A text, number or truth value is met by
//! one that is loosely equal (`1` and `"1"`, `true` and `1`). An object or list is met by an object or list that has each
//! of its members (of a list: by its index) and whose member meets it in turn, so `{}` is met by everything that is there.

use std::sync::Arc;

use serde_json::Value;

/// Bytes of a condition's text.
pub const CONDITION_BYTES_MAX: usize = 4 << 10;

/// How deep objects and lists may lie in each other.
pub const CONDITION_DEPTH_MAX: usize = 16;

/// Why a text is no condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    #[error("it has more than {CONDITION_BYTES_MAX} bytes")]
    TooLong,
    #[error("it is deeper than {CONDITION_DEPTH_MAX}")]
    TooDeep,
    #[error("it is no JSON")]
    NotJson,
}

/// A condition on a body. What it costs to ask is bounded by its own size and the body's.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    value: Arc<Value>,
    text: Arc<str>,
}

impl Condition {
    /// Reads one from JSON text.
    ///
    /// # Errors
    /// It is longer than [`CONDITION_BYTES_MAX`], deeper than [`CONDITION_DEPTH_MAX`], or no JSON.
    pub fn parse(text: &str) -> Result<Condition, ConditionError> {
        if text.len() > CONDITION_BYTES_MAX {
            return Err(ConditionError::TooLong);
        }
        let value: Value = serde_json::from_str(text).map_err(|_| ConditionError::NotJson)?;
        if depth(&value) > CONDITION_DEPTH_MAX {
            return Err(ConditionError::TooDeep);
        }
        Ok(Condition { value: Arc::new(value), text: text.into() })
    }

    /// As JSON text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a body meets it. `None` = there is none; one that is no JSON is a text if it is UTF-8.
    pub fn is_met_by(&self, body: Option<&[u8]>) -> bool {
        let body = body.filter(|body| !body.is_empty());
        let is_any = matches!(&*self.value, Value::Object(members) if members.is_empty());
        (is_any && body.is_some()) || self.is_met_by_value(&body.map_or(Value::Null, body_value))
    }

    /// The same for a body that was read by [`Condition::value_of`].
    pub fn is_met_by_value(&self, value: &Value) -> bool {
        meets(&self.value, value)
    }

    /// What a body means, for several conditions.
    pub fn value_of(body: &[u8]) -> Value {
        if body.is_empty() { Value::Null } else { body_value(body) }
    }
}

/// What a body means: its JSON, or itself as a text. Bytes that are neither are a text nobody can ask for.
fn body_value(body: &[u8]) -> Value {
    let text = || Value::String(String::from_utf8_lossy(body).into_owned());
    serde_json::from_slice(body).unwrap_or_else(|_| text())
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn meets(wanted: &Value, value: &Value) -> bool {
    match wanted {
        Value::Null => value.is_null(),
        Value::Object(members) => {
            !value.is_null()
                && members.iter().all(|(name, wanted)| match member(value, name) {
                    Some(value) => meets(wanted, value),
                    None => false,
                })
        }
        Value::Array(items) => match value {
            Value::Array(values) => {
                items.iter().enumerate().all(|(at, wanted)| values.get(at).is_some_and(|v| meets(wanted, v)))
            }
            Value::Object(members) => items
                .iter()
                .enumerate()
                .all(|(at, wanted)| members.get(&at.to_string()).is_some_and(|v| meets(wanted, v))),
            _ => false,
        },
        _ => is_loosely_equal(wanted, value),
    }
}

fn member<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    match value {
        Value::Object(members) => members.get(name),
        Value::Array(values) => values.get(name.parse::<usize>().ok()?),
        _ => None,
    }
}

/// Two plain values as `==` of ECMAScript has them.
fn is_loosely_equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::String(one), Value::String(other)) => one == other,
        (Value::Null, _) | (_, Value::Null) => false,
        (one, other) => match (number(one), number(other)) {
            (Some(one), Some(other)) => one == other,
            _ => false,
        },
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
        Value::Number(number) => number.as_f64(),
        Value::String(text) if text.trim().is_empty() => Some(0.0),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_met(condition: &str, body: Option<&str>) -> bool {
        Condition::parse(condition).unwrap().is_met_by(body.map(str::as_bytes))
    }

    #[test]
    fn null_is_met_by_what_is_not_there_and_by_nothing_else() {
        assert!(is_met("null", None) && is_met("null", Some("")) && is_met("null", Some("null")));
        for body in ["0", "false", "\"\"", "{}", "[]", "text"] {
            assert!(!is_met("null", Some(body)), "{body}");
        }
        assert!(is_met(r#"{"a":null}"#, Some(r#"{"a":null}"#)) && !is_met(r#"{"a":null}"#, Some("{}")));
    }

    #[test]
    fn what_is_named_has_to_be_there_and_loosely_equal() {
        let body = Some(r#"{"owner":"a","n":{"x":1,"l":[1,{"y":true}]}}"#);
        for condition in [r#"{"owner":"a"}"#, r#"{"n":{"x":"1"}}"#, r#"{"n":{"l":[1,{"y":1}]}}"#, "{}"] {
            assert!(is_met(condition, body), "{condition}");
        }
        for condition in [r#"{"owner":"b"}"#, r#"{"other":1}"#, r#"{"n":1}"#, r#"{"n":{"l":[1,2,3]}}"#, "1"] {
            assert!(!is_met(condition, body), "{condition}");
        }
        assert!(is_met("1", Some("\"1\"")) && is_met("\"open\"", Some("open")), "a body that is no JSON");
        assert!(!is_met("{}", None) && is_met("{}", Some("\u{1}")));
    }

    #[test]
    fn a_condition_that_would_be_dear_to_ask_is_none() {
        let deep = "[".repeat(20) + &"]".repeat(20);
        assert_eq!(Condition::parse(&deep), Err(ConditionError::TooDeep));
        assert_eq!(Condition::parse(&"[".repeat(4000)), Err(ConditionError::NotJson));
        assert_eq!(Condition::parse(&" ".repeat(5000)), Err(ConditionError::TooLong));
        assert_eq!(Condition::parse("{"), Err(ConditionError::NotJson));
    }
}
