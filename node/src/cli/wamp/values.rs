//! Arguments as they stand on a command line, and as they are printed.

use serde_json::{Value, json};
use weir_wire::wamp::{Args as WireArgs, Format, Payload, Raw};

/// Positional and named arguments.
#[derive(Debug, clap::Args)]
pub struct Values {
    /// Positional arguments: JSON, or else text as it stands.
    arguments: Vec<String>,
    /// A named argument, name=JSON; as often as wanted.
    #[arg(long = "kwarg", short = 'k', value_name = "NAME=VALUE", value_parser = super::super::client::property)]
    named: Vec<(String, String)>,
}

/// Arguments in JSON, which encoding turns into whatever is spoken.
#[derive(Debug)]
pub struct Encoded {
    args: String,
    kwargs: Option<String>,
}

impl Encoded {
    pub fn payload(&self) -> Payload<'_> {
        let raw = |text| Raw::checked(Format::Json, str::as_bytes(text));
        Payload::new(Some(WireArgs::All(raw(&self.args))), self.kwargs.as_deref().map(raw))
    }
}

impl Values {
    pub fn encoded(&self) -> Encoded {
        let args: Vec<Value> = self.arguments.iter().map(|text| value(text)).collect();
        let named: Vec<_> = self.named.iter().map(|(name, text)| (name.clone(), value(text))).collect();
        encoded(&args, &named)
    }
}

pub fn encoded(args: &[Value], named: &[(String, Value)]) -> Encoded {
    let kwargs = (!named.is_empty()).then(|| named.iter().cloned().collect::<serde_json::Map<_, _>>());
    Encoded {
        args: Value::from(args.to_vec()).to_string(),
        kwargs: kwargs.map(|map| Value::from(map).to_string()),
    }
}

/// Reads JSON.
pub fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))
}

/// JSON, or the text itself.
fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

/// What a payload says, in JSON.
pub fn told(payload: &Payload<'_>) -> Value {
    let args = match payload.args {
        Some(WireArgs::All(list)) => in_json(list),
        _ => json!([]),
    };
    match payload.kwargs {
        Some(kwargs) => json!({ "args": args, "kwargs": in_json(kwargs) }),
        None => json!({ "args": args }),
    }
}

/// The same where there is one positional argument and nothing else: that one.
pub fn plain(payload: &Payload<'_>) -> Value {
    match told(payload) {
        Value::Object(told) if told.len() == 1 => match told.get("args").and_then(Value::as_array) {
            Some(args) if args.len() == 1 => args[0].clone(),
            Some(args) if args.is_empty() => Value::Null,
            _ => Value::from(told),
        },
        told => told,
    }
}

fn in_json(raw: Raw<'_>) -> Value {
    let mut text = Vec::new();
    raw.append_as(&mut text, Format::Json);
    serde_json::from_slice(&text).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_json_where_they_are_and_else_text() {
        let values = Values {
            arguments: vec!["1".into(), "{\"a\":true}".into(), "plain text".into()],
            named: vec![("n".into(), "[2]".into())],
        };
        let encoded = values.encoded();
        let expected = json!({ "args": [1, { "a": true }, "plain text"], "kwargs": { "n": [2] } });
        assert_eq!(told(&encoded.payload()), expected);
    }

    #[test]
    fn a_single_result_is_printed_as_itself() {
        let plain_of = |args: &[Value]| plain(&encoded(args, &[]).payload());
        assert_eq!(plain_of(&[json!(7)]), json!(7));
        assert_eq!(plain_of(&[]), Value::Null);
        assert_eq!(plain_of(&[json!(1), json!(2)]), json!({ "args": [1, 2] }));
    }
}
