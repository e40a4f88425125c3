//! What the Hyper codec promises, seen from outside.

mod golden;
mod refused;
mod roundtrip;

use weir_wire::hyper::{Request, RequestError, decode};
use weir_wire::wamp::Limits;

/// A message as clients in JavaScript write it, told as JSON.
fn packed(json: &str) -> Vec<u8> {
    let value: serde_json::Value = serde_json::from_str(json).unwrap();
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, &of_json(&value)).unwrap();
    bytes
}

fn of_json(value: &serde_json::Value) -> rmpv::Value {
    match value {
        serde_json::Value::Null => rmpv::Value::Nil,
        serde_json::Value::Bool(value) => (*value).into(),
        serde_json::Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => number.into(),
            (None, Some(number)) => number.into(),
            (None, None) => number.as_f64().unwrap().into(),
        },
        serde_json::Value::String(text) => text.as_str().into(),
        serde_json::Value::Array(list) => rmpv::Value::Array(list.iter().map(of_json).collect()),
        serde_json::Value::Object(map) => {
            rmpv::Value::Map(map.iter().map(|(key, value)| (key.as_str().into(), of_json(value))).collect())
        }
    }
}

fn read(bytes: &[u8]) -> Result<Request<'_>, RequestError> {
    decode(bytes, &Limits::default())
}

/// What was written, as text for people.
fn told(bytes: &[u8]) -> String {
    let mut rest = bytes;
    let value = rmpv::decode::read_value(&mut rest).unwrap();
    assert!(rest.is_empty(), "bytes behind the message");
    value.to_string()
}
