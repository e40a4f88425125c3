//! What clients send and cannot take, although no standard says so.

use std::borrow::Cow;

use weir_wire::wamp::message::*;
use weir_wire::wamp::{Args, DecodeError, Format, Id, Message, Payload, SharedEvent, Value};

use crate::{FORMATS, as_json, converted, encoded, json, raw, read, single};

#[test]
fn absent_arguments_are_left_out_and_never_null() {
    let nothing = Payload::default();
    let id = Id::new(1).unwrap();
    let details = ResultDetails::default();
    let result = Message::Result(CallResult { request: id, details, payload: nothing });
    assert_eq!(as_json(&result), "[50,1,{}]");
    let details = EventDetails::default();
    let event = Event { subscription: id, publication: id, details, payload: nothing };
    assert_eq!(as_json(&Message::Event(event)), "[36,1,1,{}]");
    let details = InvocationDetails::default();
    let invocation = Invocation { request: id, registration: id, details, payload: nothing };
    assert_eq!(as_json(&Message::Invocation(invocation)), "[68,1,1,{}]");
}

#[test]
fn named_arguments_alone_stand_behind_an_empty_list() {
    let payload = Payload::new(None, Some(raw(r#"{"a":1}"#)));
    let id = Id::new(1).unwrap();
    let result = Message::Result(CallResult { request: id, details: ResultDetails::default(), payload });
    assert_eq!(as_json(&result), r#"[50,1,{},[],{"a":1}]"#);
}

#[test]
fn null_arguments_of_a_client_are_taken_as_absent_in_every_format() {
    for (sent, goes_on_as) in [
        (r#"[16,1,{},"t",null,null]"#, r#"[16,1,{},"t"]"#),
        (r#"[16,1,{},"t",null]"#, r#"[16,1,{},"t"]"#),
        (r#"[16,1,{},"t",[1],null]"#, r#"[16,1,{},"t",[1]]"#),
        (r#"[16,1,{},"t",null,{"a":1}]"#, r#"[16,1,{},"t",[],{"a":1}]"#),
        (r#"[16,1,{},"t",[],{}]"#, r#"[16,1,{},"t",[],{}]"#),
        ("[70,1,{},null,null]", "[70,1,{}]"),
        (r#"[8,68,1,{},"e",null,null]"#, r#"[8,68,1,{},"e"]"#),
        (r#"[48,1,{},"p",null]"#, r#"[48,1,{},"p"]"#),
    ] {
        for format in FORMATS {
            let bytes = converted(sent, format);
            let message = read(&bytes, format).unwrap();
            assert_eq!(as_json(&message), goes_on_as, "{format:?}");
        }
    }
}

#[test]
fn null_options_are_absent_but_a_null_condition_and_a_null_will_count() {
    let sent = r#"[16,1,{"acknowledge":null,"exclude_me":null,"exclude":null,"when":null,"will":null},"t"]"#;
    assert_eq!(as_json(&json(sent)), r#"[16,1,{"when":null,"will":null},"t"]"#);
    let Message::Publish(publish) = json(r#"[16,1,{"retain":true},"t"]"#) else { panic!() };
    assert_eq!((publish.options.when, publish.options.will), (None, None));
}

#[test]
fn unknown_options_are_passed_over() {
    let sent = r#"[16,1,{"x_mine":{"deep":[1,{}]},"acknowledge":true,"":0},"t"]"#;
    assert_eq!(as_json(&json(sent)), r#"[16,1,{"acknowledge":true},"t"]"#);
}

#[test]
fn of_an_option_given_twice_the_last_counts() {
    let sent = r#"[16,1,{"retain":true,"retain":false},"t"]"#;
    assert_eq!(as_json(&json(sent)), r#"[16,1,{},"t"]"#);
}

#[test]
fn a_history_position_is_a_number_or_a_text() {
    let after = |sent: &str| {
        let Message::Subscribe(subscribe) = json(sent) else { panic!() };
        format!("{:?}", subscribe.options.after.unwrap().value())
    };
    assert_eq!(after(r#"[32,1,{"after":17},"t"]"#), "Unsigned(17)");
    assert_eq!(after(r#"[32,1,{"after":"2611211842a1"},"t"]"#), r#"Text("2611211842a1")"#);
}

#[test]
fn ids_that_javascript_wrote_as_doubles_are_ids() {
    let mut bytes = b"\x94\x10\xcb".to_vec();
    bytes.extend_from_slice(&9_007_199_254_740_992_f64.to_be_bytes());
    bytes.extend_from_slice(b"\x80\xa1t");
    let Message::Publish(publish) = read(&bytes, Format::MsgPack).unwrap() else { panic!() };
    assert_eq!(publish.request.get(), 1 << 53);
    let mut bytes = b"\x94\x10\xcb".to_vec();
    bytes.extend_from_slice(&1.5_f64.to_be_bytes());
    bytes.extend_from_slice(b"\x80\xa1t");
    assert!(matches!(read(&bytes, Format::MsgPack), Err(DecodeError::WrongType { field: "request", .. })));
}

#[test]
fn binary_is_base64_behind_a_nul_in_json_both_ways() {
    let packed = b"\x95\x10\x01\x80\xa1t\x91\xc4\x03\x10\xfe\xff";
    let message = read(packed, Format::MsgPack).unwrap();
    assert_eq!(as_json(&message), r#"[16,1,{},"t",["\u0000EP7/"]]"#);
    for sent in [r#"[16,1,{},"t",["\u0000EP7/"]]"#, r#"[16,1,{},"t",["\u0000EP7\/"]]"#] {
        assert_eq!(encoded(&json(sent), Format::MsgPack), packed);
    }
    assert_eq!(raw(r#""\u0000no base64""#).value(), Value::Text("\0no base64".into()));
}

#[test]
fn an_event_encoded_once_is_the_event_of_every_subscriber() {
    let texts = ["[36,1,9,{}]", r#"[36,1,9,{"topic":"t"},[1,"x"]]"#, r#"[36,1,9,{},[],{"k":null}]"#];
    for text in texts {
        let Message::Event(event) = json(text) else { panic!() };
        for format in FORMATS {
            let shared = SharedEvent::new(&event, single(format));
            for subscription in [1, 23, 24, 70_000, 1 << 53] {
                let subscription = Id::new(subscription).unwrap();
                let mut appended = b"before".to_vec();
                shared.append(&mut appended, subscription);
                let whole = encoded(&Message::Event(Event { subscription, ..event.clone() }), format);
                assert_eq!(appended.strip_prefix(b"before"), Some(&whole[..]));
            }
        }
    }
}

#[test]
fn a_list_of_one_need_not_be_put_together() {
    let args = [
        (Args::One(raw("{}")), "[{}]"),
        (Args::OneText("a\"b"), r#"["a\"b"]"#),
        (Args::OneBinary(&[0xff]), r#"["\u0000/w=="]"#),
    ];
    for (args, wanted) in args {
        let details = ResultDetails::default();
        let request = Id::new(1).unwrap();
        let result = Message::Result(CallResult { request, details, payload: Payload::args(args) });
        assert_eq!(as_json(&result), format!("[50,1,{{}},{wanted}]"));
    }
}

#[test]
fn payloads_of_the_same_format_go_on_byte_by_byte() {
    let sent = r#"[16,1,{},"t",[ 1.50e3 , "\u0041\/" ],{"a" : 1,"a":2}]"#;
    let wanted = r#"[16,1,{},"t",[ 1.50e3 , "\u0041\/" ],{"a" : 1,"a":2}]"#;
    assert_eq!(as_json(&json(sent)), wanted);
    let cbor = b"\x85\x10\x01\xa0\x61t\x9f\xc1\x1a\x00\x00\x00\x01\x7f\x61a\x61b\xff\xff";
    assert_eq!(encoded(&read(cbor, Format::Cbor).unwrap(), Format::Cbor), cbor);
    assert_eq!(as_json(&read(cbor, Format::Cbor).unwrap()), r#"[16,1,{},"t",[1,"ab"]]"#);
}

#[test]
fn what_a_message_carries_is_not_copied() {
    for format in FORMATS {
        let bytes = converted(r#"[16,1,{"will":{"a":1}},"com.myapp.t",[{"b":2}],{"c":3}]"#, format);
        let Ok(Message::Publish(publish)) = read(&bytes, format) else { panic!() };
        let Some(Args::All(args)) = publish.payload.args else { panic!() };
        for kept in [args, publish.payload.kwargs.unwrap(), publish.options.will.unwrap()] {
            assert!(bytes.as_ptr_range().contains(&kept.bytes().as_ptr()));
        }
        assert!(matches!(publish.topic, Cow::Borrowed(_)));
    }
}

#[test]
fn what_json_cannot_say_becomes_what_is_nearest() {
    for (packed, wanted) in [
        (&b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00"[..], "null"),
        (b"\xcb\xff\xf0\x00\x00\x00\x00\x00\x00", "null"),
        (b"\x81\x01\x02", r#"{"1":2}"#),
        (b"\x81\xc3\x02", r#"{"true":2}"#),
        (b"\xd4\x05\xff", r#""\u0000/w==""#),
        (b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615"),
    ] {
        let mut message = b"\x95\x10\x01\x80\xa1t\x91".to_vec();
        message.extend_from_slice(packed);
        let read = read(&message, Format::MsgPack).unwrap();
        assert_eq!(as_json(&read), format!(r#"[16,1,{{}},"t",[{wanted}]]"#));
    }
}

#[test]
fn neither_a_signature_nor_a_payload_is_shown() {
    let shown = format!("{:?}", json(r#"[5,"s3cret",{"k":"s3cret"}]"#));
    assert!(!shown.contains("s3cret"), "{shown}");
    let shown = format!("{:?} {:?}", Args::OneText("s3cret"), Args::OneBinary(b"s3cret"));
    assert!(!shown.contains("s3cret") && !shown.contains("115"), "{shown}");
    let shown = format!("{:?}", json(r#"[16,1,{"when":"s3cret"},"t",["s3cret"],{"k":"s3cret"}]"#));
    assert!(!shown.contains("s3cret"), "{shown}");
}
