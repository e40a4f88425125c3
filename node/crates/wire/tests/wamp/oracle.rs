//! The formats as other libraries read and write them.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value};
use weir_wire::wamp::{Format, Limits, Raw};

use crate::FORMATS;

/// JSON values whose texts mean no binary.
pub fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-40_i64..300).prop_map(Value::from),
        // Of few digits: the other library reads long ones in another last digit.
        any::<i32>().prop_map(|number| Value::from(f64::from(number) / 8.0)),
        texts().prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::Array),
            vec((texts(), inner), 0..6).prop_map(|entries| Value::Object(Map::from_iter(entries))),
        ]
    })
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{0,40}", "[^\0]{0,9}", "[\"\\\\/\n\u{1f}x]{0,9}", "x{250,260}"]
}

fn of_msgpack(value: rmpv::Value) -> Value {
    match value {
        rmpv::Value::Nil => Value::Null,
        rmpv::Value::Boolean(value) => Value::Bool(value),
        rmpv::Value::Integer(value) => value.as_u64().map_or_else(|| value.as_i64().into(), Value::from),
        rmpv::Value::F32(value) => Value::from(value),
        rmpv::Value::F64(value) => Value::from(value),
        rmpv::Value::String(text) => Value::String(text.into_str().unwrap()),
        rmpv::Value::Array(elements) => elements.into_iter().map(of_msgpack).collect(),
        rmpv::Value::Map(entries) => {
            let text = |key: rmpv::Value| key.as_str().unwrap().to_owned();
            Value::Object(entries.into_iter().map(|(key, value)| (text(key), of_msgpack(value))).collect())
        }
        other => panic!("{other}"),
    }
}

/// What another library reads.
fn theirs(bytes: &[u8], format: Format) -> Value {
    match format {
        Format::Json => serde_json::from_slice(bytes).unwrap(),
        Format::MsgPack => of_msgpack(rmpv::decode::read_value(&mut &bytes[..]).unwrap()),
        Format::Cbor => ciborium::from_reader(bytes).unwrap(),
    }
}

fn checked(bytes: &[u8], format: Format) -> Raw<'_> {
    Raw::check(format, bytes, &Limits::default()).unwrap()
}

proptest! {
    #[test]
    fn others_read_what_is_converted_between_any_two_formats(value in values()) {
        let text = value.to_string();
        for between in FORMATS {
            let mut first = Vec::new();
            checked(text.as_bytes(), Format::Json).append_as(&mut first, between);
            prop_assert_eq!(&theirs(&first, between), &value);
            for to in FORMATS {
                let mut second = Vec::new();
                checked(&first, between).append_as(&mut second, to);
                prop_assert_eq!(&theirs(&second, to), &value);
            }
        }
    }

    #[test]
    fn a_double_comes_back_with_every_digit(number in any::<f64>()) {
        let text = serde_json::to_string(&number).unwrap();
        for between in FORMATS {
            let mut there = Vec::new();
            checked(text.as_bytes(), Format::Json).append_as(&mut there, between);
            let mut back = Vec::new();
            checked(&there, between).append_as(&mut back, Format::Json);
            prop_assert_eq!(std::str::from_utf8(&back).unwrap(), &text);
        }
    }

    #[test]
    fn json_is_accepted_exactly_when_others_accept_it(
        value in values(),
        spots in vec((any::<prop::sample::Index>(), prop::sample::select(b"\"\\u{}[],:0e.-1 tn\x01\xc3".to_vec())), 0..3),
    ) {
        let mut text = value.to_string().into_bytes();
        for (at, byte) in spots {
            let at = at.index(text.len());
            text[at] = byte;
        }
        let ours = Raw::check(Format::Json, &text, &Limits::default());
        let theirs = serde_json::from_slice::<Value>(&text);
        match (&ours, &theirs) {
            // A number beyond every double is a value here.
            (Ok(_), Err(error)) => prop_assert!(error.to_string().contains("number out of range"), "{}", error),
            (Err(error), Ok(_)) => prop_assert!(false, "{}", error),
            _ => {}
        }
    }

    #[test]
    fn msgpack_and_cbor_are_read_as_others_read_them(bytes in vec(any::<u8>(), 0..40)) {
        if let Ok(raw) = Raw::check(Format::MsgPack, &bytes, &Limits::default()) {
            let mut rest = &bytes[..];
            prop_assert!(rmpv::decode::read_value(&mut rest).is_ok());
            prop_assert_eq!(raw.bytes().len(), bytes.len() - rest.len());
        }
        if Raw::check(Format::Cbor, &bytes, &Limits::default()).is_ok() {
            prop_assert!(ciborium::from_reader::<ciborium::Value, _>(&bytes[..]).is_ok());
        }
    }
}
