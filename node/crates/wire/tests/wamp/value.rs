//! Payloads between WAMP and MQTT, line by line of the table.

use std::borrow::Cow;

use proptest::collection::vec;
use proptest::prelude::*;
use weir_wire::wamp::value::{Body, body, from_json, from_mqtt, to_mqtt};
use weir_wire::wamp::{Args, Format, Limits, Message, Payload, Raw};

use crate::pool::pools;
use crate::{FORMATS, converted, json, raw, read};

/// What an MQTT reader gets of these arguments.
fn mqtt(args: &str) -> String {
    let payload = Payload::args(Args::All(raw(args)));
    String::from_utf8(to_mqtt(&payload).bytes.into_owned()).unwrap()
}

/// What a WAMP reader gets of this MQTT payload, as JSON.
fn wamp(bytes: &[u8], content_type: Option<&str>) -> String {
    let payload = from_mqtt(bytes, content_type, &Limits::default());
    let Message::Result(mut result) = json("[50,1,{}]") else { panic!() };
    result.payload = payload;
    crate::as_json(&Message::Result(result))
}

#[test]
fn one_argument_is_its_json_text_for_mqtt() {
    for value in ["1", r#""x""#, "null", "{\"a\":[1, 2]}", "[1,2]", "[]", "1.50"] {
        assert_eq!(mqtt(&format!("[{value}]")), value);
    }
}

#[test]
fn several_arguments_or_none_are_a_json_list_for_mqtt() {
    assert_eq!(mqtt("[1,\"x\"]"), "[1,\"x\"]");
    assert_eq!(mqtt("[]"), "[]");
    assert_eq!(&*to_mqtt(&Payload::default()).bytes, b"[]");
}

#[test]
fn named_arguments_stay_behind() {
    let payload = Payload::new(Some(Args::All(raw("[7]"))), Some(raw("{\"k\":1}")));
    assert_eq!(&*to_mqtt(&payload).bytes, b"7");
    let payload = Payload::new(None, Some(raw("{\"k\":1}")));
    assert_eq!(&*to_mqtt(&payload).bytes, b"[]");
}

#[test]
fn mqtt_gets_json_of_every_format_and_without_copying_of_json() {
    for format in FORMATS {
        let bytes = converted(r#"[16,1,{},"t",[{"a":1}],{}]"#, format);
        let Ok(Message::Publish(publish)) = read(&bytes, format) else { panic!() };
        let mqtt = to_mqtt(&publish.payload);
        assert_eq!(&*mqtt.bytes, br#"{"a":1}"#);
        assert_eq!(mqtt.content_type, "application/json");
        assert_eq!(matches!(mqtt.bytes, Cow::Borrowed(_)), format == Format::Json);
    }
}

#[test]
fn one_binary_argument_is_its_bytes_for_mqtt() {
    let payload = Payload::args(Args::All(raw(r#"["\u0000EP7/"]"#)));
    let mqtt = to_mqtt(&payload);
    assert_eq!(&*mqtt.bytes, [0x10, 0xfe, 0xff]);
    assert_eq!(mqtt.content_type, "application/octet-stream");
}

#[test]
fn a_json_list_of_mqtt_is_the_arguments() {
    assert_eq!(wamp(b"[1, 2]", None), "[50,1,{},[1, 2]]");
    assert_eq!(wamp(b" [] ", None), "[50,1,{},[]]");
}

#[test]
fn other_json_of_mqtt_is_one_argument() {
    assert_eq!(wamp(b"{\"a\":1}", None), "[50,1,{},[{\"a\":1}]]");
    assert_eq!(wamp(b"21.5", Some("text/plain")), "[50,1,{},[21.5]]");
    assert_eq!(wamp(b"null", None), "[50,1,{},[null]]");
    assert_eq!(wamp(b"\"x\"", Some("application/json; charset=utf-8")), "[50,1,{},[\"x\"]]");
}

#[test]
fn nothing_of_mqtt_is_no_arguments() {
    assert_eq!(wamp(b"", None), "[50,1,{}]");
    assert_eq!(wamp(b"", Some("application/cbor")), "[50,1,{}]");
}

#[test]
fn what_is_no_json_is_a_text_or_a_binary() {
    assert_eq!(wamp(b"hello", None), "[50,1,{},[\"hello\"]]");
    assert_eq!(wamp(b"{\"a\":", None), r#"[50,1,{},["{\"a\":"]]"#);
    assert_eq!(wamp(b"\x10\xfe\xff", None), r#"[50,1,{},["\u0000EP7/"]]"#);
    let deep = "[".repeat(100_000);
    let payload = from_mqtt(deep.as_bytes(), None, &Limits::default());
    assert_eq!(payload.args, Some(Args::OneText(&deep)));
}

#[test]
fn a_content_type_says_which_format_a_payload_has() {
    assert_eq!(wamp(b"\x92\x01\xa1x", Some("application/msgpack")), r#"[50,1,{},[1,"x"]]"#);
    assert_eq!(wamp(b"\xa1\x61a\x01", Some("Application/CBOR")), r#"[50,1,{},[{"a":1}]]"#);
    assert_eq!(wamp(b"\xc1", Some("application/x-msgpack")), r#"[50,1,{},["\u0000wQ=="]]"#);
}

#[test]
fn conditions_look_at_one_argument_at_none_or_at_the_list() {
    let of = |text: &'static str| body(&Payload::args(Args::All(raw(text))));
    assert_eq!(of("[]"), Body::Null);
    assert_eq!(body(&Payload::default()), Body::Null);
    assert_eq!(of("[{\"a\":1}]"), Body::One(raw("{\"a\":1}")));
    assert_eq!(of("[1,2]"), Body::Many(raw("[1,2]")));
}

proptest! {
    #[test]
    fn what_is_no_json_list_comes_back_as_it_was(bytes in vec(any::<u8>(), 1..64)) {
        let payload = from_mqtt(&bytes, None, &Limits::default());
        let json = Raw::check(Format::Json, &bytes, &Limits::default());
        let mqtt = to_mqtt(&payload).bytes;
        match payload.args {
            Some(Args::OneBinary(_)) => prop_assert_eq!(&*mqtt, &bytes[..]),
            Some(Args::One(value)) => prop_assert_eq!(&*mqtt, value.bytes()),
            Some(Args::OneText(_)) => prop_assert!(json.is_err()),
            _ => prop_assert!(json.is_ok()),
        }
    }
    /// Who is told that it is JSON need not look again.
    #[test]
    fn what_is_said_to_be_json_is_json(pool in prop::sample::select(FORMATS.to_vec()).prop_flat_map(pools_of)) {
        let (pool, format) = pool;
        for message in pool.messages(format) {
            let Message::Publish(publish) = message else { continue };
            let mqtt = to_mqtt(&publish.payload);
            if mqtt.is_json() {
                prop_assert_eq!(from_json(&mqtt.bytes), from_mqtt(&mqtt.bytes, None, &Limits::default()));
            }
        }
    }
}

fn pools_of(format: Format) -> impl Strategy<Value = (crate::pool::Pool, Format)> {
    pools(format).prop_map(move |pool| (pool, format))
}
