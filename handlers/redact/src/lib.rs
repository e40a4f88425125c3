//! Hides fields of JSON messages: from everybody when they are published, from one receiver when they are delivered.

use serde_json::Value;
use weir_handler::{Client, Passage, Passing, config};

/// What a hidden value is replaced with.
const HIDDEN: &str = "[redacted]";

fn on_publish(_client: Client, message: Passing) -> Passage {
    redacted(message, "publish.fields")
}

/// Who is named in `deliver.clear` sees everything.
fn on_deliver(client: Client, message: Passing) -> Passage {
    match (client.user, config::get("deliver.clear")) {
        (Some(user), Some(clear)) if names(&clear).any(|name| name == user) => Passage::Pass,
        _ => redacted(message, "deliver.fields"),
    }
}

/// With the fields hidden that this setting names. What is no JSON has no fields.
fn redacted(message: Passing, setting: &str) -> Passage {
    let Some(fields) = config::get(setting) else { return Passage::Pass };
    let fields: Vec<&str> = names(&fields).collect();
    // Most messages have none of them: no need to read those.
    if !fields.iter().any(|field| may_hold(&message.payload, field)) {
        return Passage::Pass;
    }
    let Ok(mut value) = message.json::<Value>() else { return Passage::Pass };
    if !hide(&mut value, &fields) {
        return Passage::Pass;
    }
    match message.with_json(&value) {
        Ok(changed) => Passage::Change(changed),
        Err(failure) => Passage::Refuse(failure.to_string()),
    }
}

/// `password, card.number`: separated by commas.
fn names(setting: &str) -> impl Iterator<Item = &str> {
    setting.split(',').map(str::trim).filter(|name| !name.is_empty())
}

/// A name may be written with escapes, so a backslash may be any.
fn may_hold(payload: &[u8], field: &str) -> bool {
    payload.contains(&b'\\') || payload.windows(field.len()).any(|bytes| bytes == field.as_bytes())
}

/// Hides the fields of these names at any depth; whether there were any.
fn hide(value: &mut Value, fields: &[&str]) -> bool {
    match value {
        Value::Array(items) => items.iter_mut().fold(false, |hid, item| hide(item, fields) | hid),
        Value::Object(object) => object.iter_mut().fold(false, |hid, (name, item)| {
            if fields.contains(&name.as_str()) {
                *item = HIDDEN.into();
                return true;
            }
            hide(item, fields) | hid
        }),
        _ => false,
    }
}

weir_handler::middleware!(on_publish: on_publish, on_deliver: on_deliver);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use weir_handler::testing::{client, passing, set_config};

    /// What a message becomes when it is published.
    fn published(value: Value) -> Option<Value> {
        match on_publish(client("till"), passing("shop/7/sold", &value)) {
            Passage::Change(message) => Some(message.json().unwrap()),
            Passage::Pass => None,
            Passage::Refuse(reason) => panic!("{reason}"),
        }
    }

    #[test]
    fn configured_fields_are_hidden_at_any_depth() {
        set_config("publish.fields", "password, number");
        let message =
            json!({ "user": "eve", "password": "secret", "cards": [{ "number": 4711, "kind": "debit" }] });
        let hidden =
            json!({ "user": "eve", "password": HIDDEN, "cards": [{ "number": HIDDEN, "kind": "debit" }] });
        assert_eq!(published(message), Some(hidden));
    }

    #[test]
    fn what_has_nothing_to_hide_passes_untouched() {
        set_config("publish.fields", "password");
        assert_eq!(published(json!({ "user": "eve" })), None);
        assert_eq!(published(json!("password")), None);
        let text = Passing { payload: b"password=1".to_vec(), ..Passing::default() };
        assert_eq!(on_publish(client("till"), text), Passage::Pass);
    }

    #[test]
    fn a_name_with_escapes_is_hidden_too() {
        set_config("publish.fields", "password");
        let escaped = Passing { payload: br#"{"p\u0061ssword":1}"#.to_vec(), ..Passing::default() };
        let Passage::Change(message) = on_publish(client("till"), escaped) else { panic!("passed") };
        assert_eq!(message.json::<Value>().unwrap(), json!({ "password": HIDDEN }));
    }

    #[test]
    fn who_may_see_it_all_does() {
        set_config("deliver.fields", "password");
        set_config("deliver.clear", "auditor");
        let message = passing("login", &json!({ "password": 1 }));
        assert_eq!(on_deliver(client("auditor"), message.clone()), Passage::Pass);
        assert!(matches!(on_deliver(client("eve"), message.clone()), Passage::Change(_)));
        let nobody = Client { user: None, ..client("auditor") };
        assert!(matches!(on_deliver(nobody, message), Passage::Change(_)));
    }

    #[test]
    fn without_configuration_everything_passes() {
        let message = passing("login", &json!({ "password": 1 }));
        assert_eq!(on_deliver(client("eve"), message), Passage::Pass);
    }
}
