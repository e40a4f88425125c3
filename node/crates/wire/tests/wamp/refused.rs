//! Bad input and what is said about it.

use weir_wire::wamp::DecodeError::*;
use weir_wire::wamp::{DecodeError, Format, Id, Limits, MessageType, Raw, decode};

use crate::{FORMATS, converted, read};

#[track_caller]
fn refused(bytes: &[u8], format: Format) -> DecodeError {
    match read(bytes, format) {
        Ok(message) => panic!("{bytes:02x?} was read as {message:?}"),
        Err(error) => error,
    }
}

#[track_caller]
fn json(text: &str) -> DecodeError {
    refused(text.as_bytes(), Format::Json)
}

/// A message that says the same in every format is refused with the same words.
#[track_caller]
fn everywhere(text: &str) -> DecodeError {
    let errors = FORMATS.map(|format| refused(&converted(text, format), format));
    assert!(errors.iter().all(|error| *error == errors[0]), "{errors:?}");
    errors[0]
}

#[test]
fn what_is_no_list_is_refused() {
    for text in ["{}", "1", "null", "\"[1]\"", "true"] {
        assert_eq!(everywhere(text), NotAnArray, "{text}");
    }
    assert_eq!(everywhere("[]"), NoType);
    assert_eq!(json(""), EndsEarly { at: 0 });
    assert_eq!(json(" "), EndsEarly { at: 1 });
    assert_eq!(refused(b"", Format::MsgPack), EndsEarly { at: 0 });
    assert_eq!(refused(b"", Format::Cbor), EndsEarly { at: 0 });
}

#[test]
fn an_unknown_type_is_named() {
    assert_eq!(everywhere("[7]"), UnknownType { code: 7 });
    assert_eq!(everywhere("[0,1]"), UnknownType { code: 0 });
    assert_eq!(everywhere("[9007199254740992,1]"), UnknownType { code: 1 << 53 });
    for text in [r#"["16"]"#, "[null]", "[-1]", "[[1]]", "[1.5]"] {
        assert_eq!(everywhere(text), NoType, "{text}");
    }
}

#[test]
fn too_few_and_too_many_items_are_counted() {
    let arity = |message, items, min, max| Arity { message, items, min, max };
    assert_eq!(everywhere("[1]"), arity(MessageType::Hello, 1, 3, 3));
    assert_eq!(everywhere(r#"[1,"r"]"#), arity(MessageType::Hello, 2, 3, 3));
    assert_eq!(everywhere(r#"[16,1,{}]"#), arity(MessageType::Publish, 3, 4, 6));
    assert_eq!(everywhere(r#"[16,1,{},"t",[],{},0]"#), arity(MessageType::Publish, 7, 4, 6));
    assert_eq!(everywhere(r#"[8,48,1,{},"e",[],{},0,0]"#), arity(MessageType::Error, 9, 5, 7));
    assert_eq!(everywhere("[35,1,{},{}]"), arity(MessageType::Unsubscribed, 4, 2, 3));
    assert_eq!(everywhere(r#"[32,1,{},"t",[]]"#), arity(MessageType::Subscribe, 5, 4, 4));
    assert_eq!(everywhere("[50]"), arity(MessageType::Result, 1, 3, 5));
}

#[test]
fn an_item_of_another_kind_is_named_with_its_place() {
    let wrong = |error, wanted_item, wanted_field| match error {
        WrongType { item, field, .. } => assert_eq!((item, field), (wanted_item, wanted_field)),
        other => panic!("{other}"),
    };
    wrong(everywhere(r#"[16,"1",{},"t"]"#), 1, "request");
    wrong(everywhere(r#"[16,1,[],"t"]"#), 2, "options");
    wrong(everywhere(r#"[16,1,null,"t"]"#), 2, "options");
    wrong(everywhere("[16,1,{},7]"), 3, "topic");
    wrong(everywhere(r#"[16,1,{},"t",{}]"#), 4, "args");
    wrong(everywhere(r#"[16,1,{},"t",[],[]]"#), 5, "kwargs");
    wrong(everywhere(r#"[16,1,{},"t","x"]"#), 4, "args");
    wrong(everywhere(r#"[8,7,1,{},"e"]"#), 1, "request_type");
    wrong(everywhere(r#"[36,1,2,"d"]"#), 3, "details");
    wrong(everywhere("[5,null,{}]"), 1, "signature");
    wrong(everywhere("[35,1,7]"), 2, "details");
}

#[test]
fn ids_are_from_1_to_2_to_the_53() {
    let out = |request: &str| everywhere(&format!(r#"[16,{request},{{}},"t"]"#));
    for request in ["0", "-1", "9007199254740993", "18446744073709551615"] {
        let wanted = IdOutOfRange { message: MessageType::Publish, item: 1, field: "request" };
        assert_eq!(out(request), wanted, "{request}");
    }
    for request in ["1", "9007199254740992"] {
        assert!(read(format!(r#"[16,{request},{{}},"t"]"#).as_bytes(), Format::Json).is_ok());
    }
}

#[test]
fn a_bad_option_names_the_request_it_belongs_to() {
    let bad = |text: &str, wanted_message, wanted_request, wanted_option| match everywhere(text) {
        BadOption { message, request, option, .. } => {
            assert_eq!((message, option), (wanted_message, wanted_option));
            assert_eq!(request, Id::new(wanted_request), "{text}");
        }
        other => panic!("{other}"),
    };
    bad(r#"[32,5,{"match":"regex"},"t"]"#, MessageType::Subscribe, 5, "match");
    bad(r#"[32,5,{"match":1},"t"]"#, MessageType::Subscribe, 5, "match");
    bad(r#"[16,5,{"exclude":[0]},"t"]"#, MessageType::Publish, 5, "exclude");
    bad(r#"[16,5,{"exclude":7},"t"]"#, MessageType::Publish, 5, "exclude");
    bad(r#"[16,5,{"acknowledge":1},"t"]"#, MessageType::Publish, 5, "acknowledge");
    bad(r#"[64,5,{"invoke":"all"},"p"]"#, MessageType::Register, 5, "invoke");
    bad(r#"[64,5,{"concurrency":-1},"p"]"#, MessageType::Register, 5, "concurrency");
    bad(r#"[48,5,{"timeout":"1s"},"p"]"#, MessageType::Call, 5, "timeout");
    bad(r#"[49,5,{"mode":"abort"}]"#, MessageType::Cancel, 5, "mode");
    bad(r#"[1,"r",{"roles":[]}]"#, MessageType::Hello, 0, "roles");
    bad(r#"[1,"r",{"roles":{"caller":1}}]"#, MessageType::Hello, 0, "caller");
    bad(r#"[70,5,{"progress":"yes"}]"#, MessageType::Yield, 0, "progress");
}

#[test]
fn a_message_of_a_hundred_thousand_lists_is_refused_and_harms_nobody() {
    let deep = 100_000;
    let sixty_five = TooDeep { at: 64, max: 64 };
    assert_eq!(refused(&vec![b'['; deep], Format::Json), sixty_five);
    assert_eq!(refused(&vec![0x91; deep], Format::MsgPack), sixty_five);
    assert_eq!(refused(&vec![0x81; deep], Format::Cbor), sixty_five);
    assert_eq!(refused(&vec![0x9f; deep], Format::Cbor), sixty_five);
    let maps = format!("[{}", "{\"a\":".repeat(deep));
    assert!(matches!(refused(maps.as_bytes(), Format::Json), TooDeep { .. }));
    let tags = vec![0xc1; deep];
    assert_eq!(refused(&tags, Format::Cbor), EndsEarly { at: deep });
}

#[test]
fn without_a_limit_of_depth_the_stack_still_does_not_overflow() {
    let limits = Limits { depth_max: usize::MAX, items_max: usize::MAX, message_bytes_max: usize::MAX };
    let deep = 100_000;
    let text = format!("{}{}", "[".repeat(deep), "]".repeat(deep));
    let raw = Raw::check(Format::Json, text.as_bytes(), &limits).unwrap();
    for format in FORMATS {
        let mut out = Vec::new();
        raw.append_as(&mut out, format);
        assert!(Raw::check(format, &out, &limits).unwrap().is_array());
    }
}

#[test]
fn more_values_or_bytes_than_allowed_are_refused() {
    let limits = Limits { items_max: 10, message_bytes_max: 40, ..Limits::default() };
    let refused = |text: &str| decode(text.as_bytes(), Format::Json, &limits).unwrap_err();
    assert_eq!(refused(r#"[16,1,{},"t",[1,2,3,4,5,6,7,8,9]]"#), TooManyItems { at: 22, max: 10 });
    assert_eq!(refused(&" ".repeat(41)), TooLong { bytes: 41, max: 40 });
}

#[test]
fn a_length_nobody_could_send_is_refused_without_keeping_room() {
    assert_eq!(refused(b"\xdd\xff\xff\xff\xff", Format::MsgPack), EndsEarly { at: 5 });
    assert_eq!(refused(b"\x92\x10\xdf\xff\xff\xff\xff", Format::MsgPack), EndsEarly { at: 7 });
    assert_eq!(refused(b"\x92\x10\xdb\xff\xff\xff\xffa", Format::MsgPack), EndsEarly { at: 8 });
    assert_eq!(refused(b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff\x10", Format::Cbor), EndsEarly { at: 10 });
    assert_eq!(refused(b"\x82\x10\xbb\xff\xff\xff\xff\xff\xff\xff\xff", Format::Cbor), EndsEarly { at: 11 });
    assert_eq!(refused(b"\x82\x10\x5b\xff\xff\xff\xff\xff\xff\xff\xff", Format::Cbor), EndsEarly { at: 11 });
}

#[test]
fn bytes_behind_the_message_are_refused() {
    assert_eq!(json("[17,1,2] [17,1,2]"), TrailingBytes { at: 9 });
    assert_eq!(refused(b"\x93\x11\x01\x02\x00", Format::MsgPack), TrailingBytes { at: 4 });
    assert_eq!(refused(b"\x83\x11\x01\x02\x00", Format::Cbor), TrailingBytes { at: 4 });
    assert!(read(b" [17,1,2]\r\n", Format::Json).is_ok());
}

#[test]
fn text_that_is_no_unicode_is_refused_where_it_stands() {
    assert_eq!(refused(b"[16,1,{},\"a\xff\"]", Format::Json), NotUtf8 { at: 11 });
    assert_eq!(refused(b"\x94\x10\x01\x80\xa2a\xff", Format::MsgPack), NotUtf8 { at: 6 });
    assert_eq!(refused(b"\x84\x10\x01\xa0\x62a\xff", Format::Cbor), NotUtf8 { at: 6 });
    assert_eq!(refused(b"\x84\x10\x01\xa0\x7f\x61\xff\xff", Format::Cbor), NotUtf8 { at: 6 });
    let lone = "surrogate that stands alone in a string";
    for text in [r#"["\ud800"]"#, r#"["\udc00"]"#, r#"["\ud800\u0041"]"#, r#"["\ud800x"]"#] {
        assert_eq!(json(text), Syntax { at: 2, what: lone }, "{text}");
    }
    assert!(Raw::check(Format::Json, br#""\ud83d\ude00""#, &Limits::default()).is_ok());
}

#[test]
fn broken_json_is_refused_with_the_place() {
    for (text, wanted) in [
        ("[1 2]", 3),
        ("[1,]", 3),
        ("[,1]", 1),
        ("[16,1,{,}]", 7),
        ("[16,1,{\"a\"}]", 10),
        ("[16,1,{\"a\" 1}]", 11),
        ("[16,1,{\"a\":1,}]", 13),
        ("[16,1,{a:1}]", 7),
        ("[16,1,{1:1}]", 7),
        ("[01]", 2),
        ("[+1]", 1),
        ("[.5]", 1),
        ("[1.]", 3),
        ("[1e]", 3),
        ("[-]", 2),
        ("[NaN]", 1),
        ("[Infinity]", 1),
        ("[nul]", 1),
        ("[True]", 1),
        ("['a']", 1),
        ("[\"a\nb\"]", 3),
        ("[\"\\x41\"]", 2),
        ("[\"\\u00g0\"]", 2),
        ("[1}", 2),
        ("\u{feff}[1]", 0),
        ("[1] // no", 4),
    ] {
        match json(text) {
            Syntax { at, .. } | TrailingBytes { at } => assert_eq!(at, wanted, "{text}"),
            other => panic!("{text}: {other}"),
        }
    }
    for text in
        ["[", "[1", "[1,", "[\"", "[\"a", "[\"\\", "[\"\\u00", "[\"\\ud800\\u", "[{", "[{\"a\"", "[t", "[-"]
    {
        assert_eq!(json(text), EndsEarly { at: text.len() }, "{text}");
    }
}

#[test]
fn broken_msgpack_and_cbor_are_refused_with_the_place() {
    let syntax = |bytes: &[u8], format, wanted| match refused(bytes, format) {
        Syntax { at, .. } => assert_eq!(at, wanted, "{bytes:02x?}"),
        other => panic!("{bytes:02x?}: {other}"),
    };
    syntax(b"\x92\x10\xc1", Format::MsgPack, 2);
    syntax(b"\x92\x10\x81\x90\x01", Format::MsgPack, 3);
    syntax(b"\x82\x10\x1c", Format::Cbor, 2);
    syntax(b"\x82\x10\xff", Format::Cbor, 2);
    syntax(b"\x82\x10\xe0", Format::Cbor, 2);
    syntax(b"\x82\x10\xa1\x80\x01", Format::Cbor, 3);
    syntax(b"\x82\x10\xbf\x01\xff", Format::Cbor, 4);
    syntax(b"\x82\x10\x7f\x41a\xff", Format::Cbor, 3);
    syntax(b"\x82\x10\x5f\x5f\xff\xff", Format::Cbor, 3);
    for bytes in [&b"\x92\x10"[..], b"\x91\xcd\x01", b"\x92\x10\xc7\x05", b"\x92\x10\xa5a"] {
        assert_eq!(refused(bytes, Format::MsgPack), EndsEarly { at: bytes.len() }, "{bytes:02x?}");
    }
    for bytes in [&b"\x82\x10"[..], b"\x9f\x10", b"\x81\x19\x01", b"\x82\x10\x65a", b"\x82\x10\x7f\x61a"] {
        assert_eq!(refused(bytes, Format::Cbor), EndsEarly { at: bytes.len() }, "{bytes:02x?}");
    }
}
