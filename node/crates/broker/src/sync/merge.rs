//! Merging of retained values, for realms with `retained = "merge"`.

use bytes::Bytes;
use serde_json::{Map, Value};

/// What a topic retains when `new` is published over `old`: two JSON objects or lists are merged, anything else is
/// replaced. Of each member of `new`: if the old one is no object or list, the new one is taken; if both are, they are
/// merged in turn; if only the old one is, it stays. Lists that are merged with objects become objects by their indices.
/// An old value that cannot be read is replaced by any new one; an empty new one removes the value, which is the caller's
/// business.
pub fn merged(old: Option<&[u8]>, new: &Bytes) -> Bytes {
    let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok().filter(is_composed);
    let (Some(old), Some(value)) = (old.and_then(read), read(new)) else { return new.clone() };
    match serde_json::to_vec(&merge(old, value)) {
        Ok(merged) => merged.into(),
        Err(_) => new.clone(),
    }
}

fn is_composed(value: &Value) -> bool {
    value.is_object() || value.is_array()
}

fn merge(old: Value, new: Value) -> Value {
    let mut members = members(old);
    for (name, value) in self::members(new) {
        let was = members.get(&name).filter(|was| is_composed(was));
        let merged = match was {
            None => value,
            Some(was) if is_composed(&value) => merge(was.clone(), value),
            Some(_) => continue,
        };
        members.insert(name, merged);
    }
    Value::Object(members)
}

fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        Value::Array(items) => {
            items.into_iter().enumerate().map(|(at, item)| (at.to_string(), item)).collect()
        }
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(old: &str, new: &str) -> Value {
        let merged = merged(Some(old.as_bytes()), &Bytes::copy_from_slice(new.as_bytes()));
        serde_json::from_slice(&merged).unwrap()
    }

    #[test]
    fn objects_are_merged_deeply_and_an_old_object_is_not_replaced_by_a_plain_value() {
        let merged = of(r#"{"x":1,"n":{"p":1},"o":{"q":1}}"#, r#"{"y":2,"x":3,"n":{"q":2},"o":5}"#);
        assert_eq!(merged, serde_json::json!({"x":3,"y":2,"n":{"p":1,"q":2},"o":{"q":1}}));
        assert_eq!(of("[1,2]", r#"{"1":3}"#), serde_json::json!({"0":1,"1":3}));
    }

    #[test]
    fn what_is_no_object_is_replaced() {
        for (old, new) in [("1", r#"{"a":1}"#), (r#"{"a":1}"#, "2"), ("text", r#"{"a":1}"#)] {
            assert_eq!(of(old, new), serde_json::from_str::<Value>(new).unwrap());
        }
        assert_eq!(merged(Some(b"{\"a\":1}"), &Bytes::from("text")), "text");
        assert_eq!(merged(None, &Bytes::from("{ }")), "{ }");
    }
}
